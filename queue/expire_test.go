package queue

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// TTL-1, TTL-3, TTL-5, and instead of TTL-2: wherever a message has got to, in memory, in a run, in a copy or in a
// place it was returned to, and whatever is before it, it is gone soon after its deadline and
// not before: at once from memory, within a second from a disk that takes its time.
func TestMessagesExpireInTimeWhereverTheyAre(t *testing.T) {
	const slowDisk = 100 * time.Millisecond
	for seed := range uint64(16) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := &stage{t: t, now: time.UnixMilli(1_000_000)}
		declare := "declare dead-letter-exchange=dlx"
		if seed%3 > 0 {
			declare += " durable" // otherwise everything is spilled
		}
		s.command(strings.Fields(declare))
		due := map[string]time.Time{} // what is ready and when it has to go
		paged := map[string]bool{}
		held := map[string]time.Time{}
		check := func() {
			for _, line := range s.printed {
				words := strings.Fields(line)
				if words[0] == "got" {
					name := strings.Trim(words[1], ",")
					held[name] = due[name]
					delete(due, name)
				}
				if words[0] != "letter" {
					continue
				}
				at, ok := due[words[1]]
				late := s.now.Sub(at)
				if !ok || late < 0 || late > time.Second || late > 0 && !paged[words[1]] {
					t.Fatalf("seed %d: %s expired %v after its deadline, paged out: %v", seed, words[1], late, paged[words[1]])
				}
				delete(due, words[1])
			}
			s.printed = nil
			for name, at := range due {
				if late := s.now.Sub(at); late > time.Second || late > 0 && !paged[name] {
					t.Fatalf("seed %d: %s is still there %v after its deadline, paged out: %v", seed, name, late, paged[name])
				}
			}
		}
		pass := func(d time.Duration) {
			for ; d > 0; d -= 20 * time.Millisecond {
				s.wait(20 * time.Millisecond)
				if s.now.UnixMilli()%slowDisk.Milliseconds() == 0 {
					s.command([]string{"read"})
				}
				check()
			}
		}
		published := 0
		for range 150 {
			switch r.IntN(8) {
			case 0, 1, 2:
				for range 1 + r.IntN(40) {
					published++
					name, options := fmt.Sprint("m", published), ""
					if r.IntN(4) > 0 {
						// In steps, so that everything in memory is looked at exactly when it is due.
						ttl := time.Duration(1+r.IntN(250)) * 20 * time.Millisecond
						due[name] = s.now.Add(ttl)
						options = fmt.Sprint("ttl=", ttl.Milliseconds())
					}
					s.command([]string{"publish", name + ":" + options})
				}
			case 3:
				s.command([]string{"collect"})
				s.command([]string{"stored"})
			case 4:
				s.command([]string{"page-out"})
				s.command([]string{"spilled"})
				for name := range due {
					paged[name] = true
				}
			case 5: // somebody takes one, and keeps it for a while
				s.command([]string{"get"})
				check()
			case 6:
				for _, name := range slices.Sorted(maps.Keys(s.got))[:min(1, len(s.got))] {
					if at := held[name]; !at.IsZero() {
						due[name] = at
						if !s.now.Before(at) {
							due[name], paged[name] = s.now, true // its body may have to be read
						}
					}
					s.command([]string{"nack", "get", name})
					check()
				}
			case 7:
				pass(time.Duration(r.IntN(40)) * 20 * time.Millisecond)
			}
		}
		pass(8 * time.Second)
		if len(due) > 0 {
			t.Fatalf("seed %d: %d have not expired", seed, len(due))
		}
	}
}

// What is due here and there in one stretch of the disk is read together.
func TestOneRunIsReadTwiceASecondAtMost(t *testing.T) {
	s := &stage{t: t, now: time.UnixMilli(1_000_000)}
	s.command(strings.Fields("declare durable dead-letter-exchange=dlx"))
	for i := range 200 {
		s.command([]string{"publish", fmt.Sprintf("m%d:ttl=%d", i, 5000-7*i)})
	}
	for _, c := range []string{"collect", "stored", "page-out"} {
		s.command([]string{c})
	}
	s.printed = nil
	reads := 0
	for range 6000 {
		s.wait(time.Millisecond)
		reads += len(s.store.reads)
		s.command([]string{"read"})
	}
	if got := strings.Count(strings.Join(s.printed, ""), "expired"); got != 200 {
		t.Errorf("got %d expired, want 200", got)
	}
	if want := 4 * 6; reads > want {
		t.Errorf("got %d reads, want no more than %d", reads, want)
	}
}
