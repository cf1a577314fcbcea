package management

import (
	"encoding/json"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
)

func TestRatesAreThoseSinceASampleThatIsOldEnough(t *testing.T) {
	var r rates
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(after time.Duration, count, want float64) {
		t.Helper()
		if got := r.since(start.Add(after), "q", []float64{count, 0}); got[0] != want || got[1] != 0 {
			t.Errorf("after %v: got %v, want %v", after, got, want)
		}
	}
	f(0, 100, 0)                          // nothing to compare with
	f(500*time.Millisecond, 110, 0)       // too soon to say
	f(2*time.Second, 140, 20)             // since the first
	f(5*time.Second, 200, 20)             // since the first, and a sample is taken
	f(7*time.Second, 270, 170.0/7)        // still since the first
	f(10*time.Second, 450, 50)            // since the second
	f(11*time.Second, 450, 250.0/6)       // still since the second
	f(70*time.Second, 450, 0)             // whoever asks rarely is told of all the time between
	f(75*time.Second, 445, -1)            // what may fall falls
	f(sampleKept+75*time.Second, 1000, 0) // forgotten
	if len(r.of) != 1 {
		t.Errorf("got %d samples kept", len(r.of))
	}
	r.since(start.Add(3*sampleKept), "other", nil)
	if len(r.of) != 1 {
		t.Errorf("got %d samples kept, want only that of what was asked for lately", len(r.of))
	}
}

// What is counted is known by keys that do not keep it alive: what is gone stays in the samples for
// minutes, and a connection would with all its buffers.
func TestRatesKeepNothingAlive(t *testing.T) {
	c := &call{api: new(api)}
	freed := make(chan struct{}, 2)
	func() {
		x, of := new(exchange.Exchange), new(gone)
		runtime.AddCleanup(x, func(int) { freed <- struct{}{} }, 0)
		runtime.AddCleanup(of, func(int) { freed <- struct{}{} }, 0)
		s := session{Session: of, SessionInfo: broker.SessionInfo{Name: "a -> b"}}
		for range 2 {
			c.count(object{}, ofMessages, exchangeKey(x), []counter{{"publish_in", 1}})
			c.count(object{}, ofData, keyOf(s, 0), []counter{{"recv_oct", 1}})
			c.count(object{}, ofMessages, keyOf(s, 1), []counter{{"publish", 1}})
		}
	}()
	if len(c.rates.of) != 3 {
		t.Errorf("got the samples %v, want 3", c.rates.of)
	}
	runtime.GC()
	for range 2 {
		select {
		case <-freed:
		case <-time.After(10 * time.Second):
			t.Fatal("something is kept alive")
		}
	}
	runtime.KeepAlive(c)
}

// gone is a connection that has buffers.
type gone struct {
	broker.Session
	_ [1024]byte
}

func TestRatesAreWrittenWithAPoint(t *testing.T) {
	b, err := json.Marshal([]rate{0, 5, 2.5, -1, 1e9})
	if err != nil || string(b) != "[0.0,5.0,2.5,-1.0,1000000000.0]" {
		t.Errorf("got %s, %v", b, err)
	}
}

func TestListsAreSortedByWhatTheyShow(t *testing.T) {
	items := []item{}
	for _, o := range []object{
		{"n": 3, "s": "b", "d": object{"rate": rate(2)}}, {"n": 10, "s": "a", "d": object{"rate": rate(0.5)}}, {"n": 1, "s": "c"},
	} {
		items = append(items, item{o["s"].(string), func() object { return o }})
	}
	f := func(p page, want ...string) {
		t.Helper()
		var got []string
		for _, o := range p.objects(items) {
			got = append(got, o["s"].(string))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%+v: got %q, want %q", p, got, want)
		}
	}
	f(page{}, "b", "a", "c")
	f(page{sort: "n"}, "c", "b", "a")
	f(page{sort: "n", reverse: true}, "a", "b", "c")
	f(page{sort: "s"}, "a", "b", "c")
	f(page{sort: "d.rate"}, "c", "a", "b")
	f(page{sort: "nothing"}, "b", "a", "c")
}
