package management

import (
	"net/url"
	"strconv"
	"time"
)

// series is what a counter is one of. Samples are asked for by series, as lengths_age=60 and
// lengths_incr=5: of the last minute, one for every five seconds (API-3).
type series uint8

const (
	ofNothing  series = iota // never asked for
	ofLengths                // of queues, virtual hosts, all
	ofMessages               // what is published, delivered, acknowledged
	ofData                   // octets of connections
	ofNodes
	manySeries
)

// seriesNames are what parameters begin with.
var seriesNames = [manySeries]string{ofLengths: "lengths", ofMessages: "msg_rates", ofData: "data_rates", ofNodes: "node_stats"}

// span is how far back samples are asked for, and how far apart. The zero span asks for none.
type span struct{ age, incr time.Duration }

// spans are those of each series.
type spans [manySeries]span

// mostAge is how far back samples are ever kept.
const mostAge = 24 * time.Hour

// spansOf reads parameters. As in RabbitMQ one that is not a number, or alone, asks for nothing.
func spansOf(q url.Values) (all spans, err error) {
	for of, name := range seriesNames {
		if name == "" {
			continue
		}
		age, err1 := strconv.ParseInt(q.Get(name+"_age"), 10, 32)
		incr, err2 := strconv.ParseInt(q.Get(name+"_incr"), 10, 32)
		if err1 != nil || err2 != nil {
			continue
		}
		if age < 0 || incr <= 0 {
			return all, badRequest("Invalid range parameters: age %d, incr %d", age, incr)
		}
		all[of] = span{min(time.Duration(age)*time.Second, mostAge), time.Duration(incr) * time.Second}
	}
	return all, nil
}

const (
	// longestHistory is how many samples a history has. Over an hour and less they are as far
	// apart as they are taken, over more further.
	longestHistory = 720
	// mostHistory is how many samples all histories have, at about a hundred bytes and more.
	mostHistory = 1 << 17
)

// history are samples of the past, oldest first. It begins when samples are first asked for:
// what nobody watches has none.
type history []sample

// add adds a sample, forgets those that are older than age, and tells how many more there are.
// The newest of a few seconds is kept, and the oldest gives way when there is no room.
func (h *history) add(s sample, age time.Duration, room bool) (more int) {
	was := len(*h)
	apart := max(sampleEvery, age/longestHistory)
	if n := len(*h); n > 0 && (*h)[n-1].at.Truncate(apart).Equal(s.at.Truncate(apart)) {
		(*h)[n-1] = s
	} else {
		*h = append(*h, s)
	}
	// One that is older says what was at the beginning.
	drop := 0
	for drop+1 < len(*h) && (s.at.Sub((*h)[drop+1].at) >= age || len(*h)-drop > longestHistory+1) {
		drop++
	}
	if !room && len(*h)-drop > max(was, 1) {
		drop++
	}
	clear((*h)[:drop])
	*h = (*h)[drop:]
	return len(*h) - was
}

// at returns what was known at whole multiples of the span's increment, newest first, as far as
// there is anything known.
func (h history) at(now time.Time, asked span) (all []sample) {
	newest := now.Truncate(asked.incr)
	i := len(h) - 1
	for t := newest; i >= 0 && newest.Sub(t) <= asked.age; t = t.Add(-asked.incr) {
		for i >= 0 && h[i].at.Truncate(asked.incr).After(t) {
			i--
		}
		if i >= 0 {
			all = append(all, sample{t, h[i].counts})
		}
	}
	return all
}

// addSamples adds what a counter was, newest first, and how fast it grew over all that time.
func (o object) addSamples(past []sample, counter int) {
	samples := make([]object, 0, len(past))
	sum, n := 0.0, 0
	var newest, oldest sample
	for _, s := range past {
		if len(s.counts) <= counter {
			continue
		}
		if n == 0 {
			newest = s
		}
		oldest = s
		n, sum = n+1, sum+s.counts[counter]
		samples = append(samples, object{"sample": int64(s.counts[counter]), "timestamp": s.at.UnixMilli()})
	}
	o["samples"] = samples
	o["avg_rate"], o["avg"] = rate(0), rate(0)
	if n > 0 {
		o["avg"] = rate(sum / float64(n))
	}
	if took := newest.at.Sub(oldest.at); took > 0 {
		o["avg_rate"] = rate((newest.counts[counter] - oldest.counts[counter]) / took.Seconds())
	}
}
