package broker

import (
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// The headers that tell of a message's deaths (DLX-6, DLX-9).
const (
	headerDeaths    = "x-death"
	headerFirst     = "x-first-death-"
	headerLast      = "x-last-death-"
	headerCC        = "CC"
	fieldQueue      = "queue"
	fieldReason     = "reason"
	fieldExchange   = "exchange"
	fieldCount      = "count"
	fieldTime       = "time"
	fieldKeys       = "routing-keys"
	fieldExpiration = "original-expiration"
)

// deaths is the header x-death: an entry for each queue a message died in and reason it
// died of, the most recent first (DLX-6).
type deaths []amqp.Table

// deathsOf is the history that a message brings along. That of a client is believed and
// continued, as RabbitMQ did before 4.0 (DLX-10): consumers that publish a message again, to
// have it come back later, count their attempts so.
func deathsOf(headers amqp.Table) deaths {
	v, _ := headers.Get(headerDeaths)
	list, _ := v.(amqp.Array)
	history := make(deaths, 0, len(list)+1)
	for _, e := range list {
		if t, ok := e.(amqp.Table); ok {
			history = append(history, t)
		}
	}
	return history
}

// record adds the death that l tells of. The first of its queue and reason gets an entry
// of its own; a later one is counted in that entry, which moves to the front and stays as
// it was otherwise (DLX-7). expiration is the message's property, "" when it has none.
func (d deaths) record(source string, l *queue.Letter, expiration string) deaths {
	for i, entry := range d {
		if text(entry, fieldQueue) != source || text(entry, fieldReason) != l.Reason.String() {
			continue
		}
		count, _ := entry.Get(fieldCount)
		return slices.Insert(slices.Delete(d, i, i+1), 0, entry.With(fieldCount, integer(count)+1))
	}
	m := l.Message
	entry := amqp.Table{
		{Name: fieldCount, Value: int64(1)},
		{Name: fieldReason, Value: l.Reason.String()},
		{Name: fieldQueue, Value: source},
		{Name: fieldTime, Value: amqp.Timestamp(l.At.Unix())},
		{Name: fieldExchange, Value: m.Exchange},
		{Name: fieldKeys, Value: visibleKeys(m)},
	}
	if expiration != "" {
		entry = append(entry, amqp.Field{Name: fieldExpiration, Value: expiration})
	}
	return slices.Insert(d, 0, entry)
}

// visibleKeys are the routing keys a message was published with, save for those of BCC,
// which nobody is to learn (DLX-6).
func visibleKeys(m *message.Message) amqp.Array {
	keys := amqp.Array{m.RoutingKey}
	if m.More != nil {
		for _, key := range m.More.CC {
			keys = append(keys, key)
		}
	}
	return keys
}

// headers returns h with the account of d in it. before tells that there was one already:
// of the first death there is nothing new to say then (DLX-9).
func (d deaths) headers(h amqp.Table, before bool) amqp.Table {
	list := make(amqp.Array, len(d))
	for i := range d {
		list[i] = d[i]
	}
	h = h.With(headerDeaths, list)
	if !before {
		h = withDeath(h, headerFirst, d[0])
	}
	return withDeath(h, headerLast, d[0])
}

// withDeath tells of one death in three headers. Their names were in order when RabbitMQ
// wrote them, so they are here.
func withDeath(h amqp.Table, prefix string, entry amqp.Table) amqp.Table {
	for _, field := range [...]string{fieldExchange, fieldQueue, fieldReason} {
		h = h.With(prefix+field, text(entry, field))
	}
	return h
}

// cycle reports whether a message with history d has come round to the queue named target
// without anybody having rejected it on the way (DLX-12). The newest death is one of d, so
// what was just rejected may go anywhere.
func (d deaths) cycle(target string) bool {
	for _, entry := range d {
		if text(entry, fieldReason) == queue.Rejected.String() {
			return false
		}
		if text(entry, fieldQueue) == target {
			return true
		}
	}
	return false
}

// integer is a count, whichever kind of integer a client wrote it as.
func integer(v any) int64 {
	switch n := v.(type) {
	case int8:
		return int64(n)
	case uint8:
		return int64(n)
	case int16:
		return int64(n)
	case uint16:
		return int64(n)
	case int32:
		return int64(n)
	case uint32:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// text is a string of an entry, empty for what is none.
func text(entry amqp.Table, field string) string {
	v, _ := entry.Get(field)
	s, _ := v.(string)
	return s
}
