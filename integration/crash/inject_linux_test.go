package crash

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// How much of a log is mapped and synced at once tells which one it is.
const (
	memtableBytes = "8388608"
	valueLogBytes = "268435456"
)

// An injection makes system calls of a running broker fail, for as long as it lasts.
type injection struct {
	cmd   *exec.Cmd
	trace string
}

// inject lets the broker's system calls go by strace's rules, such as msync:error=EIO:when=2.
// Calls are counted for each thread, from now on.
func inject(t *testing.T, p *process, rules ...string) *injection {
	t.Helper()
	i := &injection{trace: filepath.Join(p.dir, fmt.Sprintf("trace-%d", time.Now().UnixNano()))}
	args := []string{"-f", "-o", i.trace, "-p", fmt.Sprint(p.cmd.Process.Pid)}
	var calls []string
	for _, rule := range rules {
		call, _, _ := strings.Cut(rule, ":")
		calls = append(calls, call)
		args = append(args, "-e", "inject="+rule)
	}
	args = append(args, "-e", "trace="+strings.Join(calls, ","))
	i.cmd = exec.Command(needsStrace(t), args...)
	stderr, err := i.cmd.StderrPipe()
	must(t, err)
	must(t, i.cmd.Start())
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "attached") {
	}
	if !strings.Contains(lines.Text(), "attached") {
		_ = i.cmd.Wait() // it has failed, which its silence says
		cannotRun(t, "strace cannot attach to a process: "+lines.Text())
	}
	go func() {
		for lines.Scan() { // so that it does not block
		}
	}()
	t.Cleanup(i.end)
	return i
}

// end lets the broker go on undisturbed. A delay that is under way ends with it.
func (i *injection) end() {
	if i.cmd.ProcessState != nil {
		return
	}
	_ = i.cmd.Process.Signal(syscall.SIGINT) // it ends with the broker, too
	// While it delays a thread that is gone, it hears nothing.
	hard := time.AfterFunc(5*time.Second, func() { _ = i.cmd.Process.Kill() })
	_ = i.cmd.Wait()
	hard.Stop()
}

// injected are the calls that were tampered with.
func (i *injection) injected(t *testing.T) (calls []string) {
	t.Helper()
	b, err := os.ReadFile(i.trace)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, "(INJECTED)") || strings.Contains(line, "(DELAYED)") {
			calls = append(calls, strings.TrimSpace(line))
		}
	}
	return calls
}

// TestFailingSystemCalls holds P5 and P6, rows E5 to E7: what the disk refuses is not
// confirmed, and a broker whose store has failed ends and starts again whole.
func TestFailingSystemCalls(t *testing.T) {
	tab := newTable(t)
	needsStrace(t)
	for _, c := range []struct{ row, done, rule, bytes string }{
		{"E5", "EIO once when the memtable's log is synced", "msync:error=EIO:when=2", memtableBytes},
		{"E5", "ENOSPC once when the memtable's log is synced", "msync:error=ENOSPC:when=2", memtableBytes},
		{"E6", "EIO once when the value log is synced", "msync:error=EIO:when=1", valueLogBytes},
		{"E6", "EIO whenever the value log is synced", "msync:error=EIO:when=1+2", valueLogBytes},
		{"E5", "EIO at every sync", "msync:error=EIO", ""},
	} {
		tab.row(c.row, c.done, func(t *testing.T, p *process) string { return failedSync(t, p, c.rule, c.bytes) })
	}
	tab.row("E5", "ENOSPC when a new log of a memtable is made", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 10)
		must(t, c.publishSingly(2000))
		i := inject(t, p, "ftruncate:error=ENOSPC")
		if err := c.publishSingly(8000); err == nil {
			t.Fatalf("10000 messages were confirmed without a new log; %v", i.injected(t))
		}
		outcome := failsAsPromised(t, p, w)
		whole(t, p, w)
		return outcome
	})
	tab.row("E7", "every sync takes 500 ms", slowSync)
	tab.row("E7", "a sync takes 12 s", verySlowSync)
	tab.row("E7", "no sync returns", endlessSync)
}

