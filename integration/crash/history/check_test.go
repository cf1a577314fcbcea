package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// run is a history whose clock ticks with every event, so that it reads from top to bottom.
type run struct {
	*History
	tick time.Time
}

func newRun() *run {
	begin := time.Unix(0, 0)
	return &run{New(begin), begin}
}

func (r *run) log(client string) *Log {
	l := r.Log(client)
	l.now = func() time.Time {
		r.tick = r.tick.Add(1)
		return r.tick
	}
	return opened(l)
}

// opened is the log as if it were opened just now.
func opened(l *Log) *Log {
	l.opened = l.now().Sub(l.begin)
	return l
}

func msg(seq uint32) ID { return ID{1, seq} }

func TestEachRuleCatchesTheHistoryThatBreaksIt(t *testing.T) {
	// f tells a story of a producer p, consumers c and d, and the broker b with an ordered
	// queue q and a shared queue s, and wants these rules to be broken, in this order.
	f := func(name string, story func(p, c, d, b *Log, q, s Queue), want ...string) {
		t.Helper()
		r := newRun()
		q, s := r.Queue("ordered", false), r.Queue("shared", true)
		story(r.log("producer"), r.log("consumer 1"), r.log("consumer 2"), r.log("broker"), q, s)
		report := r.Check()
		var got []string
		for _, v := range report.Violations {
			got = append(got, v.Rule)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v\n%v", name, got, want, report.Violations)
		}
		if (report.Err() == nil) != (len(want) == 0) {
			t.Errorf("%s: the error is %v", name, report.Err())
		}
	}
	f("nothing happens", func(p, c, d, b *Log, q, s Queue) {})
	f("all is well", func(p, c, d, b *Log, q, s Queue) {
		for i := uint32(1); i <= 3; i++ {
			p.Published(msg(i), Message{Digest: 7}, q, s)
			p.Confirmed(msg(i))
			c.Delivered(q, msg(i), 7, false)
			d.Delivered(s, msg(i), 7, false)
			c.Acked(q, msg(i))
			d.Rejected(s, msg(i))
		}
		c.Processed()
	})

	f("confirmed, never seen", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Confirmed(msg(1))
	}, "lost")
	f("confirmed, seen in one of two queues", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q, s)
		p.Confirmed(msg(1))
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
	}, "lost")
	f("seen, and not again after the connection was lost", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Confirmed(msg(1))
		c.Delivered(q, msg(1), 7, false)
		c.Lost()
	}, "lost")
	f("put back, and not seen again", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Confirmed(msg(1))
		c.Delivered(q, msg(1), 7, false)
		c.Requeued(q, msg(1))
	}, "lost")
	f("confirmed, and lost in a crash", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Confirmed(msg(1))
		b.Crashed()
	}, "lost")
	f("unknown, refused or returned, and never seen", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Published(msg(2), Message{Digest: 7}, q)
		p.Refused(msg(2))
		p.Published(msg(3), Message{Digest: 7})
		p.Published(msg(4), Message{Digest: 7}, q)
		p.Returned(msg(4))
		p.Confirmed(msg(4))
	})
	f("unknown, and seen", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		b.Crashed()
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
	})

	f("never published", func(p, c, d, b *Log, q, s Queue) { c.Delivered(q, msg(1), 7, false) }, "phantom")
	f("delivered before it was published", func(p, c, d, b *Log, q, s Queue) {
		c.Delivered(q, msg(1), 7, false)
		p.Published(msg(1), Message{Digest: 7}, q)
	}, "phantom")
	f("published to another queue", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		c.Delivered(s, msg(1), 7, false)
	}, "phantom")
	f("returned, and delivered after all", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Returned(msg(1))
		c.Delivered(q, msg(1), 7, false)
	}, "phantom")

	f("another content", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		c.Delivered(q, msg(1), 8, false)
		c.Acked(q, msg(1))
	}, "corrupt")

	settled := func(p, c *Log, q Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Confirmed(msg(1))
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
		c.Processed()
	}
	f("again after a processed ack, on the same channel", func(p, c, d, b *Log, q, s Queue) {
		settled(p, c, q)
		c.Delivered(q, msg(1), 7, true)
	}, "duplicate")
	f("seen after another's ack was processed, but perhaps sent before", func(p, c, d, b *Log, q, s Queue) {
		settled(p, c, q)
		d.Delivered(q, msg(1), 7, true)
	})
	f("again after a processed ack and a lost connection", func(p, c, d, b *Log, q, s Queue) {
		settled(p, c, q)
		c.Lost()
		opened(d).Delivered(q, msg(1), 7, true)
	}, "duplicate")
	f("again after a processed ack, in the life after the crash that excused it once", func(p, c, d, b *Log, q, s Queue) {
		settled(p, c, q)
		b.Crashed()
		c.Delivered(q, msg(1), 7, true)
		c.Acked(q, msg(1))
		c.Processed()
		opened(d).Delivered(q, msg(1), 7, true)
	}, "duplicate")
	f("again after a processed ack and a crash", func(p, c, d, b *Log, q, s Queue) {
		settled(p, c, q)
		b.Crashed()
		c.Delivered(q, msg(1), 7, true)
	})
	f("again after an ack that the connection's end overtook", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
		c.Lost()
		c.Processed()
		opened(d).Delivered(q, msg(1), 7, true)
	})
	f("again after another channel's reply", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
		d.Processed()
		c.Delivered(q, msg(1), 7, true)
	})

	f("not marked, though it was out before", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		c.Delivered(q, msg(1), 7, false)
		c.Lost()
		d.Delivered(q, msg(1), 7, false)
	}, "early")
	f("not marked, though it was out before the crash", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		c.Delivered(q, msg(1), 7, false)
		b.Crashed()
		d.Delivered(q, msg(1), 7, false)
	}, "early")
	f("not marked, and seen after the marked one of another", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, s)
		d.Delivered(s, msg(1), 7, true)
		c.Delivered(s, msg(1), 7, false)
	})
	f("marked, though nobody saw it", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		d.Delivered(q, msg(1), 7, true)
	})

	swapped := func(q Queue, log *Log) {
		log.Delivered(q, msg(2), 7, false)
		log.Delivered(q, msg(1), 7, false)
	}
	f("the younger one first", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Published(msg(2), Message{Digest: 7}, q)
		swapped(q, c)
	}, "order")
	f("the younger one before the crash", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Published(msg(2), Message{Digest: 7}, q)
		c.Delivered(q, msg(2), 7, false)
		b.Crashed()
		c.Delivered(q, msg(1), 7, false)
	}, "order")
	f("the younger one first, in a shared queue", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, s)
		p.Published(msg(2), Message{Digest: 7}, s)
		swapped(s, c)
	})
	f("the younger one again first", func(p, c, d, b *Log, q, s Queue) {
		p.Published(msg(1), Message{Digest: 7}, q)
		p.Published(msg(2), Message{Digest: 7}, q)
		c.Delivered(q, msg(1), 7, false)
		c.Delivered(q, msg(2), 7, false)
		c.Requeued(q, msg(2))
		c.Requeued(q, msg(1))
		c.Delivered(q, msg(2), 7, true)
		c.Delivered(q, msg(1), 7, true)
	})
	f("two writers", func(p, c, d, b *Log, q, s Queue) {
		p.Published(ID{1, 9}, Message{Digest: 7}, q)
		d.Published(ID{2, 1}, Message{Digest: 7}, q)
		c.Delivered(q, ID{1, 9}, 7, false)
		c.Delivered(q, ID{2, 1}, 7, false)
	})
}

