package compat

import (
	"flag"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/config"
)

var rabbitURI = flag.String("compat.rabbitmq", "", "the URI of the RabbitMQ to compare with; without it there is no comparison")

// slow is how long the two may take to agree. What differs and is not on the list costs
// that much.
const slow = 1500 * time.Millisecond

// maxMessageSize is what both brokers are configured with, so that a message too large need
// not be large (W-23).
const maxMessageSize = 100_000

// users are those of definitions.json.
const users = `
users:
  - {name: limited, password: limited, permissions: [{configure: "^own", write: "^own", read: "^own"}]}
  - {name: nowhere, password: nowhere}
  - {name: impersonator, password: impersonator, tags: [impersonator], permissions: [{configure: ".*", write: ".*", read: ".*"}]}
`

func startLeveret(t *testing.T) string {
	s := brokertest.Start(t, brokertest.WithTopology(users), brokertest.WithLogger(zerolog.Nop()), brokertest.WithConfig(func(c *config.Config) {
		c.AMQP.MaxMessageSize = maxMessageSize
	}))
	return s.Addr()
}

func TestAnswersAreThoseOfRabbitMQ(t *testing.T) {
	if *rabbitURI == "" {
		t.Skip("no RabbitMQ to compare with: integration/compat/run has one")
	}
	u, err := url.Parse(*rabbitURI)
	if err != nil {
		t.Fatal(err)
	}
	host := u.Host
	if u.Port() == "" {
		host += ":5672"
	}
	c := &comparison{rabbit: host, leveret: startLeveret(t), list: differences(t), ran: make(map[string]bool)}
	all := conversations(t)
	// The handshake ones wait for seconds until RabbitMQ hangs up, and declare nothing.
	t.Run("conversations", func(t *testing.T) {
		for _, conv := range all {
			t.Run(conv.file+"/"+conv.title, func(t *testing.T) {
				if conv.file == "handshake" {
					t.Parallel()
				}
				c.hold(t, conv)
			})
		}
	})
	t.Logf("%d conversations, %d steps, %d of them differ as intended", c.conversations, c.steps, c.intended)
	for _, d := range c.list {
		known := d.everywhere || slices.ContainsFunc(all, func(conv conversation) bool { return conv.file+": "+conv.title == d.where })
		switch {
		case !known:
			t.Errorf("differences.txt:%d: there is no conversation %s", d.line, d.where)
		case !d.used && c.ran[d.where], !d.used && d.everywhere && c.conversations == len(all):
			t.Errorf("differences.txt:%d: %s %s: the two no longer differ like this", d.line, d.where, d.step)
		}
	}
}

// TestLeveretAgreesWithItself holds conversations with two of Leveret: it shows that they can
// be read, come to their end, and that masking hides all that varies.
func TestLeveretAgreesWithItself(t *testing.T) {
	c := &comparison{rabbit: startLeveret(t), leveret: startLeveret(t), list: nil, ran: make(map[string]bool)}
	for _, conv := range conversations(t) {
		if conv.file == "handshake" || conv.file == "connection" || conv.file == "limits" {
			continue // these wait for seconds, or for messages to expire
		}
		t.Run(conv.file+"/"+conv.title, func(t *testing.T) { c.hold(t, conv) })
	}
}

var closed = regexp.MustCompile(`(?m)^\S+ ch=0 connection\.close-ok\{\}\n?`)

// comparison is the two brokers and the list of their differences.
type comparison struct {
	rabbit, leveret string

	mu                             sync.Mutex // guards the fields below
	list                           []*difference
	ran                            map[string]bool
	conversations, steps, intended int
}

