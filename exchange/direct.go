package exchange

import (
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// direct routes to where a binding's key is the routing key (EX-30).
type direct struct {
	keys binding.Keys
}

func (t *direct) ValidateBinding(binding.Binding) error { return nil }

func (t *direct) Bind(b binding.Binding, d *binding.Destination) { t.keys.Add(b, d) }

func (t *direct) Unbind(b binding.Binding, d *binding.Destination) { t.keys.Remove(b, d) }

func (t *direct) Route(_ *message.Message, key string, dst []*binding.Destination) []*binding.Destination {
	return t.keys.Match(dst, key)
}