// failedSync has one kind of sync fail. Which one the n-th of a thread is depends on where the
// scheduler puts the committer, so it is looked at afterwards.
func failedSync(t *testing.T, p *process, rule, bytes string) string {
	p.env = []string{"GOMAXPROCS=1"}
	for range 30 {
		w, c := startFilled(t, p, 10)
		i := inject(t, p, rule)
		var err error
		for try := 0; err == nil && try < 50; try++ {
			err = c.publish(1, 30*time.Second)
		}
		if err == nil {
			t.Fatal("nothing fails")
		}
		outcome := failsAsPromised(t, p, w)
		i.end()
		calls := i.injected(t)
		if len(calls) == 0 {
			t.Fatalf("no call failed, but %v", err)
		}
		whole(t, p, w)
		if strings.Contains(calls[0], bytes) {
			return outcome
		}
		// It was the other log's turn, which is another row.
		must(t, os.RemoveAll(p.data))
	}
	t.Fatal("the wanted sync never came when it was to fail")
	return ""
}

// A neighbour is a connection that publishes nothing: it asks, and its heartbeats go on.
type neighbour struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	died chan *amqp.Error
	took []time.Duration
}

func beside(t *testing.T, p *process) *neighbour {
	t.Helper()
	conn, err := amqp.DialConfig(p.url(), amqp.Config{Heartbeat: 2 * time.Second})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the broker may be gone
	ch, err := conn.Channel()
	must(t, err)
	_, err = ch.QueueDeclare("quick", false, false, false, false, nil)
	must(t, err)
	// What is delivered waits for nothing either.
	_, err = ch.Consume("quick", "", true, false, false, false, nil)
	must(t, err)
	return &neighbour{conn: conn, ch: ch, died: conn.NotifyClose(make(chan *amqp.Error, 1))}
}

