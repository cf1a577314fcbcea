//go:build !race

// The race detector makes a sync.Pool forget at random what was put into it.

package binding

import (
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

func TestTrieMatchAllocatesNothing(t *testing.T) {
	trie := topicBindings(1000)
	for i, d := range someDestinations(200) { // more than are searched one by one
		trie.Add(Binding{RoutingKey: "many.#"}, d)
		trie.Add(Binding{RoutingKey: fmt.Sprintf("#.many.w%d.#", i%3)}, d)
	}
	dst := make([]*Destination, 0, 1024)
	for _, key := range []string{"r1.k2.e1", "many.w1.x", "none.at.all", ""} {
		if n := testing.AllocsPerRun(200, func() { dst = trie.Match(dst[:0], key) }); n >= 1 {
			t.Errorf("key %q: got %v allocations per match, want 0", key, n)
		}
	}
}

func TestHeadersMatchAllocatesNothing(t *testing.T) {
	h, headers := headersBindings(1000)
	d := &Destination{}
	h.Add(Binding{Arguments: amqp.Table{{Name: "x-match", Value: "any"}, {Name: "format", Value: "pdf"}}}, d)
	h.Add(Binding{}, d)
	dst := make([]*Destination, 0, 16)
	n := testing.AllocsPerRun(200, func() { dst = h.Match(dst[:0], headers) })
	if n >= 1 || len(dst) != 2 {
		t.Errorf("got %v allocations and %d destinations, want 0 and 2", n, len(dst))
	}
}