func TestWhatARuleTakesIsNotLost(t *testing.T) {
	// f tells a story of a queue q whose dead letters go to the queue dead. Logs are a
	// producer's, two consumers', and the broker's.
	f := func(name string, story func(p, c, d, b *Log, q, dead Queue), want ...string) {
		t.Helper()
		r := newRun()
		q, dead := r.Queue("queue", false), r.Queue("dead", true)
		r.DeadLetters(q, dead)
		story(r.log("producer"), r.log("consumer 1"), r.log("consumer 2"), r.log("broker"), q, dead)
		report := r.Check()
		var got []string
		for _, v := range report.Violations {
			got = append(got, v.Rule)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v\n%v", name, got, want, report.Violations)
		}
	}
	publish := func(p *Log, m Message, q Queue) {
		m.Digest = 7
		p.Published(msg(1), m, q)
		p.Confirmed(msg(1))
	}
	reject := func(p, c *Log, q Queue) {
		publish(p, Message{}, q)
		c.Delivered(q, msg(1), 7, false)
		c.Rejected(q, msg(1))
	}
	f("rejected, and settled as a letter", func(p, c, d, b *Log, q, dead Queue) {
		reject(p, c, q)
		d.Delivered(dead, msg(1), 7, false)
		d.Acked(dead, msg(1))
	})
	f("rejected, and not seen again", func(p, c, d, b *Log, q, dead Queue) { reject(p, c, q) }, "lost")
	f("rejected, and the letter not settled", func(p, c, d, b *Log, q, dead Queue) {
		reject(p, c, q)
		d.Delivered(dead, msg(1), 7, false)
	}, "lost")
	f("a letter of what nobody rejected", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		d.Delivered(dead, msg(1), 7, false)
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
	}, "phantom")
	f("expired, and settled as a letter", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{Expires: true}, q)
		d.Delivered(dead, msg(1), 7, false)
		d.Acked(dead, msg(1))
	})
	f("expired, and no letter came", func(p, c, d, b *Log, q, dead Queue) { publish(p, Message{Expires: true}, q) }, "lost")
	f("expired where letters go nowhere", func(p, c, d, b *Log, q, dead Queue) { publish(p, Message{Expires: true}, dead) })
	f("a letter of another content", func(p, c, d, b *Log, q, dead Queue) {
		reject(p, c, q)
		d.Delivered(dead, msg(1), 8, false)
		d.Acked(dead, msg(1))
	}, "corrupt")
	twice := func(p, c, d, between *Log, q, dead Queue) {
		reject(p, c, q)
		d.Delivered(dead, msg(1), 7, false)
		if between != nil {
			between.Crashed()
		}
		c.Delivered(q, msg(1), 7, true)
		c.Rejected(q, msg(1))
		d.Delivered(dead, msg(1), 7, false)
		d.Acked(dead, msg(1))
	}
	f("two letters of one message", func(p, c, d, b *Log, q, dead Queue) { twice(p, c, d, nil, q, dead) }, "early")
	f("two letters of one message whose first death a crash undid", func(p, c, d, b *Log, q, dead Queue) {
		twice(p, c, d, b, q, dead)
	})
	ackedAndDead := func(p, c, d *Log, q, dead Queue) {
		publish(p, Message{Expires: true}, q)
		c.Delivered(q, msg(1), 7, false)
		c.Acked(q, msg(1))
		c.Processed()
	}
	f("acknowledged, and a letter all the same", func(p, c, d, b *Log, q, dead Queue) {
		ackedAndDead(p, c, d, q, dead)
		opened(d).Delivered(dead, msg(1), 7, false)
	}, "duplicate")
	f("acknowledged, and a letter after a crash", func(p, c, d, b *Log, q, dead Queue) {
		ackedAndDead(p, c, d, q, dead)
		b.Crashed()
		opened(d).Delivered(dead, msg(1), 7, false)
	})

	f("transient, and lost in a crash", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{Transient: true}, q)
		b.Crashed()
	})
	f("transient, and lost in a restart", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{Transient: true}, q)
		b.Restarted()
	})
	f("transient, and lost after the last crash", func(p, c, d, b *Log, q, dead Queue) {
		b.Crashed()
		publish(p, Message{Transient: true}, q)
	}, "lost")
	f("lost in a restart", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		b.Restarted()
	}, "lost")

	f("purged", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		b.Purging(q)
		b.Purged(q)
	})
	f("purged in another queue", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		b.Purging(dead)
		b.Purged(dead)
	}, "lost")
	f("published after the purge", func(p, c, d, b *Log, q, dead Queue) {
		b.Purging(q)
		b.Purged(q)
		publish(p, Message{}, q)
	}, "lost")
	f("published during the purge", func(p, c, d, b *Log, q, dead Queue) {
		b.Purging(q)
		publish(p, Message{}, q)
		b.Purged(q)
	})
	f("published before a purge without an answer", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		c.Purging(q)
		b.Crashed()
	})
	f("published after a purge that a crash cut short", func(p, c, d, b *Log, q, dead Queue) {
		c.Purging(q)
		b.Crashed()
		publish(p, Message{}, q)
	}, "lost")
	f("there again after a purge", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		b.Purging(q)
		b.Purged(q)
		b.Crashed()
		opened(c).Delivered(q, msg(1), 7, true)
	}, "phantom")
	f("there again after a purge without an answer", func(p, c, d, b *Log, q, dead Queue) {
		publish(p, Message{}, q)
		d.Purging(q)
		b.Crashed()
		opened(c).Delivered(q, msg(1), 7, true)
	})
}

