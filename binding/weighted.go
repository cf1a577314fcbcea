package binding

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/leveretmq/leveret/amqp"
)

// Weighted picks one destination for each hash, in proportion to the weights in the routing
// keys of the bindings, and consistently: when a destination comes or goes, or its weight
// changes, the only hashes that change their destination are those that it gains or loses.
// It is the matcher of x-consistent-hash (EX-50). The zero value is empty.
//
// Every destination draws a number from the hash and its own name, and the least wins
// (weighted rendezvous hashing): exponentially distributed with the weight as rate, which
// makes the chance of winning exactly the share of the weight. RabbitMQ jumps over buckets,
// a bucket for each unit of weight; then a queue that leaves the middle renumbers those
// behind it, and which key goes where depends on the order of the bindings. Nothing here
// does, and a great weight costs no more than a small one.
type Weighted struct {
	each []weighted // ordered by weight, so that equals are neighbours, then by name
}

type weighted struct {
	to     *Destination
	hash   uint64
	weight float64 // the sum over its bindings
}

// ParseWeight reads the weight that the routing key of a binding stands for: a whole
// number of at least 1, with no upper limit: RabbitMQ 4 has one of 10000, because there a
// unit costs a bucket. Its errors are RabbitMQ's (EX-50).
func ParseWeight(routingKey string) (float64, error) {
	n, err := strconv.ParseInt(routingKey, 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return 0, amqp.PreconditionFailed("The binding key must be an integer: %s", erlangBinary(routingKey))
	case n < 1:
		return 0, amqp.PreconditionFailed("The binding key must be greater than 0")
	}
	return float64(min(n, maxWeight)), nil
}

// maxWeight keeps sums of weights exact.
const maxWeight = 1 << 40

// Add gives d the weight in b's routing key, which ParseWeight has accepted, in addition to
// what it has from other bindings.
func (w *Weighted) Add(b Binding, d *Destination) { w.change(b, d, 1) }

// Remove takes back one Add of b to d. What was never added is ignored.
func (w *Weighted) Remove(b Binding, d *Destination) { w.change(b, d, -1) }

func (w *Weighted) change(b Binding, d *Destination, sign float64) {
	weight, err := ParseWeight(b.RoutingKey)
	if err != nil {
		return
	}
	e := weighted{to: d}
	if i := slices.IndexFunc(w.each, func(e weighted) bool { return e.to == d }); i >= 0 {
		e = w.each[i]
		w.each = slices.Delete(w.each, i, i+1)
	} else {
		e.hash = d.hash()
	}
	if e.weight += sign * weight; e.weight < 1 {
		return
	}
	i, _ := slices.BinarySearchFunc(w.each, e, func(a, b weighted) int {
		return cmp.Or(cmp.Compare(a.weight, b.weight), compare(a.to, b.to))
	})
	w.each = slices.Insert(w.each, i, e)
}

// Match appends the destination of hash.
func (w *Weighted) Match(dst []*Destination, hash uint64) []*Destination {
	var winner *Destination
	least := math.Inf(1)
	for i := 0; i < len(w.each); {
		// Among equal weights the greatest draw wins; only the winners of different weights
		// need the logarithm.
		weight, best, draw := w.each[i].weight, i, uint64(0)
		for ; i < len(w.each) && w.each[i].weight == weight; i++ {
			if n := Mix(hash ^ w.each[i].hash); n > draw {
				best, draw = i, n
			}
		}
		// 53 bits and a half: never 0, never 1.
		if t := -math.Log((float64(draw>>11)+0.5)/(1<<53)) / weight; t < least {
			winner, least = w.each[best].to, t
		}
	}
	if winner == nil {
		return dst
	}
	return append(dst, winner)
}
