package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// aroundTheProcess are the rows of what is done to the broker's process, and of what it finds
// missing around it.
func aroundTheProcess() []row {
	return []row{
		{id: "E22", input: "SIGTERM under load", want: "conn 320, exit 0, nothing confirmed is lost", kind: slow, run: func(t *trial) {
			o := t.owned("")
			o.launch()
			p, ended := o.load()
			o.terminate()
			began := time.Now()
			if code := o.end(20 * time.Second); code != 0 {
				t.failf("exit %d: %s", code, o.process.lastWords())
			}
			took := time.Since(began)
			confirmed := ended()
			if p.last != "conn 320" {
				t.failf("the publisher was told %s %s, want conn 320", p.last, p.text)
			}
			o.launch()
			o.holds(confirmed)
			t.note("conn 320, exit 0 after %v, %d confirmed and there", took.Round(time.Millisecond), confirmed)
		}},
		{id: "E22b", input: "SIGTERM twice, a client does not answer", want: "the second ends it at once, nothing confirmed is lost", kind: slow, run: func(t *trial) {
			o := t.owned("")
			o.launch()
			_, ended := o.load()
			o.client() // it says nothing any more, so that an orderly end waits for it
			o.terminate()
			o.expect("shutting down", 1)
			began := time.Now()
			o.terminate()
			if code := o.end(time.Second); code != 1 {
				t.failf("exit %d, want 1: %s", code, o.process.lastWords())
			}
			took := time.Since(began)
			confirmed := ended()
			o.launch()
			o.holds(confirmed)
			t.note("exit 1 after %v, %d confirmed and there", took.Round(time.Millisecond), confirmed)
		}},
		{id: "E22c", input: "SIGTERM at 8 moments of the start", want: "it ends, nothing is lost", kind: slow, run: func(t *trial) {
			o := t.owned("")
			o.launch()
			_, ended := o.load()
			t.must(o.process.cmd.Process.Kill())
			o.end(5 * time.Second)
			confirmed := ended()
			codes := map[int]int{}
			for n := range 8 {
				c := exec.Command(o.binary, "--data-dir", filepath.Join(o.dir, "data"), "--listen", "127.0.0.1:0", "--metrics-listen", "off", "--management-listen", "off")
				t.must(c.Start())
				time.Sleep(time.Duration(n*15) * time.Millisecond)
				t.must(c.Process.Signal(syscall.SIGTERM))
				kill := time.AfterFunc(10*time.Second, func() { _ = c.Process.Kill() }) // and that is not exit 0
				_ = c.Wait()                                                            // how it ended is in ProcessState
				kill.Stop()
				code := c.ProcessState.ExitCode()
				if s, ok := c.ProcessState.Sys().(syscall.WaitStatus); code != 0 && !(ok && s.Signal() == syscall.SIGTERM) {
					t.failf("%v when told to stop %d ms after its start", c.ProcessState, n*15)
				}
				codes[code]++
			}
			o.launch()
			o.holds(confirmed)
			t.note("exit 0 %d times, by the signal before main %d times; %d confirmed and there", codes[0], codes[-1], confirmed)
		}},
		{id: "E23", input: "the disk of the log is full", want: "the broker goes on", kind: slow, run: func(t *trial) {
			t.mute("exec >/dev/full 2>&1; ")
		}},
		{id: "E23b", input: "stdout and stderr are closed", want: "the broker goes on", kind: slow, run: func(t *trial) {
			t.mute("exec >&- 2>&-; ")
		}},
		{id: "E24", input: "no network but lo, no resolver, no hosts, no getrandom", want: "starts and serves", kind: slow, run: alone},
	}
}

// loading is a publisher that goes on until it is told something else than acknowledgements.
type loading struct {
	*peer
	last string
}

// load publishes with confirms to a durable queue until the broker is gone; ended waits for
// that and returns how many were confirmed. It returns when a hundred were.
func (o *own) load() (p *loading, ended func() (confirmed int)) {
	p = &loading{peer: o.client()}
	p.call(1, &amqp.QueueDeclare{Queue: "abuse.load", Durable: true}, "queue.declare-ok")
	p.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
	var wg sync.WaitGroup
	wg.Go(func() {
		one := content(nil, 1, "", "abuse.load", persistent(), make([]byte, 1000))
		for p.write(one) == nil { // it waits where the broker does not read
		}
	})
	confirmed, enough := 0, make(chan struct{})
	wg.Go(func() {
		for reached := false; ; {
			got, m := p.hear(5 * time.Second)
			ack, ok := m.(*amqp.BasicAck)
			if !ok {
				p.last = got
				if !reached {
					close(enough)
				}
				if _, asked := m.(*amqp.ConnectionClose); asked {
					_ = p.write(amqp.AppendMethod(nil, 0, &amqp.ConnectionCloseOk{})) // it may be gone
				}
				_ = p.conn.CloseWrite() // so that the publisher ends
				return
			}
			if confirmed = int(ack.DeliveryTag); confirmed >= 100 && !reached {
				reached = true
				close(enough)
			}
		}
	})
	<-enough
	return p, func() int { wg.Wait(); return confirmed }
}