func TestReportCountsWhatACrashExcuses(t *testing.T) {
	r := newRun()
	q := r.Queue("q", false)
	p, c, b := r.log("producer"), r.log("consumer"), r.log("broker")
	for i := uint32(1); i <= 4; i++ {
		p.Published(msg(i), Message{Digest: 7}, q)
	}
	for i := uint32(1); i <= 3; i++ {
		p.Confirmed(msg(i))
		c.Delivered(q, msg(i), 7, false)
		c.Acked(q, msg(i))
		if i == 1 {
			c.Processed()
		}
	}
	b.Crashed()
	for i := uint32(1); i <= 3; i++ {
		c.Delivered(q, msg(i), 7, true)
		c.Acked(q, msg(i))
	}
	report := r.Check()
	if err := report.Err(); err != nil {
		t.Fatal(err, report.Violations)
	}
	got := fmt.Sprint(report.Published, report.Confirmed, report.Deliveries, report.Repeated, report.Duplicates, report.Unknown)
	if want := "4 3 6 3 1 1"; got != want {
		t.Errorf("published, confirmed, deliveries, repeated, duplicates, unknown: got %s, want %s", got, want)
	}
}

func TestViolationTellsTheMessagesStory(t *testing.T) {
	r := newRun()
	q := r.Queue("letters", false)
	p, c, b := r.log("producer"), r.log("consumer"), r.log("broker")
	p.Published(msg(1), Message{Digest: 7}, q)
	p.Published(msg(2), Message{Digest: 7}, q)
	p.Confirmed(msg(1))
	c.Delivered(q, msg(1), 7, false)
	b.Crashed()
	got := r.Check().Violations[0].String()
	want := []string{"lost: message 1.1 in letters", "producer", "published to letters", "confirmed",
		"consumer", "delivered from letters", "redelivered false", "broker crashed"}
	rest := got
	for _, w := range want {
		_, after, found := strings.Cut(rest, w)
		if !found {
			t.Fatalf("got\n%s\nwant it to go on with %q", got, w)
		}
		rest = after
	}
	if strings.Contains(got, "1.2") {
		t.Errorf("another message is in the story:\n%s", got)
	}
}

