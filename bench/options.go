package bench

import (
	"errors"
	"fmt"
	"time"
)

// Options says where a scenario is run and for how long.
type Options struct {
	URI       string // amqp://user:password@host:port/vhost
	BrokerPID int    // the broker's process on this machine, to be measured; 0 for none

	// DiskDir is a directory on the disk the broker uses, to be probed before the run; ""
	// for none. See ProbeDisk.
	DiskDir string
	// DataDir is the directory in which the broker keeps its data, if it is on this machine and
	// the size of it is wanted; "" for none.
	DataDir string
	// DataLimit is how many bytes may be in DataDir at most: more is a fault. 0 is no limit.
	DataLimit int64

	// Only is "fill", to leave a backlog where it is, "drain", to take what a run with "fill"
	// left, or "" for both. The two have to agree in Name and in the number of messages.
	Only string
	// Name is what the names of queues and exchanges begin with; "" is one that nobody has.
	Name string

	Duration time.Duration // how long is published; default 10 s
	Messages int           // how many at most, over all producers; 0 is as many as it comes to
	// Warmup is how much of Duration is left out of rates and costs. Messages are counted
	// and latencies gathered from the first one. A backlog has none.
	Warmup time.Duration
	// DrainTimeout is how long nothing may arrive before the rest is given up as lost;
	// default 10 s.
	DrainTimeout time.Duration
	// BatchBytes is how much is written to a socket at once where window and rate have
	// room for it; default 64 KiB.
	BatchBytes int

	// Start is the command that starts the broker, its words parted by spaces, for a scenario
	// with Starts.
	Start string
	// Progress says how far the run has come; nil says nothing.
	Progress *Progress
}

// withDefaults fills in what was left out.
func (o Options) withDefaults() Options {
	if o.Duration == 0 {
		o.Duration = 10 * time.Second
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = 10 * time.Second
	}
	if o.BatchBytes == 0 {
		o.BatchBytes = 64 << 10
	}
	return o
}

func (o Options) validate() error {
	switch {
	case o.Duration < 0, o.Warmup < 0, o.DrainTimeout < 0:
		return errors.New("a duration is negative")
	case o.Warmup >= o.Duration:
		return fmt.Errorf("a warm-up of %v leaves nothing of %v", o.Warmup, o.Duration)
	case o.Messages < 0, o.BatchBytes < 0, o.BrokerPID < 0, o.DataLimit < 0:
		return errors.New("a number is negative")
	case o.Only != "" && o.Only != onlyFill && o.Only != onlyDrain:
		return fmt.Errorf("a run cannot be %q only", o.Only)
	case o.Only != "" && o.Name == "":
		return errors.New("a run that is parted needs a name")
	case o.DataLimit > 0 && o.DataDir == "":
		return errors.New("a limit of the data needs its directory")
	}
	return nil
}
