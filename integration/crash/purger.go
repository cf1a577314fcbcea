package crash

import (
	"math/rand/v2"
	"time"

	"github.com/leveretmq/leveret/integration/crash/history"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A purger purges the queue that nobody consumes, now and then.
type purger struct {
	load   *load
	crew   *crew
	ch     *amqp.Channel
	log    *history.Log
	random *rand.Rand
}

func (p *purger) begin() {
	p.crew.done.Go(func() {
		for {
			select {
			case <-p.crew.stop:
				return
			case <-time.After(time.Duration(1+p.random.IntN(300)) * time.Millisecond):
			}
			number := p.load.numbers[queuePurged]
			p.log.Purging(number)
			if _, err := p.ch.QueuePurge(p.load.queue(queuePurged), false); err != nil || p.crew.dark.Load() {
				return // the connection is gone; whether it was purged is unknown
			}
			p.log.Purged(number)
		}
	})
}
