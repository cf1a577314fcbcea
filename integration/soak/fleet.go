package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A fleet is the clients of a run. Each of them is a worker, a goroutine that lives one life after
// another: it connects, does something for a while, and leaves in one way or another.
type fleet struct {
	url, management, metrics string
	seed                     uint64
	ledger                   *ledger
	filler                   []byte // random bytes that bodies are cut from

	stop chan struct{} // closed when nothing more is begun
	quit chan struct{} // closed when everything has arrived that will
	done [2]sync.WaitGroup

	mu       sync.Mutex // guards the fields below
	workers  uint64
	troubles int
	told     []string // of the first of them
	visits   map[string]int
}

const largestBody = 1 << 20

func newFleet(url, management, metrics string, seed uint64) *fleet {
	f := &fleet{
		url: url, management: "http://" + management, metrics: "http://" + metrics + "/metrics", seed: seed,
		ledger: newLedger(), filler: make([]byte, 2*largestBody),
		stop: make(chan struct{}), quit: make(chan struct{}), visits: make(map[string]int),
	}
	random := rand.New(rand.NewPCG(seed, 0))
	for i := 0; i < len(f.filler); i += 8 {
		binary.LittleEndian.PutUint64(f.filler[i:], random.Uint64())
	}
	return f
}

// feeders end when the run is to end, takers when they have nothing more to take.
const (
	feeders = iota
	takers
)

func (f *fleet) end(kind int) <-chan struct{} { return [...]chan struct{}{f.stop, f.quit}[kind] }

// work sets a worker to work. Any error is held against the broker: what a worker does is meant to
// succeed, and what is meant to be refused it expects.
func (f *fleet) work(kind int, name string, life func(w *worker) error) {
	f.mu.Lock()
	f.workers++
	w := &worker{fleet: f, name: name, ended: f.end(kind), random: rand.New(rand.NewPCG(f.seed, f.workers))}
	f.mu.Unlock()
	f.done[kind].Go(func() {
		for !w.over() {
			err := life(w)
			f.mu.Lock()
			f.visits[name]++
			f.mu.Unlock()
			if err != nil {
				f.trouble(name, err)
				w.pause(time.Second)
			}
		}
	})
}

// trouble notes what should not have happened.
func (f *fleet) trouble(who string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.troubles++
	if len(f.told) < 20 {
		f.told = append(f.told, fmt.Sprintf("%s: %v", who, err))
	}
}

// A worker is one of the fleet.
type worker struct {
	*fleet
	name   string
	ended  <-chan struct{}
	random *rand.Rand
}

// over tells whether the worker should end.
func (w *worker) over() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// pause waits, unless the worker should end before.
func (w *worker) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-w.ended:
	case <-timer.C:
	}
}

// between is a duration that the seed picks.
func (w *worker) between(least, most time.Duration) time.Duration {
	return least + time.Duration(w.random.Int64N(int64(most-least)+1))
}

// body is some bytes, of a size between least and most whose logarithm is even: most bodies are
// small.
func (w *worker) body(least, most int) []byte {
	size := least
	for size < most && w.random.IntN(4) != 0 {
		size += 1 + w.random.IntN(size)
	}
	size = min(size, most)
	from := w.random.IntN(len(w.filler) - size)
	return w.filler[from : from+size]
}

// A peer is a connection that can be left without a word.
type peer struct {
	*amqp.Connection
	wire net.Conn
}

// dial connects a worker. A broker that blocks it is short of something, which is trouble.
func (w *worker) dial() (*peer, error) { return w.dialTo(w.url) }

func (w *worker) dialTo(url string) (*peer, error) {
	p := new(peer)
	var err error
	p.Connection, err = amqp.DialConfig(url, amqp.Config{
		Locale:     "en_US",
		Properties: amqp.Table{"connection_name": w.name},
		Dial: func(network, addr string) (c net.Conn, err error) {
			c, err = amqp.DefaultDial(30*time.Second)(network, addr)
			p.wire = c
			return c, err
		},
	})
	if err != nil {
		return nil, err
	}
	blocked := p.NotifyBlocked(make(chan amqp.Blocking, 1))
	go func() {
		for b := range blocked { // until the connection is closed
			if b.Active {
				w.trouble(w.name, errors.New("blocked: "+b.Reason))
			}
		}
	}()
	return p, nil
}

// vanish closes the socket, as a client that is killed does.
func (p *peer) vanish() { _ = p.wire.Close() }

// open connects and opens a channel.
func (w *worker) open() (*peer, *amqp.Channel, error) {
	p, err := w.dial()
	if err != nil {
		return nil, nil, err
	}
	ch, err := p.Channel()
	if err != nil {
		p.vanish()
		return nil, nil, err
	}
	return p, ch, nil
}
