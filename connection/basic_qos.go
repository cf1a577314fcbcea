package connection

import "github.com/leveretmq/leveret/amqp"

// basicQos sets windows. The specification scopes prefetch to the channel or the
// connection. RabbitMQ reads global=false as "each consumer to come" and global=true as
// "all consumers of the channel together", and clients have come to rely on it (QOS-2,
// QOS-3).
func (ch *Channel) basicQos(m *amqp.BasicQos) error {
	if m.PrefetchSize != 0 {
		return amqp.NotImplemented("prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	ch.mu.Lock()
	shared := 0
	if m.Global {
		shared = int(m.PrefetchCount)
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	if shared > 0 && ch.window.limit == 0 {
		// Gets that are out now take places too; later ones do not.
		ch.unacked.each(func(d *delivered) {
			if !d.counted {
				d.counted = true
				ch.window.out++
			}
		})
	}
	ch.window.limit = shared // global=false switches the shared window off (QOS-7)
	ch.mu.Unlock()
	ch.c.send(ch.id, &amqp.BasicQosOk{})
	ch.resumeStarved() // after the answer, as consume-ok precedes what it brings about
	return nil
}
