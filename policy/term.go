package policy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/amqp"
)

// term writes a value the way RabbitMQ shows it in its refusals: as an Erlang term.
func term(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		if v == "" {
			return "<<>>"
		}
		return "<<" + quoted(v) + ">>"
	case float64:
		s := strconv.FormatFloat(v, 'g', -1, 64)
		if !strings.ContainsAny(s, ".e") {
			s += ".0"
		}
		return s
	case amqp.Array:
		items := make([]string, len(v))
		for i := range v {
			items[i] = term(v[i])
		}
		return "[" + strings.Join(items, ",") + "]"
	case amqp.Table:
		items := make([]string, len(v))
		for i, f := range v {
			items[i] = term(f.Name) + " => " + term(f.Value)
		}
		return "#{" + strings.Join(items, ",") + "}"
	}
	return fmt.Sprint(v)
}

func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}
