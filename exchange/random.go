package exchange

import (
	"sync/atomic"

	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// random routes each message to one of the bindings, whichever (EX-51).
type random struct {
	list  binding.List
	state atomic.Uint64
}

func newRandom(seed uint64) *random {
	t := new(random)
	t.state.Store(seed)
	return t
}

func (t *random) ValidateBinding(binding.Binding) error { return nil }

func (t *random) Bind(b binding.Binding, d *binding.Destination) { t.list.Add(b, d) }

func (t *random) Unbind(b binding.Binding, d *binding.Destination) { t.list.Remove(b, d) }

// Route draws the next number of a sequence that the seed decides (splitmix64): goroutines
// that route at the same time share it without waiting for each other.
func (t *random) Route(_ *message.Message, _ string, dst []*binding.Destination) []*binding.Destination {
	return t.list.Match(dst, binding.Mix(t.state.Add(0x9e3779b97f4a7c15)))
}
