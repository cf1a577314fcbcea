package exchange

import (
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// topic routes to where a binding's key, read as a pattern of words, matches the routing
// key (EX-32).
type topic struct {
	trie     binding.Trie
	bindings int
	answers  remembered
}

// ValidateBinding accepts every pattern. RabbitMQ 4.3 refuses more than two "#" because
// they cost it much; they cost the trie nothing.
func (t *topic) ValidateBinding(binding.Binding) error { return nil }

func (t *topic) Bind(b binding.Binding, d *binding.Destination) {
	t.trie.Add(b, d)
	t.bindings++
	t.answers.forget()
	t.answers.fit(t.bindings)
}

func (t *topic) Unbind(b binding.Binding, d *binding.Destination) {
	t.trie.Remove(b, d)
	t.bindings--
	t.answers.forget()
}

func (t *topic) Route(_ *message.Message, key string, dst []*binding.Destination) []*binding.Destination {
	start := len(dst)
	dst, known := t.answers.find(key, dst)
	if !known {
		dst = t.trie.Match(dst, key)
		t.answers.note(key, dst[start:])
	}
	return dst
}
