package management

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestSamplesAreThoseOfTimesThatAreAskedFor(t *testing.T) {
	var r rates
	start := time.Unix(1_000_000_000, 0)
	asked := span{20 * time.Second, 5 * time.Second}
	f := func(second, count float64, want string) {
		t.Helper()
		now := start.Add(time.Duration(second * float64(time.Second)))
		_, past := r.during(now, "q", []float64{7, count}, asked)
		var got []string
		for _, s := range past {
			got = append(got, fmt.Sprintf("%v:%v", s.at.Sub(start).Seconds(), s.counts[1]))
		}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("after %v s: got %s, want %s", second, text, want)
		}
	}
	f(1, 10, "0:10") // there is nothing known of the time before
	f(2, 20, "0:20") // the newest of five seconds
	f(7, 30, "5:30 0:20")
	f(11, 40, "10:40 5:30 0:20")
	f(19.5, 50, "15:50 10:40 5:30 0:20")
	f(23, 60, "20:60 15:50 10:40 5:30 0:20")
	f(41, 70, "40:70 35:60 30:60 25:60 20:60") // nobody asked meanwhile
	if r.kept != len(r.of["q"].history) || r.kept > 6 {
		t.Errorf("got %d samples kept, of them %d in the history", r.kept, len(r.of["q"].history))
	}
	// Whoever asks for less often gets fewer, and without a span there are none.
	asked = span{20 * time.Second, 20 * time.Second}
	f(42, 80, "40:80 20:60")
	asked = span{}
	f(43, 90, "")
	asked = span{5 * time.Second, 5 * time.Second}
	f(44, 90, "40:90 35:60")
	r.since(start.Add(3*sampleKept), "other", nil)
	if r.kept != 0 {
		t.Errorf("got %d samples kept of what nobody asks for any more", r.kept)
	}
}

func TestHistoriesTakeNoMoreThanTheyMay(t *testing.T) {
	var h history
	start := time.Unix(1_000_000_000, 0)
	total := 0
	add := func(second int, age time.Duration, room bool) {
		total += h.add(sample{at: start.Add(time.Duration(second) * time.Second)}, age, room)
	}
	for s := range 2 * 24 * 3600 / 10 {
		add(s*10, 24*time.Hour, true)
	}
	if len(h) > longestHistory+2 || len(h) < longestHistory-2 || total != len(h) {
		t.Errorf("got %d samples of a day, counted as %d, want about %d", len(h), total, longestHistory)
	}
	was := len(h)
	for s := range 1000 {
		add(2*24*3600+s*200, 24*time.Hour, false)
	}
	if len(h) > was || total != len(h) {
		t.Errorf("got %d samples, counted as %d, where there is no room for more than %d", len(h), total, was)
	}
}

func TestSpansAreReadAsRabbitMQReadsThem(t *testing.T) {
	f := func(query string, want spans, refused string) {
		t.Helper()
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		got, err := spansOf(q)
		if refused != "" {
			if err == nil || err.Error() != refused {
				t.Errorf("%s: got %v, want %s", query, err, refused)
			}
		} else if err != nil || got != want {
			t.Errorf("%s: got %v and %v, want %v", query, got, err, want)
		}
	}
	minute := span{time.Minute, 5 * time.Second}
	f("", spans{}, "")
	f("lengths_age=60&lengths_incr=5", spans{ofLengths: minute}, "")
	f("msg_rates_age=60&msg_rates_incr=5&data_rates_age=60&data_rates_incr=5&node_stats_age=60&node_stats_incr=5",
		spans{ofMessages: minute, ofData: minute, ofNodes: minute}, "")
	f("lengths_age=60", spans{}, "")
	f("lengths_incr=5", spans{}, "")
	f("lengths_age=x&lengths_incr=5", spans{}, "")
	f("_age=60&_incr=5", spans{}, "")
	f("lengths_age=1000000000&lengths_incr=5", spans{ofLengths: {mostAge, 5 * time.Second}}, "")
	f("lengths_age=20&lengths_incr=0", spans{}, "Invalid range parameters: age 20, incr 0")
	f("lengths_age=-1&lengths_incr=5", spans{}, "Invalid range parameters: age -1, incr 5")
}
