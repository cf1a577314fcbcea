package crash

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var (
	roundsFlag = flag.Int("rounds", 0, "lives of the broker; 0 is 6")
	seedFlag   = flag.Uint64("seed", 0, "what the moments of the kills and the load are drawn from; 0 is drawn itself")
	brokerFlag = flag.String("broker", "", "AMQP URL of a running broker to put the load on instead, without kills")
)

const (
	startLimit = 15 * time.Second // of a broker with the data of a few rounds
	judgeEvery = 20               // rounds; the logs are kept in memory until then
	stepLimit  = time.Minute      // of a step that takes a moment
)

// TestKillLoop holds P1 to P4, P9 and P10 over many kills: what was confirmed is there, what was
// not may be, and what was acknowledged may come again (DUR-5).
func TestKillLoop(t *testing.T) {
	l := newLoop(t)
	rounds := rounds(6)
	l.end = func() {
		l.check(l.process.kill(), "kill")
	}
	l.run(rounds)
	t.Log(l)
}

// TestStopLoop holds P13: after SIGTERM the broker ends in time and well, and as nothing was
// cut short, what had been acknowledged does not come again.
func TestStopLoop(t *testing.T) {
	l := newLoop(t)
	rounds := rounds(3)
	l.clean = true
	l.end = func() {
		took, err := l.process.terminate()
		l.check(err, "stop")
		l.slowestStop = max(l.slowestStop, took)
	}
	l.run(rounds)
	t.Logf("%v, slowest stop %v", l, l.slowestStop.Round(time.Millisecond))
}

// TestLoadWithoutKills puts the same load on a broker that runs already, and cuts its clients
// off instead of killing it. It shows that the harness finds no fault where there is none.
func TestLoadWithoutKills(t *testing.T) {
	if *brokerFlag == "" {
		t.Skip("it takes -broker URL")
	}
	seed := max(*seedFlag, 1)
	l := &loop{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), url: *brokerFlag, clean: true, end: func() {}}
	l.judge(rounds(2))
	t.Log(l)
}

// rounds is how many the command line asks for, or the usual number.
func rounds(usual int) int {
	if *roundsFlag > 0 {
		return *roundsFlag
	}
	return usual
}

func newLoop(t *testing.T) *loop {
	t.Helper()
	if *brokerFlag != "" {
		t.Skip("-broker is for TestLoadWithoutKills")
	}
	if testing.Short() {
		t.Skip("it builds the broker and runs it as a process")
	}
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	p, err := newProcess(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l := &loop{t: t, seed: seed, random: rand.New(rand.NewPCG(seed, 0)), process: p, url: p.url()}
	t.Cleanup(l.stop)
	return l
}

// A loop is the rounds so far.
type loop struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	process *process // or nil, when the broker is somebody else's
	url     string
	end     func() // ends a life
	crew    *crew  // that of the present life, if it has one
	clean   bool   // and does so without cutting anything short

	round     int
	starts    int // that were waited for
	cutShort  int
	slowest   time.Duration
	confirmed int
	delivered int
	repeated  int
	duplicate int
	unknown   int
	letters   int
	gone      int
	longest   int
	large     int
	broken    map[string]int

	slowestStop time.Duration
}

func (l *loop) String() string {
	// A start that does not come to its end without a hand ends the test.
	return fmt.Sprintf("seed %d: %d rounds, %d starts, 0 of them needed a hand, slowest %v, and %d cut short, "+
		"%d confirmed, %d unknown, %d delivered, %d of them again, %d duplicates after an ack, %d dead letters, %d gone by a rule, "+
		"longest queue at a start %d, %d large bodies to several queues: "+
		"%d lost, %d phantom, %d corrupt, %d duplicate without a crash, %d early, %d order violations",
		l.seed, l.round, l.starts, l.slowest.Round(time.Millisecond), l.cutShort,
		l.confirmed, l.unknown, l.delivered, l.repeated, l.duplicate, l.letters, l.gone,
		l.longest, l.large,
		l.broken["lost"], l.broken["phantom"], l.broken["corrupt"], l.broken["duplicate"], l.broken["early"], l.broken["order"])
}

// run lives through all rounds.
func (l *loop) run(rounds int) {
	l.t.Helper()
	for l.round < rounds {
		l.judge(min(judgeEvery, rounds-l.round))
	}
}

