package crash

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
		skipLoudly(t, "strace cannot attach to a process: "+lines.Text())
	}
	go func() {
		for lines.Scan() { // so that it does not block
		}
	}()
	t.Cleanup(i.end)
	return i
}

// end lets the broker go on undisturbed.
func (i *injection) end() {
	if i.cmd.ProcessState == nil {
		_ = i.cmd.Process.Signal(syscall.SIGINT) // it ends with the broker, too
		_ = i.cmd.Wait()
	}
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
	tab.row("E7", "every sync takes 200 ms", slowSync)
	tab.row("E7", "a sync takes 12 s", verySlowSync)
}

// failedSync has one kind of sync fail. Which one the n-th of a thread is depends on where the
// scheduler puts the committer, so it is looked at afterwards.
func failedSync(t *testing.T, p *process, rule, bytes string) string {
	p.env = []string{"GOMAXPROCS=1"}
	for range 10 {
		w, c := startFilled(t, p, 10)
		i := inject(t, p, rule)
		var err error
		for try := 0; err == nil && try < 50; try++ {
			err = c.publish(1, 10*time.Second)
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

// slowSync holds that confirms wait for the sync, and nobody else does.
func slowSync(t *testing.T, p *process) string {
	w, c := startFilled(t, p, 10)
	other, err := amqp.Dial(p.url())
	must(t, err)
	defer other.Close()
	ch, err := other.Channel()
	must(t, err)
	_, err = ch.QueueDeclare("quick", false, true, false, false, nil)
	must(t, err)

	i := inject(t, p, "msync:delay_enter=200000")
	confirmed := make(chan error, 1)
	begin := time.Now()
	go func() { confirmed <- c.publish(1, 10*time.Second) }()
	slowest, asked := time.Duration(0), 0
	for waiting := true; waiting; {
		select {
		case err := <-confirmed:
			must(t, err)
			waiting = false
		default:
			asking := time.Now()
			_, err := ch.QueueDeclarePassive("quick", false, true, false, false, nil)
			must(t, err)
			slowest = max(slowest, time.Since(asking))
			asked++
		}
	}
	took := time.Since(begin)
	i.end()
	if took < 400*time.Millisecond || slowest > 200*time.Millisecond || asked < 3 {
		t.Errorf("a confirm took %v, with two syncs of 200 ms; %d other questions took up to %v", took, asked, slowest)
	}
	must(t, p.kill())
	whole(t, p, w)
	return fmt.Sprintf("confirmed after %v, others answered within %v", took.Round(time.Millisecond), slowest.Round(time.Millisecond))
}

// verySlowSync holds that heartbeats go on and what waits is bounded while a sync takes 12 s.
func verySlowSync(t *testing.T, p *process) string {
	w, c := startFilled(t, p, 10)
	beating, err := amqp.DialConfig(p.url(), amqp.Config{Heartbeat: 2 * time.Second})
	must(t, err)
	defer beating.Close()
	died := beating.NotifyClose(make(chan *amqp.Error, 1))
	greedy, err := amqp.Dial(p.url())
	must(t, err)
	ch, err := greedy.Channel()
	must(t, err)
	_, err = ch.QueueDeclare("greedy", true, false, false, false, nil)
	must(t, err)

	i := inject(t, p, "msync:delay_enter=12000000:when=1")
	confirmed := make(chan error, 1)
	begin := time.Now()
	go func() { confirmed <- c.publish(1, 30*time.Second) }()
	// A publisher that does not care is held back by TCP. Its writes block, so it is cut off
	// at the end.
	sent := make(chan int, 1)
	go func() {
		const size = 64 << 10
		n := 0
		for ch.Publish("", "greedy", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: make([]byte, size)}) == nil {
			if n += size; time.Since(begin) > 10*time.Second {
				break
			}
		}
		sent <- n
	}()
	select {
	case n := <-sent:
		t.Errorf("a publisher was not held back, it sent %d bytes", n)
	case err := <-confirmed:
		must(t, err)
	}
	took := time.Since(begin)
	select {
	case err := <-died:
		t.Errorf("a connection that did nothing ended: %v", err)
	default:
	}
	i.end()
	if took < 11*time.Second {
		t.Errorf("confirmed after %v, before the sync was over", took)
	}
	_ = greedy.Close() // whatever it still has to send
	must(t, p.kill())
	whole(t, p, w)
	return fmt.Sprintf("confirmed after %v, heartbeats went on, another publisher was held back", took.Round(time.Second))
}
