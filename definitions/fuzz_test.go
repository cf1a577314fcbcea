package definitions

import (
	"os"
	"testing"
)

// FuzzImport: whatever is imported can be exported, and that imported again elsewhere with
// the same result; and what is refused leaves nothing behind.
func FuzzImport(f *testing.F) {
	for _, name := range []string{"testdata/rabbitmq-3.10.8.json"} {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(`{"queues":[{"name":"q","vhost":"/","arguments":{"x-max-length":1,"f":1.5,"n":[{"a":true}]}}]}`)
	f.Add(`{"vhosts":[{"name":"v","metadata":{"default_queue_type":"quorum"}}],"queues":[{"name":"q","vhost":"v","durable":true,"type":"classic"}]}`)
	f.Add(`{"parameters":[{"component":"vhost-limits","vhost":"/","name":"limits","value":{"max-queues":0}}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		b := newBroker(t)
		before := export(t, b)
		if _, err := load(b, text); err != nil {
			if after := export(t, b); after != before {
				t.Fatalf("after %v got\n%s", err, after)
			}
			return
		}
		first := export(t, b)
		again := newBroker(t)
		if _, err := load(again, first); err != nil {
			t.Fatalf("its own export is refused: %v\n%s", err, first)
		}
		if second := export(t, again); second != first {
			t.Fatalf("got\n%s\nwant\n%s", second, first)
		}
	})
}
