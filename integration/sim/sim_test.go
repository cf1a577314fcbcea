package sim

import (
	"flag"
	"testing"
)

var (
	seeds = flag.Int("sim.seeds", 40, "how many seeds to run")
	steps = flag.Int("sim.steps", 6000, "steps of each")
	watch = flag.Int("sim.watch", -1, "log what happens to the message with this number")
	seed  = flag.Int64("sim.seed", -1, "run this seed only")
)

func TestNothingIsLostInventedOrRepeated(t *testing.T) {
	from, to := int64(0), int64(*seeds)
	if *seed >= 0 {
		from, to = *seed, *seed+1
	}
	var operations, confirms, deliveries, losses, published int
	for s := from; s < to; s++ {
		w := newWorld(t, s)
		w.watch = *watch

		for w.step = range *steps {
			w.next()
		}
		w.drain()
		operations += w.operations
		confirms += w.confirms
		deliveries += w.deliveries
		losses += w.losses
		published += len(w.published)
	}
	t.Logf("%d seeds: %d client operations, %d messages, %d confirmed, %d deliveries, %d power losses",
		to-from, operations, published, confirms, deliveries, losses)
	if confirms == 0 || deliveries == 0 || losses == 0 && to-from > 10 {
		t.Error("nothing happened")
	}
}