// holds wants at least so many messages of load. More may be there that were not confirmed.
func (o *own) holds(confirmed int) {
	if confirmed < 100 {
		o.failf("only %d were confirmed", confirmed)
	}
	if n := o.client().count("abuse.load"); n < confirmed {
		o.failf("%d messages are there, and %d were confirmed", n, confirmed)
	}
}

// mute has a broker write its log where nothing can be written, and wants it to work and to
// end in good order.
func (t *trial) mute(before string) {
	o := t.owned(before)
	o.launch()
	for range 5 { // each is a line of the log, or two
		o.client().reset()
	}
	p := o.client()
	p.call(1, &amqp.QueueDeclare{Queue: "abuse.e23", Durable: true}, "queue.declare-ok")
	p.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
	for range 20 {
		p.publish("", "abuse.e23", persistent(), []byte("kept"))
		p.want("basic.ack")
	}
	p.send(1, &amqp.QueueDelete{Queue: "abuse.none", IfEmpty: true})
	p.want("queue.delete-ok")
	if n := p.count("abuse.e23"); n != 20 {
		t.failf("%d messages are there, want 20", n)
	}
	b, err := os.ReadFile(filepath.Join(o.dir, "log"))
	t.must(err)
	if len(b) > 0 {
		t.failf("there is a log all the same: %s", b)
	}
	p.reset() // nobody is to be waited for
	o.terminate()
	if code := o.end(15 * time.Second); code != 0 {
		t.failf("exit %d", code)
	}
	// And nothing of the log went anywhere else, such as to the file that was opened next.
	o.before = ""
	o.launch()
	if n := o.client().count("abuse.e23"); n != 20 {
		t.failf("%d messages are there after a restart, want 20", n)
	}
	t.note("serves, exit 0, starts again")
}

// alone runs some rows in a place without anything: a network of its own with nothing but
// its loopback, a resolver that is not there, no names of hosts, and, where strace is installed,
// a kernel that does not know getrandom.
func alone(t *trial) {
	t.needProcess()
	self, err := os.Executable()
	t.must(err)
	dir, err := os.MkdirTemp("", "leveret-abuse-")
	t.must(err)
	t.after(func() { _ = os.RemoveAll(dir) }) // a temporary directory
	resolver := filepath.Join(dir, "resolv.conf")
	t.must(os.WriteFile(resolver, []byte("nameserver 192.0.2.1\n"), 0o644))
	binary, entropy := t.process.cmd.Args[3], "getrandom as ever, for want of strace"
	if _, err := exec.LookPath("strace"); err == nil {
		script := fmt.Sprintf("#!/bin/sh\nexec strace -D -f --seccomp-bpf -qq -o /dev/null -e trace=getrandom -e inject=getrandom:error=ENOSYS %s \"$@\"\n", binary)
		binary, entropy = filepath.Join(dir, "broker"), "no getrandom"
		t.must(os.WriteFile(binary, []byte(script), 0o755))
	}
	flags := "-mn"
	if os.Getuid() != 0 {
		flags = "-Urmn"
	}
	script := `ip link set lo up && mount --bind "$1" /etc/resolv.conf && { [ ! -e /etc/hosts ] || mount --bind /dev/null /etc/hosts; } && shift && exec "$@"`
	c := exec.Command("unshare", flags, "sh", "-c", script, "sh", resolver, self)
	c.Env = append(os.Environ(), rowsOf+"="+strings.Join([]string{"-binary", binary, "-row", "^(A3|C12|C17|C38|D6)$"}, " "))
	out, err := c.CombinedOutput()
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil:
	case strings.Contains(text, "unshare") || strings.Contains(text, "mount:") || strings.Contains(text, "ip:"):
		t.cannot("no network and mounts of its own can be made here: %s", text)
	default:
		t.failf("%v:\n%s", err, text)
	}
	if !strings.Contains(text, "rows, 0 failed") {
		t.failf("%s", text)
	}
	lines := strings.Split(text, "\n")
	t.note("%s: %s", entropy, lines[len(lines)-1])
}