// A correct broker's history passes; with one event taken out or changed it fails by the rule
// that the change breaks.
func TestOneWrongEventInALongHistoryIsFound(t *testing.T) {
	const messages = 2000
	tell := func(seed uint64, spoil func(i int, e *event) (drop bool)) *Report {
		random := rand.New(rand.NewPCG(seed, 0))
		r := newRun()
		queues := []Queue{r.Queue("a", false), r.Queue("b", true)}
		p, c, b := r.log("producer"), r.log("consumer"), r.log("broker")
		for i := uint32(1); i <= messages; i++ {
			p.Published(msg(i), Message{Digest: uint64(i)}, queues...)
			p.Confirmed(msg(i))
			for _, q := range queues {
				c.Delivered(q, msg(i), uint64(i), false)
				for random.IntN(4) == 0 {
					c.Requeued(q, msg(i))
					c.Delivered(q, msg(i), uint64(i), true)
				}
				c.Acked(q, msg(i))
			}
			switch random.IntN(20) {
			case 0:
				c.Processed()
			case 1:
				b.Crashed()
			}
		}
		kept := c.events[:0]
		for i := range c.events {
			if e := c.events[i]; !spoil(i, &e) {
				kept = append(kept, e)
			}
		}
		c.events = kept
		return r.Check()
	}
	for seed := range uint64(20) {
		if report := tell(seed, func(int, *event) bool { return false }); report.Err() != nil {
			t.Fatalf("seed %d: a correct history: %v\n%v", seed, report.Err(), report.Violations[0])
		}
		f := func(rule string, wants kind, spoil func(e *event) bool) {
			t.Helper()
			from, done := int(seed)*100, false
			report := tell(seed, func(i int, e *event) bool {
				if done || i < from || e.kind != wants || wants == delivered && e.redelivered {
					return false
				}
				done = true
				return spoil(e)
			})
			if n := report.Broken(rule); n != 1 || len(report.Violations) != 1 {
				t.Errorf("seed %d: %s was found %d times among %v", seed, rule, n, report.Violations)
			}
		}
		f("lost", acked, func(*event) bool { return true })
		f("corrupt", delivered, func(e *event) bool { e.digest++; return false })
		f("phantom", delivered, func(e *event) bool { e.id.Writer = 9; return false })
	}
}

// Check is one pass: twice the history takes about twice the time, and a long run stays cheap.
func BenchmarkCheck(b *testing.B) {
	for _, messages := range []uint32{10_000, 100_000} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			r := newRun()
			q := r.Queue("q", false)
			p, c := r.log("producer"), r.log("consumer")
			for i := uint32(1); i <= messages; i++ {
				p.Published(msg(i), Message{Digest: 7}, q)
				p.Confirmed(msg(i))
				c.Delivered(q, msg(i), 7, false)
				c.Acked(q, msg(i))
			}
			b.ReportAllocs()
			for b.Loop() {
				if report := r.Check(); report.Err() != nil || report.Confirmed != int(messages) {
					b.Fatal(report)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(messages), "ns/message")
		})
	}
}
