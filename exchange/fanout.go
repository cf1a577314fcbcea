package exchange

import (
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// fanout routes to everything that is bound (EX-31).
type fanout struct {
	all binding.All
}

func (t *fanout) ValidateBinding(binding.Binding) error { return nil }

func (t *fanout) Bind(b binding.Binding, d *binding.Destination) { t.all.Add(b, d) }

func (t *fanout) Unbind(b binding.Binding, d *binding.Destination) { t.all.Remove(b, d) }

func (t *fanout) Route(_ *message.Message, _ string, dst []*binding.Destination) []*binding.Destination {
	return t.all.Match(dst)
}