// judge lives through some rounds, drains and judges.
func (l *loop) judge(rounds int) {
	l.t.Helper()
	prefix := fmt.Sprintf("crash.%d-%d.%d", os.Getpid(), l.seed, l.round)
	w := newLoad(prefix, l.random)
	c := &churn{prefix: prefix}
	for range rounds {
		l.live(w, c)
		l.round++
	}
	l.start()
	l.do("durable topology", stepLimit, func() error { return c.look(l.url) })
	l.do("drain", queues*drainLimit, func() error { return w.drain(l.url, drainLimit) })

	report := w.history.Check()
	l.confirmed += report.Confirmed
	l.delivered += report.Deliveries
	l.repeated += report.Repeated
	l.duplicate += report.Duplicates
	l.unknown += report.Unknown
	l.letters += report.Letters
	l.gone += report.Gone
	l.longest = max(l.longest, w.longest)
	l.large += int(w.large.Load())
	if l.broken == nil {
		l.broken = make(map[string]int)
	}
	for _, rule := range []string{"lost", "phantom", "corrupt", "duplicate", "early", "order"} {
		l.broken[rule] += report.Broken(rule)
	}
	if err := report.Err(); err != nil {
		for _, v := range report.Violations[:min(5, len(report.Violations))] {
			l.t.Error(v)
		}
		l.check(err, "judgement")
	}
	if report.Confirmed == 0 || report.Deliveries == 0 {
		l.t.Fatalf("nothing happened: %+v", report)
	}
	l.do("clean up", stepLimit, func() error { return l.remove(w, c) })
	l.stop()
}

// live is one round: start, look, work, die.
func (l *loop) live(w *load, c *churn) {
	l.t.Helper()
	if l.process != nil {
		// With little memory, everything that waits for a moment is read back from the disk.
		l.process.env = []string{"LEVERET_STORE_QUEUE_MEMORY=" + []string{"1MiB", "16MiB"}[l.random.IntN(2)]}
	}
	if !l.clean && l.random.IntN(4) == 0 {
		l.cutStartShort()
	}
	l.start()
	if len(c.items)+len(c.gone) > 0 {
		l.do("durable topology", stepLimit, func() error { return c.look(l.url) })
	}
	seed := l.random.Uint64()
	l.do("begin the load", stepLimit, func() (err error) {
		l.crew, err = w.begin(l.url, l.round, seed)
		return err
	})
	l.do("begin the change of topology", stepLimit, func() error {
		return c.begin(l.url, l.crew, rand.New(rand.NewPCG(l.seed, uint64(l.round))))
	})

	<-time.After(time.Duration(50+l.random.IntN(1450)) * time.Millisecond)
	l.end()
	l.do("load", stepLimit, l.crew.end)
	l.crew = nil
	switch {
	case l.process == nil: // it goes on
	case l.clean:
		w.history.Log("broker").Restarted()
	default:
		w.history.Log("broker").Crashed()
	}
}

func (l *loop) start() {
	l.t.Helper()
	if l.process == nil {
		return
	}
	took, err := l.process.start(startLimit)
	l.check(err, "start")
	l.slowest = max(l.slowest, took)
	l.starts++
}

// cutStartShort ends the broker while it starts, or a moment after.
func (l *loop) cutStartShort() {
	l.t.Helper()
	l.check(l.process.launch(), "launch")
	<-time.After(time.Duration(l.random.IntN(150)) * time.Millisecond)
	l.end()
	l.cutShort++
}

// stop kills the broker if it lives.
func (l *loop) stop() {
	if l.process != nil && l.process.cmd != nil {
		_ = l.process.kill() // it may be dead, which has been told
	}
}

func (l *loop) remove(w *load, c *churn) error {
	conn, err := amqp.Dial(l.url)
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	if err := w.remove(ch); err != nil {
		return err
	}
	return c.remove(ch)
}

// do does one step of a round.
func (l *loop) do(doing string, limit time.Duration, step func() error) {
	l.t.Helper()
	l.check(l.within(limit, step), doing)
}

// within does a step. One that takes longer than limit is stuck: the broker is killed then, which
// ends every connection and with them the step.
func (l *loop) within(limit time.Duration, step func() error) error {
	var late atomic.Bool
	timer := time.AfterFunc(limit, func() {
		late.Store(true)
		fmt.Fprintf(os.Stderr, "*** seed %d, round %d: a step is not done after %v\n", l.seed, l.round, limit)
		l.stop()
	})
	err := step()
	timer.Stop()
	if late.Load() {
		err = errors.Join(fmt.Errorf("it was not done after %v", limit), err)
	}
	return err
}

func (l *loop) check(err error, doing string) {
	l.t.Helper()
	if err != nil {
		l.t.Fatalf("seed %d, round %d, %s: %v\n%v", l.seed, l.round, doing, err, l)
	}
}