// hold has a conversation with both brokers, step by step.
func (c *comparison) hold(t *testing.T, conv conversation) {
	queues, exchanges := declared(conv)
	rabbit, leveret := newSide("RabbitMQ", c.rabbit), newSide("Leveret", c.leveret)
	c.sweep(t, queues, exchanges)
	defer c.sweep(t, queues, exchanges)
	defer rabbit.finish()
	defer leveret.finish()
	where := conv.file + ": " + conv.title
	for _, st := range conv.steps {
		if !c.compare(t, where, conv.file, st, rabbit, leveret) {
			return
		}
	}
	rabbit.step, leveret.step = nil, nil
	rabbit.leave()
	leveret.leave()
	// Who is answered depends on what a difference before has left open.
	r, l := closed.ReplaceAllString(rabbit.answer(), ""), closed.ReplaceAllString(leveret.answer(), "")
	same, listed := c.judge(where, "end", r, l)
	if !same && !listed {
		t.Errorf("testdata/%s.txt: after the last step the two differ\n%s", conv.file, entry(where, "end", r, l))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran[where] = true
	c.conversations++
}

func (c *comparison) compare(t *testing.T, where, file string, st step, rabbit, leveret *side) bool {
	t.Helper()
	both := []*side{leveret, rabbit}
	for _, s := range both {
		s.step = nil
		for i, line := range st.lines {
			if err := s.run(line, i < len(st.lines)-1); err != nil {
				t.Errorf("testdata/%s.txt:%d: %s: %s: %v", file, st.line, s.name, line, err)
				return false
			}
		}
		s.settle()
	}
	deadline := time.Now().Add(slow)
	for {
		r, l := rabbit.answer(), leveret.answer()
		same, listed := c.judge(where, st.text, r, l)
		if same || listed {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.steps++
			if listed {
				c.intended++
			}
			return true
		}
		if time.Now().After(deadline) {
			t.Errorf("testdata/%s.txt:%d: the two differ\n%s", file, st.line, entry(where, st.text, r, l))
			return false
		}
		rabbit.again(st, r, l)
		for _, s := range both {
			s.until(5*time.Millisecond, func() bool { return false })
			s.barrier()
		}
	}
}

func (c *comparison) judge(where, step, rabbit, leveret string) (same, listed bool) {
	if rabbit == leveret {
		return true, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return false, everywhere(c.list, rabbit, leveret) || intended(c.list, where, step, rabbit, leveret)
}

// again repeats a question that RabbitMQ may have answered before its queues had heard of
// what was said before. Only what changes nothing is asked again.
func (s *side) again(st step, rabbit, leveret string) {
	w := words(st.text)
	if len(w) < 3 || len(st.lines) > 1 {
		return
	}
	early := w[2] == "basic.get" && strings.Contains(rabbit, "basic.get-empty{") && strings.Contains(leveret, "basic.get-ok{") ||
		w[2] == "queue.declare" && slices.Contains(w, "passive") && strings.Contains(rabbit, "queue.declare-ok{")
	if !early {
		return
	}
	s.step = nil
	// The line was understood before.
	_ = s.run(st.text, false)
	s.settle()
}

// declared are the names of the queues and exchanges that a conversation may leave behind.
func declared(conv conversation) (queues, exchanges []string) {
	for _, st := range conv.steps {
		for _, line := range st.lines {
			w := words(line)
			for i := range w {
				name := ""
				for _, arg := range w[i:] {
					if key, value, _ := strings.Cut(arg, "="); key == "queue" && w[i] == "queue.declare" || key == "exchange" && w[i] == "exchange.declare" {
						name = strings.NewReplacer("\r", "", "\n", "").Replace(text(value))
					}
				}
				switch {
				case name == "" || strings.HasPrefix(name, "amq."):
				case w[i] == "queue.declare" && !slices.Contains(queues, name):
					queues = append(queues, name)
				case w[i] == "exchange.declare" && !slices.Contains(exchanges, name):
					exchanges = append(exchanges, name)
				}
			}
		}
	}
	return queues, exchanges
}

// sweep deletes on both sides what a conversation may have declared.
func (c *comparison) sweep(t *testing.T, queues, exchanges []string) {
	t.Helper()
	if len(queues)+len(exchanges) == 0 {
		return
	}
	for _, addr := range []string{c.rabbit, c.leveret} {
		w, err := newWatch(addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.sweep(queues, exchanges); err != nil {
			t.Errorf("sweeping %s: %v", addr, err)
		}
		w.close()
	}
}
