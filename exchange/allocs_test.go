//go:build !race

// The race detector makes a sync.Pool forget at random what was put into it.

package exchange

import (
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

func TestRoutingAllocatesNothing(t *testing.T) {
	header := amqp.Table{{Name: "format", Value: "pdf"}}
	for _, typ := range Types() {
		x := mustNew(t, typ)
		for i := range 5 {
			key := "a.b"
			if oneOf(typ) {
				key = "1"
			}
			x.Bind(binding.Binding{RoutingKey: key, Arguments: header}, &binding.Destination{Name: fmt.Sprint(i)})
		}
		m := published(t, "a.b", header)
		m.More = &message.MoreKeys{CC: []string{"a.b"}}
		dst := make([]*binding.Destination, 0, 16)
		n := testing.AllocsPerRun(200, func() { dst = x.Route(m, dst[:0]) })
		want := 5
		if oneOf(typ) {
			want = 1
		}
		if n >= 1 || len(dst) != want {
			t.Errorf("%s: got %v allocations and %d destinations, want 0 and %d", typ, n, len(dst), want)
		}
	}
}
