package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// neighbour is a well-behaved client: one connection publishes with confirms, another
// consumes, and what a message takes from one to the other is measured.
type neighbour struct {
	t        *trial
	pub, con *peer
	queue    string

	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex // guards the fields below
	took    []time.Duration
	err     error
	blocked bool
	freed   time.Time // when it was blocked last, the end of that
	last    time.Time // when the last message came
}

// every is how often the neighbour publishes.
const every = 4 * time.Millisecond

// remote is a neighbour in a process of its own, so that what its messages take does not tell
// of what the abuser is busy with.
type remote struct {
	cmd *exec.Cmd
	ask io.WriteCloser
	in  *bufio.Reader
}

// neighbourOf is the variable that makes a process a neighbour of the broker it names.
const neighbourOf = "ABUSE_NEIGHBOUR_OF"

// newNeighbour starts one.
func newNeighbour(tg target) (*remote, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &remote{cmd: exec.Command(self)}
	u := url.URL{Scheme: "amqp", User: url.UserPassword(tg.user, tg.password), Host: tg.address, Path: "/" + tg.vhost}
	r.cmd.Env = append(os.Environ(), neighbourOf+"="+u.String())
	r.cmd.Stderr = os.Stderr
	if r.ask, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	answers, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.in = bufio.NewReader(answers)
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := r.take(); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// take asks for the 99th percentile since it was asked last, and what is wrong if something is.
func (r *remote) take() (p99 time.Duration, err error) {
	if _, err := fmt.Fprintln(r.ask); err != nil {
		return 0, err
	}
	line, err := r.in.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("the neighbour does not answer: %w", err)
	}
	number, wrong, _ := strings.Cut(strings.TrimSpace(line), " ")
	if wrong != "" {
		return 0, errors.New(wrong)
	}
	n, err := strconv.ParseInt(number, 10, 64)
	return time.Duration(n), err
}

func (r *remote) close() {
	_ = r.ask.Close() // it ends with its input
	_ = r.cmd.Wait()  // how it ended is all the same
}

// beNeighbour is the life of such a process: it answers each line it reads.
func beNeighbour(uri string, in io.Reader, out io.Writer) error {
	tg, err := targetOf(uri)
	if err != nil {
		return err
	}
	n, err := connectNeighbour(tg)
	answer := func() {
		var p99 time.Duration
		wrong := err
		if n != nil {
			p99, wrong = n.take()
		}
		text := ""
		if wrong != nil {
			text = strings.ReplaceAll(wrong.Error(), "\n", " ")
		}
		say(out, "%d %s", int64(p99), text)
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		answer()
	}
	if n != nil {
		n.close()
	}
	return nil
}

// connectNeighbour connects one and starts it.
func connectNeighbour(tg target) (n *neighbour, err error) {
	n = &neighbour{stop: make(chan struct{})}
	t := &trial{target: tg, patience: 10 * time.Second}
	n.t = t
	t.row.run = func(t *trial) {
		n.con = t.client()
		n.queue = n.con.call(1, &amqp.QueueDeclare{Queue: "abuse.neighbour", AutoDelete: true}, "queue.declare-ok").(*amqp.QueueDeclareOk).Queue
		n.con.call(1, &amqp.BasicConsume{Queue: n.queue, NoAck: true}, "basic.consume-ok")
		n.pub = t.client()
		n.pub.call(1, &amqp.ConfirmSelect{}, "confirm.select-ok")
		t.peers = nil // they stay
	}
	if err := t.attempt(); err != nil {
		return nil, fmt.Errorf("the neighbour cannot begin: %w", err)
	}
	n.last = time.Now()
	n.wg.Go(n.publish)
	n.wg.Go(n.confirms)
	n.wg.Go(n.consume)
	return n, nil
}

func (n *neighbour) failed(err error) {
	select {
	case <-n.stop:
		return // it is closed, by us
	default:
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err == nil {
		n.err = err
	}
}

func (n *neighbour) publish() {
	tick := time.NewTicker(every)
	defer tick.Stop()
	body := make([]byte, 200)
	for {
		select {
		case <-n.stop:
			return
		case <-tick.C:
		}
		if n.isBlocked() {
			continue // as clients do that have been told
		}
		binary.BigEndian.PutUint64(body, uint64(time.Now().UnixNano()))
		_ = n.pub.conn.SetWriteDeadline(time.Now().Add(5 * time.Minute)) // an alarm may last
		if _, err := n.pub.conn.Write(content(nil, 1, "", n.queue, nil, body)); err != nil {
			n.failed(fmt.Errorf("publish: %w", err))
			return
		}
	}
}

func (n *neighbour) isBlocked() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.blocked
}

// confirms reads what the publisher is told.
func (n *neighbour) confirms() {
	for {
		got, _ := n.pub.hear(5 * time.Minute)
		switch got {
		case "basic.ack":
		case "connection.blocked", "connection.unblocked":
			n.mu.Lock()
			n.blocked = got == "connection.blocked"
			n.last = time.Now()
			n.freed = n.last
			n.mu.Unlock()
		default:
			n.failed(fmt.Errorf("the neighbour's publisher got %s %s", got, n.pub.text))
			return
		}
	}
}

func (n *neighbour) consume() {
	for {
		got, m := n.con.hear(5 * time.Minute)
		if got != "basic.deliver" {
			n.failed(fmt.Errorf("the neighbour's consumer got %s %s", got, n.con.text))
			return
		}
		d, err := n.con.content(m)
		if err != nil {
			n.failed(err)
			return
		}
		now, sent := time.Now(), time.Unix(0, int64(binary.BigEndian.Uint64(d.body)))
		n.mu.Lock()
		n.last = now
		// What was on its way when the neighbour was told to wait has waited, too.
		if !n.blocked && sent.After(n.freed) {
			n.took = append(n.took, now.Sub(sent))
		}
		n.mu.Unlock()
	}
}

// take returns the 99th percentile since it was asked last, and what is wrong if something is.
func (n *neighbour) take() (p99 time.Duration, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.err != nil {
		return 0, n.err
	}
	if silent := time.Since(n.last); !n.blocked && silent > 5*time.Second {
		return 0, fmt.Errorf("the neighbour has not got a message for %v", silent)
	}
	if len(n.took) == 0 {
		return 0, nil
	}
	slices.Sort(n.took)
	p99 = n.took[len(n.took)*99/100]
	n.took = n.took[:0]
	return p99, nil
}

func (n *neighbour) close() {
	close(n.stop)
	n.pub.reset()
	n.con.reset()
	n.wg.Wait()
}
