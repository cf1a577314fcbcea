package compat

import (
	"errors"
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

var (
	rabbitURI = flag.String("compat.rabbitmq", "", "the URI of the RabbitMQ to compare with; without it that is the record in answers")
	rabbitAPI = flag.String("compat.management", "", "the URL of its management plugin")
	rabbitCtl = flag.String("compat.ctl", "rabbitmqctl", "the program that raises its alarms")
	update    = flag.Bool("update", false, "write what the RabbitMQ answers into answers")
)

// slow is how long the two may take to agree. What differs and is not on the list costs
// that much.
const slow = 1500 * time.Millisecond

// quiet is for how long nothing may come in a step that is recorded.
const quiet = 30 * time.Millisecond

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

// TestMain lets the conversations that wait do so at the same time, on a small machine too.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	m.Run()
}

func startLeveret(t *testing.T) *brokertest.Server {
	return brokertest.Start(t, brokertest.WithTopology(users), brokertest.WithLogger(zerolog.Nop()), brokertest.WithConfig(func(c *config.Config) {
		c.AMQP.MaxMessageSize = maxMessageSize
	}))
}

func TestAnswersAreThoseOfRabbitMQ(t *testing.T) {
	s := startLeveret(t)
	c := &comparison{leveret: s.Addr(), ours: leveretOperator(s), list: differences(t), recorded: readRecord(t), ran: make(map[string]bool)}
	if *rabbitURI != "" {
		u, err := url.Parse(*rabbitURI)
		if err != nil {
			t.Fatal(err)
		}
		c.rabbit = u.Host
		if u.Port() == "" {
			c.rabbit += ":5672"
		}
		c.theirs = rabbitOperator(*rabbitAPI, *rabbitCtl)
	}
	all := conversations(t)
	if *update {
		defer func() { c.recorded.write(t, all) }()
	}
	// Those of the handshake and of heartbeats wait for seconds, and declare nothing.
	t.Run("conversations", func(t *testing.T) {
		for _, conv := range all {
			t.Run(conv.file+"/"+conv.title, func(t *testing.T) {
				if conv.file == "handshake" || conv.file == "heartbeats" {
					t.Parallel()
				}
				c.hold(t, conv)
			})
		}
	})
	t.Logf("%d conversations, %d steps, %d of them differ as intended", c.conversations, c.steps, c.intended)
	for _, d := range c.list {
		known := d.everywhere || slices.ContainsFunc(all, func(conv conversation) bool { return conv.where() == d.where })
		switch {
		case !known:
			t.Errorf("differences.txt:%d: there is no conversation %s", d.line, d.where)
		case !d.used && c.ran[d.where], !d.used && d.everywhere && c.conversations == len(all):
			t.Errorf("differences.txt:%d: %s %s: the two no longer differ like this", d.line, d.where, d.step)
		}
	}
}

var closed = regexp.MustCompile(`(?m)^\S+ ch=0 connection\.close-ok\{\}\n?`)

// beforeClosing is an answer without the last word of every connection.
func beforeClosing(answer string) string {
	return strings.TrimSuffix(closed.ReplaceAllString(answer, ""), "\n")
}

// comparison is the two brokers and the list of their differences.
type comparison struct {
	rabbit, leveret string // addresses; without a RabbitMQ it is the record that answers
	theirs, ours    operator

	mu                             sync.Mutex // guards the fields below
	recorded                       record
	list                           []*difference
	ran                            map[string]bool
	conversations, steps, intended int
}

// hold has a conversation with both brokers, step by step.
func (c *comparison) hold(t *testing.T, conv conversation) {
	leveret := newSide("Leveret", c.leveret, c.ours)
	var rabbit *side
	var answers []answered
	if c.rabbit != "" {
		rabbit = newSide("RabbitMQ", c.rabbit, c.theirs)
		defer rabbit.finish()
	} else if answers = c.recordOf(conv); answers == nil {
		t.Fatal("there is no record of this conversation; integration/compat/run -update makes one")
	}
	c.sweep(t, conv)
	defer c.sweep(t, conv)
	defer leveret.finish()
	where := conv.where()
	var said []answered
	for i, st := range conv.steps {
		recorded := ""
		if answers != nil {
			recorded = answers[i].answer
		}
		r, ok := c.compare(t, where, conv.file, st, rabbit, recorded, leveret)
		if !ok {
			return
		}
		said = append(said, answered{st.text, r})
	}
	leveret.step = nil
	leveret.leave()
	var r string
	if rabbit != nil {
		rabbit.step = nil
		rabbit.leave()
		r = beforeClosing(rabbit.answer())
	} else {
		r = answers[len(conv.steps)].answer
	}
	// Who is answered depends on what a difference before has left open.
	l := beforeClosing(leveret.answer())
	same, listed := c.judge(where, "end", r, l)
	if !same && !listed {
		t.Errorf("testdata/%s.txt: after the last step the two differ\n%s", conv.file, entry(where, "end", r, l))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ran[where] = true
	c.conversations++
	c.recorded[where] = append(said, answered{"end", r})
}

func (c *comparison) recordOf(conv conversation) []answered {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.recorded.to(conv)
}

// compare does a step and returns what the RabbitMQ answered, which is recorded if there is
// none.
func (c *comparison) compare(t *testing.T, where, file string, st step, rabbit *side, recorded string, leveret *side) (answer string, ok bool) {
	t.Helper()
	both := []*side{leveret}
	if rabbit != nil {
		both = append(both, rabbit)
	}
	// At the same time, so that neither is left alone while the other one waits.
	var wait sync.WaitGroup
	errs := make([]error, len(both))
	for i, s := range both {
		wait.Go(func() { errs[i] = s.do(st) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("testdata/%s.txt:%d: %v", file, st.line, err)
		return "", false
	}
	deadline, before := time.Now().Add(slow), "?"
	for {
		r, l := recorded, leveret.answer()
		if rabbit != nil {
			r = rabbit.answer()
		}
		same, listed := c.judge(where, st.text, r, l)
		// Neither may have said yet what it is going to say, which is no answer to record.
		if *update && (same || listed) && r != before {
			before = r
			for _, s := range both {
				s.until(quiet, func() bool { return false })
			}
			continue
		}
		if same || listed {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.steps++
			if listed {
				c.intended++
			}
			return r, true
		}
		if time.Now().After(deadline) {
			t.Errorf("testdata/%s.txt:%d: the two differ\n%s", file, st.line, entry(where, st.text, r, l))
			return r, false
		}
		if rabbit != nil {
			rabbit.again(st, r, l)
		}
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

// sweep takes back on both sides what a conversation may have made.
func (c *comparison) sweep(t *testing.T, conv conversation) {
	t.Helper()
	queues, exchanges := declared(conv)
	for _, b := range []struct {
		addr string
		operator
	}{{c.rabbit, c.theirs}, {c.leveret, c.ours}} {
		if b.addr == "" {
			continue
		}
		for _, which := range alarmed(conv) {
			if err := b.alarm(which, false); err != nil {
				t.Error(err)
			}
		}
		if len(queues)+len(exchanges) > 0 {
			w, err := newWatch(b.addr)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.sweep(queues, exchanges); err != nil {
				t.Errorf("sweeping %s: %v", b.addr, err)
			}
			w.close()
		}
		for _, path := range made(conv) {
			if _, err := b.ask("DELETE", path, ""); err != nil {
				t.Error(err)
			}
		}
	}
}
