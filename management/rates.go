package management

import (
	"encoding/json"
	"strconv"
	"sync"
	"time"
)

const (
	// sampleEvery is how old a sample is at least before another one takes its place.
	sampleEvery = 5 * time.Second
	// sampleKept is how long a sample is kept of something that nobody asks for. What is gone is
	// not asked for either, and where much comes and goes that is most of what is kept.
	sampleKept = 5 * time.Minute
	// cleanEvery is how often it is looked for what is kept too long.
	cleanEvery = time.Minute
	// soonest is what a rate is taken over at least: what is counted within less says little.
	soonest = time.Second
)

// rates knows how fast counters grow. It takes its samples when somebody asks for something,
// of what is asked for, so that a broker nobody watches has nothing to do, and the path of a
// message nothing at all. A rate is that since a sample five to ten seconds old, or since
// the last time somebody asked if that is longer ago. The zero value has no samples.
type rates struct {
	mu      sync.Mutex // guards the fields below
	of      map[any]*samples
	cleaned time.Time
	kept    int // samples in histories
}

// samples are the last two of the counters of one thing, and its history.
type samples struct {
	before, last sample
	history      history
}

type sample struct {
	at     time.Time // zero for none
	counts []float64
}

// since takes a sample of the counters of key, which are always as many, and returns how
// much each grew in a second. All are zero the first time. The key outlives what it stands for,
// and must not keep it alive: a connection has buffers, and an exchange leads to queues.
func (r *rates) since(now time.Time, key any, counts []float64) []float64 {
	grown, _ := r.during(now, key, counts, span{})
	return grown
}

// during is since, and tells what the counters were at times of the span that is asked for.
func (r *rates) during(now time.Time, key any, counts []float64, asked span) (grown []float64, past []sample) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clean(now)
	s := r.of[key]
	if s == nil {
		s = new(samples)
		if r.of == nil {
			r.of = make(map[any]*samples)
		}
		r.of[key] = s
	}
	from := s.last
	switch {
	case from.at.IsZero():
		s.last = sample{now, counts}
	case now.Sub(from.at) >= sampleEvery:
		s.before, s.last = from, sample{now, counts}
	case !s.before.at.IsZero():
		from = s.before
	}
	if asked.age > 0 {
		r.kept += s.history.add(sample{now, counts}, asked.age, r.kept < mostHistory)
		past = s.history.at(now, asked)
	}
	grown = make([]float64, len(counts))
	if took := now.Sub(from.at); !from.at.IsZero() && took >= soonest && len(from.counts) == len(counts) {
		for i := range counts {
			grown[i] = (counts[i] - from.counts[i]) / took.Seconds()
		}
	}
	return grown, past
}

// clean forgets what nobody has asked for in a while.
func (r *rates) clean(now time.Time) {
	if now.Sub(r.cleaned) < cleanEvery {
		return
	}
	r.cleaned = now
	for key, s := range r.of {
		if now.Sub(s.last.at) >= sampleKept {
			r.kept -= len(s.history)
			delete(r.of, key)
		}
	}
}

// rate is how much a counter grows in a second. It is written with a point, as RabbitMQ
// does, because some clients go by that.
type rate float64

// MarshalJSON implements json.Marshaler.
func (r rate) MarshalJSON() ([]byte, error) {
	b, err := json.Marshal(float64(r))
	if err == nil && r == rate(int64(r)) {
		b = []byte(strconv.FormatInt(int64(r), 10) + ".0")
	}
	return b, err
}

// counter is a counter with its name.
type counter struct {
	name  string
	value uint64
}

// gauge is a counter that may fall.
func gauge(name string, value int64) counter { return counter{name, uint64(value)} }

// count puts counters into o, each with its name and its rate at name_details, and what it
// was before when samples of its series are asked for. What key is has to be the counters'
// alone.
func (c *call) count(o object, of series, key any, counters []counter) object {
	counts := make([]float64, len(counters))
	for i, x := range counters {
		counts[i] = float64(int64(x.value))
	}
	asked := c.spans[of]
	grown, past := c.rates.during(c.now, key, counts, asked)
	for i, x := range counters {
		details := object{"rate": rate(grown[i])}
		if asked.age > 0 {
			details.addSamples(past, i)
		}
		o[x.name], o[x.name+"_details"] = x.value, details
	}
	return o
}
