package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// TestClientsThatComeAndGoLoseNothing has consumers that acknowledge, return, cancel, close
// channels and vanish, while publishers wait for confirms. In the end every confirmed message
// was acknowledged at least once, and nothing is left over.
func TestClientsThatComeAndGoLoseNothing(t *testing.T) {
	r := start(t)
	setUp := r.channel()
	const queues, publishers, consumers, messages = 3, 3, 4, 400
	for q := range queues {
		_, err := setUp.QueueDeclare(fmt.Sprintf("q%d", q), q%2 == 0, false, false, false, nil)
		check(t, err)
	}
	var mu sync.Mutex
	acknowledged := make(map[string]int)
	stop := make(chan struct{})
	var consuming, publishing sync.WaitGroup
	for n := range consumers {
		rnd := rand.New(rand.NewPCG(uint64(n), 1))
		consuming.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r.consumeAWhile(rnd, fmt.Sprintf("q%d", rnd.IntN(queues)), stop, func(id string) {
					mu.Lock()
					defer mu.Unlock()
					acknowledged[id]++
				})
			}
		})
	}
	for p := range publishers {
		publishing.Go(func() {
			ch := r.channel()
			if err := ch.Confirm(false); err != nil {
				t.Error(err)
				return
			}
			var waiting []*amqp091.DeferredConfirmation
			for i := range messages {
				c, err := ch.PublishWithDeferredConfirm("", fmt.Sprintf("q%d", i%queues), false, false,
					amqp091.Publishing{DeliveryMode: uint8(1 + i%2), MessageId: fmt.Sprintf("%d.%d", p, i), Body: make([]byte, i*37%20000)})
				if err != nil {
					t.Error(err)
					return
				}
				waiting = append(waiting, c)
			}
			for _, c := range waiting {
				if ok, err := c.WaitContext(context.Background()); err != nil || !ok {
					t.Errorf("publish %d was not confirmed: %v", c.DeliveryTag, err)
					return
				}
			}
		})
	}
	publishing.Wait()
	waitFor(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(acknowledged) == publishers*messages
	})
	close(stop)
	consuming.Wait()
	waitFor(t, func() bool {
		for _, q := range r.b.VHost("/").Queues() {
			if s := q.Stats(); s.Ready+s.Unacknowledged+s.Consumers != 0 {
				return false
			}
		}
		return true
	})
}

// consumeAWhile is one consumer's short life. done is told what it has acknowledged, and
// knows to have arrived: a reply to something said later came back.
func (r *running) consumeAWhile(rnd *rand.Rand, queue string, stop <-chan struct{}, done func(id string)) {
	k, err := amqp091.Dial("amqp://guest:guest@" + r.address() + "/")
	if err != nil {
		r.t.Error(err)
		return
	}
	defer k.Close()
	ch, err := k.Channel()
	if err != nil {
		r.t.Error(err)
		return
	}
	if err := ch.Qos(1+rnd.IntN(20), 0, rnd.IntN(2) == 0); err != nil {
		r.t.Error(err)
		return
	}
	deliveries, err := ch.Consume(queue, "c", false, false, false, false, nil)
	if err != nil {
		r.t.Error(err)
		return
	}
	var settled []string
	over := time.After(time.Duration(1+rnd.IntN(30)) * time.Millisecond)
	for running := true; running; {
		select {
		case d, ok := <-deliveries:
			switch {
			case !ok:
				running = false
			case rnd.IntN(10) == 0:
				err = d.Nack(false, true)
			case rnd.IntN(20) == 0:
				running = false
			default:
				err = d.Ack(false)
				settled = append(settled, d.MessageId)
			}
			if err != nil {
				r.t.Error(err)
				return
			}
		case <-over:
			running = false
		case <-stop:
			running = false
		}
	}
	switch rnd.IntN(3) {
	case 0:
		err = ch.Cancel("c", false)
	case 1:
		ch.Close()
		ch, err = k.Channel()
	}
	if err != nil {
		r.t.Error(err)
		return
	}
	if _, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil); err == nil {
		for _, id := range settled {
			done(id)
		}
	}
}
