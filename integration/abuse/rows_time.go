package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// outOfTime are the rows in which time does not pass as the broker is used to.
func outOfTime() []row {
	return []row{
		{id: "E19", input: "a tenth of a processor for 6 s, heartbeats of 2 s", want: "slow, nobody is closed", kind: slow, run: func(t *trial) { t.starved(6 * time.Second) }},
		{id: "E19l", input: "a tenth of a processor for 60 s, heartbeats of 2 s", want: "slow, nobody is closed", kind: heavy, run: func(t *trial) { t.starved(time.Minute) }},
		{id: "E20", input: "the broker is stopped for a second and goes on", want: "nobody is gone, what was due happens once", kind: slow, run: func(t *trial) { t.paused(time.Second) }},
		{id: "E20s", input: "the broker is stopped for 4 s and goes on", want: gone, kind: slow, run: func(t *trial) { t.paused(4 * time.Second) }},
		{id: "E20l", input: "the broker is stopped for 30 s and goes on", want: gone, kind: heavy, run: func(t *trial) { t.paused(30 * time.Second) }},
		{id: "E20m", input: "the broker is stopped for 120 s and goes on", want: gone, kind: heavy, run: func(t *trial) { t.paused(2 * time.Minute) }},
		{id: "E21", input: "the wall clock is set to +1 h, -1 h, 1970, 2100", want: "deadlines stay, a line each time; at the next start too", kind: slow, run: wallClock},
	}
}

const gone = "clients with heartbeats are gone, what was due happens once"

// starved has clients with heartbeats of 2 s work with a broker that has a tenth of a
// processor.
func (t *trial) starved(lasts time.Duration) {
	o := t.owned("")
	o.launch()
	o.patience = 15 * time.Second
	var idle []*peer
	for range 20 {
		p := o.tuned()
		p.open(frameMax, 2047, 2)
		idle = append(idle, p)
	}
	busy := o.tuned()
	busy.open(frameMax, 2047, 2)
	busy.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
	busy.call(1, &amqp.QueueDeclare{Queue: "abuse.e19", Durable: true}, "queue.declare-ok")
	busy.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
	how, feed := t.starve(o.pid)
	defer feed()
	beat := amqp.AppendHeartbeat(nil)
	used, confirmed, worst, beaten := o.cpu(), 0, time.Duration(0), time.Now()
	began := time.Now()
	for time.Since(began) < lasts {
		start := time.Now()
		busy.publish("", "abuse.e19", persistent(), make([]byte, 1000))
		busy.want("basic.ack")
		confirmed++
		worst = max(worst, time.Since(start))
		if time.Since(beaten) > time.Second {
			beaten = time.Now()
			for _, p := range idle {
				t.must(p.write(beat))
			}
		}
	}
	took, share := time.Since(began), 0.0
	if used > 0 {
		share = float64(o.cpu()-used) / float64(took)
	}
	// A login is the dearest of what is done for a client.
	login := time.Now()
	o.client().alive()
	t.note("%s: %.0f %% of a processor, %d confirmed, the slowest within %v, a login within %v", how, share*100, confirmed,
		worst.Round(time.Millisecond), time.Since(login).Round(time.Millisecond))
	if share > 0.2 {
		t.failf("the broker had %.0f %% of a processor, want it starved", share*100)
	}
	for i, p := range idle {
		// Heartbeats are passed over; whatever else it says, or the end, is not.
		if got := p.outcomeWithin(time.Millisecond); got != "open" {
			t.failf("idle client %d got %s %s", i, got, p.text)
		}
	}
	feed()
	busy.publish("", "abuse.e19", persistent(), []byte("last"))
	busy.want("basic.ack")
	if n := busy.count("abuse.e19"); n != confirmed+1 {
		t.failf("%d messages are in the queue, want %d", n, confirmed+1)
	}
}

