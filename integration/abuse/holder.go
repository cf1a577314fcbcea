package main

import (
	"bufio"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

const asD5 = "its messages return when two heartbeats are missed; it finds its connection closed when it goes on"

// holder is a client in a process of its own, which can be stopped: it takes a message, sends
// heartbeats, and acknowledges after it was stopped.
type holder struct {
	cmd   *exec.Cmd
	tells *bufio.Scanner
}

const (
	// holderOf is the variable that makes a process such a client of the broker it names.
	holderOf = "ABUSE_HOLDER_OF"
	// heldQueue is where the message is.
	heldQueue = "abuse.frozen"
)

// hold starts one that has heartbeats of so many seconds and has taken the message.
func (t *trial) hold(heartbeat int) *holder {
	self, err := os.Executable()
	t.must(err)
	u := url.URL{Scheme: "amqp", User: url.UserPassword(t.user, t.password), Host: t.address, Path: "/" + t.vhost, RawQuery: fmt.Sprintf("heartbeat=%d", heartbeat)}
	h := &holder{cmd: exec.Command(self)}
	h.cmd.Env, h.cmd.Stderr = append(os.Environ(), holderOf+"="+u.String()), os.Stderr
	out, err := h.cmd.StdoutPipe()
	t.must(err)
	h.tells = bufio.NewScanner(out)
	t.must(h.cmd.Start())
	t.after(func() {
		_ = h.cmd.Process.Kill() // it may have ended
		_ = h.cmd.Wait()         // it was killed
	})
	h.wants(t, "holds")
	return h
}

// wants waits for what the process has to tell.
func (h *holder) wants(t *trial, want string) {
	late := time.AfterFunc(15*time.Second, func() { _ = h.cmd.Process.Kill() }) // so that its output ends
	defer late.Stop()
	if !h.tells.Scan() || h.tells.Text() != want {
		t.failf("the client tells %q, want %q", h.tells.Text(), want)
	}
}

// beHolder is the life of such a process. When it finds that it was stopped, and still has its
// connection, it acknowledges.
func beHolder(uri string, out io.Writer) error {
	u, err := url.Parse(uri)
	if err != nil {
		return err
	}
	var heartbeat uint16
	if _, err := fmt.Sscan(u.Query().Get("heartbeat"), &heartbeat); err != nil {
		return err
	}
	u.RawQuery = ""
	tg, err := targetOf(u.String())
	if err != nil {
		return err
	}
	t := &trial{target: tg, patience: 10 * time.Second}
	t.row.run = func(t *trial) {
		p := t.tuned()
		p.open(frameMax, 2047, heartbeat)
		p.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
		p.send(1, &amqp.BasicGet{Queue: heldQueue})
		tag := p.delivered().method.(*amqp.BasicGetOk).DeliveryTag
		say(out, "holds")
		const nap = 100 * time.Millisecond
		for {
			began := time.Now()
			got := p.outcomeWithin(nap)
			switch {
			case got != "open":
				say(out, "closed")
				return
			case time.Since(began) > 5*nap:
				// It was stopped. What was said meanwhile comes first.
				if got := p.outcomeWithin(nap); got != "open" {
					say(out, "closed")
					return
				}
				p.send(1, &amqp.BasicAck{DeliveryTag: tag})
				p.alive()
				say(out, "acknowledged")
				return
			}
			if heartbeat > 0 && p.write(amqp.AppendHeartbeat(nil)) != nil {
				say(out, "closed")
				return
			}
		}
	}
	return t.attempt()
}

// frozen stops a client that holds a message for a while.
func (t *trial) frozen(lasts time.Duration, heartbeat int) {
	p := t.client()
	p.call(1, &amqp.QueueDeclare{Queue: heldQueue}, "queue.declare-ok")
	t.after(func() { // also when it fails
		c := &trial{target: t.target, patience: t.patience, row: row{run: func(t *trial) {
			t.client().call(1, &amqp.QueueDelete{Queue: heldQueue}, "queue.delete-ok")
		}}}
		if err := c.attempt(); err != nil {
			t.note("%v", err)
		}
	})
	p.fill1(heldQueue, 1, []byte("held"), nil)
	h := t.hold(heartbeat)
	if n := p.count(heldQueue); n != 0 {
		t.failf("%d messages are ready, and the client holds it", n)
	}
	t.must(h.cmd.Process.Signal(syscall.SIGSTOP))
	began := time.Now()
	missed := time.Duration(heartbeat) * 2 * time.Second
	goes := heartbeat > 0 && missed < lasts
	if goes {
		for p.count(heldQueue) == 0 {
			if time.Since(began) > missed+time.Duration(heartbeat)*time.Second+time.Second {
				t.failf("the message has not come back after %v", time.Since(began))
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.note("returned after %.1f s", time.Since(began).Seconds())
	}
	for time.Since(began) < lasts {
		time.Sleep(min(time.Second, lasts-time.Since(began)))
		if n := p.count(heldQueue); !goes && n != 0 || goes && n != 1 {
			t.failf("%d messages are ready after %v", n, time.Since(began))
		}
	}
	t.must(h.cmd.Process.Signal(syscall.SIGCONT))
	if goes {
		h.wants(t, "closed")
		t.note("closed when it goes on")
		return
	}
	h.wants(t, "acknowledged")
	if n := p.count(heldQueue); n != 0 {
		t.failf("%d messages are ready after it was acknowledged", n)
	}
	t.note("acknowledged when it goes on")
}
