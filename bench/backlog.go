package bench

import (
	"context"
	"errors"
	"fmt"
)

// The values of Options.Only.
const (
	onlyFill  = "fill"
	onlyDrain = "drain"
)

// parted returns what keeps a run from being one half of a backlog.
func parted(s Scenario, o Options) error {
	if o.Only != "" && s.Backlog == 0 {
		return errors.New("only what has a backlog can be filled and drained apart")
	}
	return nil
}

// prepare makes what the run needs, or finds what another has filled.
func (r *run) prepare(ctx context.Context) error {
	if r.options.Only == onlyDrain {
		return r.count(ctx)
	}
	return r.declareAll(ctx)
}

// count asks how many messages are in the queues.
func (r *run) count(ctx context.Context) error {
	return r.onConnection(ctx, func(c *conn) error {
		for _, name := range r.plan.queues {
			n, err := c.countQueue(name)
			if err != nil {
				return fmt.Errorf("look for what was filled: %w", err)
			}
			r.found += n
		}
		return nil
	})
}

// suppose takes the messages of another run for published.
func (r *run) suppose(quotas []int, fanOut int) {
	for _, n := range quotas {
		p := &producer{run: r, reach: fanOut}
		p.published.Store(int64(n))
		r.producers = append(r.producers, p)
	}
}
