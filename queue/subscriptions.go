package queue

import (
	"cmp"
	"slices"
)

// Subscription is a consumer of a queue, for those who report it.
type Subscription struct {
	Consumer  Consumer
	Exclusive bool
	// Active is false for those who wait behind the single active consumer (SAC-2).
	Active bool
}

// Subscriptions returns the consumers, in the order they came.
func (q *Queue) Subscriptions() []Subscription {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.consumers) == 0 {
		return nil
	}
	inOrder := make([]*consumer, 0, len(q.consumers))
	for _, x := range q.consumers {
		inOrder = append(inOrder, x)
	}
	slices.SortFunc(inOrder, func(a, b *consumer) int { return cmp.Compare(a.joined, b.joined) })
	all := make([]Subscription, len(inOrder))
	for i, x := range inOrder {
		all[i] = Subscription{
			Consumer:  x.who,
			Exclusive: x == q.exclusive,
			Active:    !q.options.SingleActiveConsumer || x == q.active,
		}
	}
	return all
}