// paused stops a broker for a while. What is due meanwhile is due once when it goes on.
func (t *trial) paused(lasts time.Duration) {
	o := t.owned("")
	o.launch()
	keeper := o.client() // no heartbeats
	keeper.call(1, &amqp.QueueDeclare{Queue: "abuse.e20.dead"}, "queue.declare-ok")
	const dying = 200
	q := keeper.declare(amqp.Table{{Name: "x-message-ttl", Value: int32(700)}, {Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: "abuse.e20.dead"}})
	keeper.call(1, &amqp.QueueDeclare{Queue: "abuse.e20.gone", Arguments: amqp.Table{{Name: "x-expires", Value: int32(700)}}}, "queue.declare-ok")
	keeper.call(1, &amqp.QueueDeclare{Queue: "abuse.e20.held"}, "queue.declare-ok")
	keeper.publish("", "abuse.e20.held", nil, []byte("held"))

	// A client as clients are: it sends heartbeats, and goes when it has heard none for as long
	// as two take.
	beating := o.tuned()
	beating.open(frameMax, 2047, 1)
	beating.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
	beating.send(1, &amqp.BasicGet{Queue: "abuse.e20.held"})
	beating.delivered()
	// And one that stays all the same, and counts what it is sent.
	counting := o.tuned()
	counting.open(frameMax, 2047, 1)

	keeper.fill1(q, dying, []byte("dies"), nil)
	t.must(syscall.Kill(o.pid, syscall.SIGSTOP))
	stopped := time.Now()
	t.after(func() { _ = syscall.Kill(o.pid, syscall.SIGCONT) }) // when the row fails meanwhile
	leaves := false
	for time.Since(stopped) < lasts {
		t.must(counting.write(amqp.AppendHeartbeat(nil)))
		if !leaves {
			t.must(beating.write(amqp.AppendHeartbeat(nil)))
			if leaves = time.Since(stopped) > 2*time.Second; leaves {
				beating.reset()
			}
		}
		time.Sleep(min(500*time.Millisecond, lasts))
	}
	counting.drain()
	t.must(syscall.Kill(o.pid, syscall.SIGCONT))
	resumed := time.Now()
	// Heartbeats are not made up for.
	time.Sleep(1200 * time.Millisecond)
	t.must(counting.write(amqp.AppendHeartbeat(nil)))
	if n := counting.drain() / 8; n < 1 || n > 3 {
		t.failf("%d heartbeats within 1.2 s of going on, want one a second", n)
	}
	counting.alive()
	// What was due has come once.
	for keeper.count("abuse.e20.dead") < dying {
		if time.Since(resumed) > 6*time.Second {
			t.failf("%d of %d messages have expired", keeper.count("abuse.e20.dead"), dying)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if n := keeper.count("abuse.e20.dead"); n != dying {
		t.failf("%d dead letters of %d messages", n, dying)
	}
	once := keeper
	once.call(2, &amqp.ChannelOpen{}, "channel.open-ok")
	once.send(2, &amqp.QueueDeclare{Queue: "abuse.e20.gone", Passive: true})
	once.want("chan 404")
	if !leaves {
		beating.alive()
		t.note("nobody is gone; %d expired once", dying)
		return
	}
	for keeper.count("abuse.e20.held") == 0 {
		if time.Since(resumed) > 6*time.Second {
			t.failf("the message of the client that has gone has not come back")
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.note("the client that went has been noticed, others stay; %d expired once", dying)
}

// drain reads what there is to read, and returns how many octets that was.
func (p *peer) drain() (n int) {
	for {
		if p.fill(time.Now().Add(10*time.Millisecond)) != nil {
			n, p.in = len(p.in), nil
			return n
		}
	}
}

// wallClock runs the broker with a clock that is not the machine's, which is left alone: the
// binary is a copy in which the function that asks the kernel for the time adds something to
// it. So it is the real process that sees the jumps, while it runs and from one start to the
// next.
func wallClock(t *trial) {
	o := t.owned("")
	moved, err := moveClock(o.binary, o.dir+"/leveret")
	if err != nil {
		t.cannot("%v", err)
	}
	o.binary = moved.path
	o.launch()
	const long, short = 20 * time.Minute, time.Second
	ttl := func(d time.Duration) amqp.Table {
		return amqp.Table{{Name: "x-message-ttl", Value: int32(d / time.Millisecond)}}
	}
	p := o.tuned()
	p.open(frameMax, 2047, 2)
	p.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
	p.call(1, &amqp.QueueDeclare{Queue: "abuse.long", Durable: true, Arguments: ttl(long)}, "queue.declare-ok")
	p.call(1, &amqp.QueueDeclare{Queue: "abuse.lease", Arguments: amqp.Table{{Name: "x-expires", Value: int32(long / time.Millisecond)}}}, "queue.declare-ok")
	const messages = 100
	p.fill1("abuse.long", messages, []byte("stays"), persistent())
	now := time.Now()
	for i, by := range []time.Duration{time.Hour, -time.Hour, -now.Sub(time.Unix(86400, 0)), time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC).Sub(now)} {
		q := p.declare(ttl(short))
		began := time.Now()
		p.fill1(q, 1, []byte("dies"), nil)
		t.must(moved.move(o.pid, by))
		o.expect("THE WALL CLOCK WAS SET", i+1)
		for p.count(q) != 0 {
			if time.Since(began) > short+2*time.Second {
				t.failf("a message that lives %v is there after %v, the clock moved by %v", short, time.Since(began), by)
			}
			time.Sleep(20 * time.Millisecond)
		}
		if lived := time.Since(began); lived < short-50*time.Millisecond {
			t.failf("a message that lives %v was gone after %v, the clock moved by %v", short, lived, by)
		}
		if n := p.count("abuse.long"); n != messages {
			t.failf("%d of %d messages that live %v are there, the clock moved by %v", n, messages, long, by)
		}
		p.call(1, &amqp.QueueDeclare{Queue: "abuse.lease", Passive: true}, "queue.declare-ok")
		t.must(p.write(amqp.AppendHeartbeat(nil)))
		o.client().alive() // who comes now is let in
		year := yearOf(o)
		if want := now.Add(by).Year(); year != want {
			t.failf("the broker's log is of the year %d, want %d: its clock was not moved", year, want)
		}
	}
	t.note("while it runs nothing moves, 4 lines")
	// From one start to the next there is only the wall clock: what has expired by it is gone,
	// and the log says why.
	restart := func(by time.Duration, want int, line string) {
		o.process.stop()
		t.must(moved.startWith(by))
		o.launch()
		c := o.client()
		for began := time.Now(); c.count("abuse.long") != want; time.Sleep(20 * time.Millisecond) {
			if time.Since(began) > 3*time.Second {
				t.failf("%d messages after a start with the clock moved by %v, want %d", c.count("abuse.long"), by, want)
			}
		}
		if o.logged(line) != 1 {
			t.failf("no line %q after a start with the clock moved by %v: %s", line, by, o.process.lastWords())
		}
	}
	restart(-time.Hour, messages, "THE WALL CLOCK IS BEHIND")
	restart(2*time.Hour, 0, "has not been written for long")
	t.note("at the next start they are taken by the wall clock, with a line")
}

// yearOf is the year that the last line of the broker's log is of.
func yearOf(o *own) (year int) {
	b, err := os.ReadFile(o.dir + "/log")
	o.must(err)
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	_, rest, _ := strings.Cut(lines[len(lines)-1], `"time":"`)
	if _, err := fmt.Sscanf(rest, "%d-", &year); err != nil {
		o.failf("no time in %q", lines[len(lines)-1])
	}
	return year
}
