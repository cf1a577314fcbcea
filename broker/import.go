package broker

import (
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/queue"
)

// AddQueue makes a queue that definitions hold. One of its name that is there stays as it
// is, whatever it is (DEF-4), and a name that clients may not choose is taken: it was the
// broker's choice where the definitions come from. The queue is not exclusive. The commit is
// the one that the queue may still be waiting for.
func (v *VHost) AddQueue(now time.Time, spec queue.Spec, out *queue.Effects) (*Commit, error) {
	spec.VHost, spec.Exclusive = v.name, false
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.down(); err != nil {
		return nil, err
	}
	if n := v.queues.find(spec.Name); n != nil {
		return n.commit.Load().pending(), nil
	}
	if t := v.Settings().DefaultQueueType; canBe(t, spec) {
		spec = typed(spec, t)
	}
	options, err := v.checkNewQueue(spec, nil, nil)
	if err != nil {
		return nil, err
	}
	n := v.addQueue(spec, options, nil)
	n.q.Touch(now, out)
	return n.commit.Load(), nil
}

// CheckQueue says why AddQueue would refuse a queue of this kind, were there none of its
// name, for reasons that lie in the queue, or else of what type it would be in a virtual host
// with this default type.
func CheckQueue(spec queue.Spec, defaultType string) (queue.Type, error) {
	if canBe(defaultType, spec) {
		spec = typed(spec, defaultType)
	}
	if err := checkDeadLetterExchange(spec, nil); err != nil {
		return 0, err
	}
	o, err := queue.ParseArguments(spec)
	return o.Type, err
}

// AddExchange makes an exchange that definitions hold. One of its name that is there stays
// as it is (DEF-4).
func (v *VHost) AddExchange(spec exchange.Spec) (*Commit, error) {
	spec.VHost = v.name
	v.mu.Lock()
	n := v.exchanges.find(spec.Name)
	v.mu.Unlock()
	if n != nil {
		return n.commit.Load().pending(), nil
	}
	return v.DeclareExchange(spec, nil)
}

// CheckExchange says why AddExchange would refuse an exchange of this kind, were there none
// of its name.
func CheckExchange(spec exchange.Spec) error {
	if spec.Name == exchange.Default {
		return amqp.AccessRefused("the default exchange is there already")
	}
	if err := exchange.CheckType(spec.Type); err != nil {
		return err
	}
	if err := checkNewExchange(&spec, nil); err != nil {
		return err
	}
	return spec.CheckArguments()
}
