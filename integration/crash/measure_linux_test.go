package crash

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/leveretmq/leveret/bench"
)

var (
	messagesFlag = flag.Int("messages", 0, "messages of TestBacklogOutlivesAKill, 0 is 200,000, and of TestDelayedMessagesOutliveAKill, 0 is 10,000")
	bytesFlag    = flag.Int64("bytes", 0, "bytes that TestChurn sends through a short queue; 0 is 200 MB")
	dirFlag      = flag.String("dir", "", "where the broker of these two keeps its data, for the time of the test; \"\" is a temporary directory")
)

// measured is a broker for a measurement, on the disk that was asked for.
func measured(t *testing.T) *process {
	t.Helper()
	if *brokerFlag != "" {
		t.Skip("-broker is for TestLoadWithoutKills")
	}
	if testing.Short() {
		t.Skip("it is long")
	}
	p, err := newProcess(t.TempDir())
	must(t, err)
	if *dirFlag != "" {
		dir := filepath.Join(*dirFlag, fmt.Sprint("leveret-", os.Getpid()))
		must(t, os.Mkdir(dir, 0o700))
		t.Cleanup(func() { _ = os.RemoveAll(dir) }) // whatever it could not remove is seen there
		p.data = filepath.Join(dir, "data")
	}
	t.Cleanup(func() {
		if p.alive() {
			_ = p.kill() // it may have ended this instant
		}
	})
	return p
}

// put runs a scenario against the broker, and holds it against its faults.
func put(t *testing.T, p *process, s bench.Scenario, o bench.Options) bench.Result {
	t.Helper()
	o.URI, o.BrokerPID, o.DataDir = p.url(), p.cmd.Process.Pid, p.data
	o.DrainTimeout = time.Minute
	r, err := bench.Run(t.Context(), s, o)
	must(t, err)
	var table strings.Builder
	must(t, r.WriteTable(&table))
	t.Logf("\n%s", &table)
	if faults := r.Faults(); len(faults) > 0 {
		t.Fatalf("%q\n%s", faults, p.lastWords())
	}
	return r
}

func scenario(t *testing.T, name string) bench.Scenario {
	t.Helper()
	s, err := bench.FindScenario(name)
	must(t, err)
	return s
}

// TestBacklogOutlivesAKill holds P1, P3 and P10 over a backlog: so many messages are confirmed, the broker is
// killed, and after the start it counts them, and every one comes once and in order.
//
//	go test ./integration/crash -run TestBacklogOutlivesAKill -messages 10000000 -timeout 1h -v
func TestBacklogOutlivesAKill(t *testing.T) {
	p := measured(t)
	start(t, p)
	n := *messagesFlag
	if n == 0 {
		n = 200_000
	}
	s := scenario(t, "S6")
	s.Backlog = n
	filled := put(t, p, s, bench.Options{Name: "backlog", Only: "fill"})
	must(t, p.kill())
	took, err := p.start(max(startLimit, time.Duration(n/1_000_000)*2*time.Second))
	must(t, err)
	counted, err := p.count("backlog.q0")
	must(t, err)
	counting := time.Since(p.began)
	drained := put(t, p, s, bench.Options{Name: "backlog", Only: "drain"})
	if counted != n || filled.Confirmed != int64(n) || drained.Received != int64(n) || *drained.First != 0 || *drained.Last != uint64(n-1) {
		t.Errorf("%d confirmed, %d counted after the kill, %d received from %d to %d, want %d", filled.Confirmed, counted, drained.Received, *drained.First, *drained.Last, n)
	}
	t.Logf("%d messages: RssAnon at most %d MiB while they came, %d MiB while they went; %v from the start after the kill to AMQP, %v to their count; the first was %d, the last %d, in order",
		n, filled.Fill.RSSAnonPeakBytes>>20, drained.Broker.RSSAnonPeakBytes>>20, took.Round(time.Millisecond), counting.Round(time.Millisecond), *drained.First, *drained.Last)
}

// churnBound is how much room a broker may take on disk beside the messages it has: values
// that are garbage and not collected yet, and the ballast.
const churnBound = 4*256<<20 + 256<<20

// TestChurn sends messages through a queue that is kept short. What has passed leaves nothing
// behind: the room on disk is bounded, and a message costs at the end what it cost at first.
//
//	go test ./integration/crash -run TestChurn -bytes 20000000000 -timeout 1h -v
func TestChurn(t *testing.T) {
	p := measured(t)
	start(t, p)
	bytes := *bytesFlag
	if bytes == 0 {
		bytes = 200_000_000
	}
	s := scenario(t, "churn")
	s.Messages = int(bytes / int64(s.BodyBytes))
	r := put(t, p, s, bench.Options{DataLimit: churnBound + int64(s.InFlight*s.BodyBytes)})
	if bytes < 10_000_000_000 {
		return // too little passed to tell a slope
	}
	first, last := r.Parts[0].CPUMicrosPerMessage, r.Parts[len(r.Parts)-1].CPUMicrosPerMessage
	if last > 1.15*first {
		t.Errorf("a message costs %.2f µs at first and %.2f µs at the end, more than 1.15 as much", first, last)
	}
	if r.DataTrend > 0.02 {
		t.Errorf("%.4f bytes more on disk for each byte published", r.DataTrend)
	}
}

// TestIdle tells what the broker takes that nobody uses. -rounds is for how many seconds.
//
//	go test ./integration/crash -run TestIdle -rounds 30 -v
func TestIdle(t *testing.T) {
	p := measured(t)
	start(t, p)
	i, err := bench.MeasureIdle(t.Context(), p.cmd.Process.Pid, p.data, time.Duration(rounds(1))*time.Second)
	must(t, err)
	var table strings.Builder
	must(t, i.WriteTable(&table))
	t.Logf("\n%s", &table)
	most := 20.0 // of so short a time the start is a part
	if i.Seconds >= 10 {
		most = 1
	}
	if i.RSSAnonBytes > 25<<20 || i.CPUPercent > most {
		t.Errorf("got RssAnon %d MiB and %.2f %% of a core, want 25 MiB and %v %% at most", i.RSSAnonBytes>>20, i.CPUPercent, most)
	}
}
