package crash

import (
	"fmt"
	"time"
)

// A Broker is the broker's binary, built from this module and running as a process of its own,
// for programs that look at one life of it from outside.
type Broker struct{ p *process }

// StartBroker builds the broker and starts it on free ports of this machine. Its log and its
// data are below dir, and env is beside the environment of this process.
func StartBroker(dir string, env ...string) (*Broker, error) {
	p, err := newProcess(dir)
	if err != nil {
		return nil, err
	}
	p.env = env
	for _, a := range []*string{&p.metrics, &p.management} {
		if *a, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if _, err := p.start(30 * time.Second); err != nil {
		return nil, err
	}
	return &Broker{p}, nil
}

// URL is where AMQP clients are served, with the user who may do anything.
func (b *Broker) URL() string { return b.p.url() }

// Metrics is the address of /metrics.
func (b *Broker) Metrics() string { return b.p.metrics }

// Management is the address of the HTTP API.
func (b *Broker) Management() string { return b.p.management }

// PID is the number of the process.
func (b *Broker) PID() int { return b.p.cmd.Process.Pid }

// Data is the directory that holds everything the broker keeps.
func (b *Broker) Data() string { return b.p.data }

// Ended is closed when the process has ended.
func (b *Broker) Ended() <-chan struct{} { return b.p.ended }

// LastWords is the end of its log.
func (b *Broker) LastWords() string { return b.p.lastWords() }

// Stop asks the broker to end, and kills it when it does not. That it had to, or that the broker
// had ended by itself, is an error.
func (b *Broker) Stop() error {
	if _, err := b.p.terminate(); err != nil {
		if b.p.alive() {
			_ = b.p.kill() // it may have ended this instant
		}
		return fmt.Errorf("stop the broker: %w", err)
	}
	return nil
}
