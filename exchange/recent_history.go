package exchange

import (
	"sync"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

const (
	historyLength = "x-recent-history-length"
	noStore       = "x-recent-history-no-store"

	defaultHistoryLength = 20
	// maxHistoryBytes is how many bytes of messages a history holds at most, however many
	// messages it could have: they are in memory, and belong to no queue that could page them
	// out. The newest one stays whatever its size.
	maxHistoryBytes = 16 << 20
)

// recentHistory routes like fanout and keeps the last messages for whoever is bound later
// (EX-54).
type recentHistory struct {
	all    binding.All
	length int

	mu      sync.Mutex // guards the fields below; a leaf but for changed
	recent  []*message.Message
	start   int // recent[start:] is the history, oldest first
	bytes   int // of it
	told    bool
	changed func()
}

func newRecentHistory(s *Spec) *recentHistory {
	length := int64(defaultHistoryLength)
	if v, ok := s.Arguments.Get(historyLength); ok {
		length, _ = amqp.AsInt64(v)
	}
	return &recentHistory{length: int(length)}
}

// checkRecentHistory refuses a length that is not a number of messages.
func checkRecentHistory(s *Spec) error {
	v, there := s.Arguments.Get(historyLength)
	if n, ok := amqp.AsInt64(v); there && (!ok || n < 1) {
		return amqp.PreconditionFailed("Invalid argument %s, '%s' must be a positive integer", binding.ErlangTerm(v), historyLength)
	}
	return nil
}

func (t *recentHistory) ValidateBinding(binding.Binding) error { return nil }

func (t *recentHistory) Bind(b binding.Binding, d *binding.Destination) { t.all.Add(b, d) }

func (t *recentHistory) Unbind(b binding.Binding, d *binding.Destination) { t.all.Remove(b, d) }

func (t *recentHistory) Route(m *message.Message, _ string, dst []*binding.Destination) []*binding.Destination {
	// The properties were found well formed when the message was made.
	view, _ := amqp.ScanProperties(m.Properties())
	tag, v, ok := amqp.FindHeader(view.Headers, noStore)
	if !ok || amqp.DecodeValue(tag, v) != true {
		t.add(m)
	}
	return t.all.Match(dst)
}

func (t *recentHistory) add(m *message.Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.push(m)
	if t.changed != nil && !t.told {
		t.told = true
		t.changed()
	}
}

// push adds a message and lets go of those there is no room for any more.
func (t *recentHistory) push(m *message.Message) {
	if len(t.recent) == cap(t.recent) && t.start > len(t.recent)/2 {
		n := copy(t.recent, t.recent[t.start:])
		clear(t.recent[n:])
		t.recent, t.start = t.recent[:n], 0
	}
	t.recent = append(t.recent, m)
	t.bytes += m.Size()
	for n := len(t.recent) - t.start; n > t.length || n > 1 && t.bytes > maxHistoryBytes; n-- {
		t.bytes -= t.recent[t.start].Size()
		t.recent[t.start] = nil
		t.start++
	}
}

func (t *recentHistory) history() []*message.Message {
	return append([]*message.Message(nil), t.recent[t.start:]...)
}

// History is the messages that an exchange of a type that keeps some has kept, oldest first
// (EX-54).
func (x *Exchange) History() []*message.Message {
	t, ok := x.typ.(*recentHistory)
	if !ok {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.history()
}

// KeepsHistory tells whether the exchange keeps messages for those who are bound later.
func (x *Exchange) KeepsHistory() bool {
	_, ok := x.typ.(*recentHistory)
	return ok
}

// OnHistory has changed called when the history is no longer what TakeHistory returned last,
// once for each TakeHistory, with the exchange locked. It is called before anything is
// routed.
func (x *Exchange) OnHistory(changed func()) { x.typ.(*recentHistory).changed = changed }

// TakeHistory is History for whoever OnHistory tells of the next change, and reports whether
// there was one.
func (x *Exchange) TakeHistory() (recent []*message.Message, changed bool) {
	t := x.typ.(*recentHistory)
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.told {
		return nil, false
	}
	t.told = false
	return t.history(), true
}

// RestoreHistory gives a new exchange the history that it had, oldest first.
func (x *Exchange) RestoreHistory(recent []*message.Message) {
	t, ok := x.typ.(*recentHistory)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range recent {
		t.push(m)
	}
}
