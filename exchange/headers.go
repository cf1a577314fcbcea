package exchange

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// headers routes to where a binding's arguments match the message's headers (EX-33).
type headers struct {
	headers binding.Headers
}

func (t *headers) ValidateBinding(b binding.Binding) error {
	_, err := binding.ParseXMatch(b.Arguments)
	return err
}

func (t *headers) Bind(b binding.Binding, d *binding.Destination) { t.headers.Add(b, d) }

func (t *headers) Unbind(b binding.Binding, d *binding.Destination) { t.headers.Remove(b, d) }

func (t *headers) Route(m *message.Message, _ string, dst []*binding.Destination) []*binding.Destination {
	// The properties were found well formed when the message was made.
	view, _ := amqp.ScanProperties(m.Properties())
	return t.headers.Match(dst, view.Headers)
}