// ask asks something until done is closed or until the time is over.
func (n *neighbour) ask(t *testing.T, done <-chan struct{}, limit time.Duration) {
	t.Helper()
	late := time.After(limit)
	for {
		asking := time.Now()
		_, err := n.ch.QueueDeclarePassive("quick", false, false, false, false, nil)
		must(t, err)
		n.took = append(n.took, time.Since(asking))
		select {
		case <-done:
			return
		case <-late:
			return
		case err := <-n.died:
			t.Fatalf("a connection that publishes nothing ended: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// unaffected holds that it was answered as if no sync took so long. One answer may be late for
// another reason; had they waited for the disk, all would be.
func (n *neighbour) unaffected(t *testing.T, sync time.Duration) (median time.Duration) {
	t.Helper()
	slices.Sort(n.took)
	median = n.took[len(n.took)/2]
	if len(n.took) < 10 || median > sync/4 {
		t.Errorf("%d questions were answered beside syncs of %v, the median after %v, the last after %v", len(n.took), sync, median, n.took[len(n.took)-1])
	}
	select {
	case err := <-n.died:
		t.Errorf("a connection that publishes nothing ended: %v", err)
	default:
	}
	return median
}

// slowSync holds that confirms wait for the sync, and nobody else does.
func slowSync(t *testing.T, p *process) string {
	const sync = 500 * time.Millisecond
	w, c := startFilled(t, p, 10)
	n := beside(t, p)
	i := inject(t, p, fmt.Sprintf("msync:delay_enter=%d", sync.Microseconds()))
	confirmed, failed := make(chan struct{}), error(nil)
	begin := time.Now()
	go func() {
		defer close(confirmed)
		failed = c.publish(1, time.Minute)
	}()
	n.ask(t, confirmed, time.Minute)
	took := time.Since(begin)
	<-confirmed
	must(t, failed)
	i.end()
	if took < sync {
		t.Errorf("a confirm took %v, and a sync %v", took, sync)
	}
	median := n.unaffected(t, sync)
	must(t, p.kill())
	whole(t, p, w)
	return fmt.Sprintf("confirmed after %v, others answered after %v", took.Round(time.Millisecond), median.Round(time.Millisecond))
}

// verySlowSync holds that heartbeats go on, what waits is bounded, and an alarm tells of it while
// a sync takes 12 s.
func verySlowSync(t *testing.T, p *process) string {
	const sync = 12 * time.Second
	w, c := startFilled(t, p, 10)
	n := beside(t, p)
	greedy, err := amqp.Dial(p.url())
	must(t, err)
	ch, err := greedy.Channel()
	must(t, err)
	_, err = ch.QueueDeclare("greedy", true, false, false, false, nil)
	must(t, err)

	i := inject(t, p, fmt.Sprintf("msync:delay_enter=%d:when=1", sync.Microseconds()))
	confirmed, failed := make(chan struct{}), error(nil)
	begin := time.Now()
	go func() {
		defer close(confirmed)
		failed = c.publish(1, 5*sync) // as many threads may have their first sync in turn
	}()
	// A publisher that does not care is held back by TCP. Its writes block, so it is cut off
	// at the end.
	sent := make(chan int, 1)
	go func() {
		const size = 64 << 10
		n := 0
		for ch.Publish("", "greedy", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: make([]byte, size)}) == nil {
			if n += size; time.Since(begin) > sync-2*time.Second {
				break
			}
		}
		sent <- n
	}()
	n.ask(t, confirmed, 5*sync)
	<-confirmed
	must(t, failed)
	took := time.Since(begin)
	select {
	case n := <-sent:
		if n > 256<<20 {
			t.Errorf("a publisher was not held back, it sent %d bytes", n)
		}
	default: // it still is
	}
	i.end()
	if took < sync-time.Second {
		t.Errorf("confirmed after %v, before the sync was over", took)
	}
	median := n.unaffected(t, sync)
	told := logged(p, "SLOW DISK", 5*time.Second)
	if !told || !logged(p, "the commit has come to its end", 5*time.Second) {
		t.Errorf("there was no alarm, or no end of it\n%s", p.lastWords())
	}
	_ = greedy.Close() // whatever it still has to send
	must(t, p.kill())
	whole(t, p, w)
	return fmt.Sprintf("confirmed after %v, alarm told and ended, heartbeats went on, others answered after %v, another publisher was held back",
		took.Round(time.Second), median.Round(time.Millisecond))
}

// endlessSync holds that a disk that hangs costs confirms and nothing else, and that the broker
// can be ended.
func endlessSync(t *testing.T, p *process) string {
	w, c := startFilled(t, p, 10)
	n := beside(t, p)
	i := inject(t, p, "msync:delay_enter=600000000")
	const patience = 4 * time.Second // two heartbeats
	confirmed := make(chan struct{})
	var failed error
	go func() {
		defer close(confirmed)
		failed = c.publish(1, 2*patience)
	}()
	n.ask(t, confirmed, patience)
	median := n.unaffected(t, patience)
	<-confirmed
	if failed == nil {
		t.Error("confirmed without a sync")
	}
	// Asked once it waits for the disk, asked twice it goes.
	begin := time.Now()
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	if !logged(p, "shutting down", stopLimit) { // two signals at once are one
		t.Errorf("it does not say that it stops\n%s", p.lastWords())
	}
	must(t, p.cmd.Process.Signal(syscall.SIGTERM))
	for late := begin.Add(2 * stopLimit); !zombie(p); <-time.After(10 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatalf("it does not end\n%s", p.lastWords())
		}
	}
	i.end() // which keeps the thread that waits
	must(t, p.waitEnd(stopLimit))
	took := time.Since(begin)
	if p.cmd.ProcessState.Success() {
		t.Errorf("it ended well\n%s", p.lastWords())
	}
	whole(t, p, w)
	return fmt.Sprintf("no confirm, heartbeats went on, others answered after %v, SIGTERM twice ended it after %v",
		median.Round(time.Millisecond), took.Round(time.Millisecond))
}

// zombie tells whether a broker has ended as far as it could.
func zombie(p *process) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return true
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// logged waits until the broker's log has a line with some words.
func logged(p *process, words string, limit time.Duration) bool {
	for late := time.Now().Add(limit); time.Now().Before(late); <-time.After(20 * time.Millisecond) {
		if strings.Contains(p.words(), words) {
			return true
		}
	}
	return false
}
