package exchange

import (
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// modulusHash routes to one destination, which a hash of all the routing keys names
// (EX-53).
type modulusHash struct {
	list binding.List
}

func (t *modulusHash) ValidateBinding(binding.Binding) error { return nil }

func (t *modulusHash) Bind(b binding.Binding, d *binding.Destination) { t.list.Add(b, d) }

func (t *modulusHash) Unbind(b binding.Binding, d *binding.Destination) { t.list.Remove(b, d) }

func (t *modulusHash) Route(m *message.Message, key string, dst []*binding.Destination) []*binding.Destination {
	h := binding.NewHash().String(key)
	if m.More != nil {
		for _, key := range m.More.CC {
			h = h.Octet(0).String(key)
		}
		for _, key := range m.More.BCC {
			h = h.Octet(0).String(key)
		}
	}
	return t.list.Match(dst, h.Sum())
}
