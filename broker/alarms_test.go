package broker

import (
	"slices"
	"testing"
)

// publisher is one that is held back, and how often it was told that it is not any more.
type publisher struct{ told int }

func (p *publisher) Unblocked() { p.told++ }

func TestAlarmsSayWhyPublishersAreHeldBack(t *testing.T) { // C-34
	f := func(want string, on ...Alarm) {
		t.Helper()
		b := new(Broker)
		for _, a := range on {
			b.SetAlarm(a, true)
		}
		s := b.Alarms()
		if got := s.Reason(); got != want || s.Block() != (want != "") {
			t.Errorf("got %q and %v for %v, want %q", got, s.Block(), on, want)
		}
		slices.Sort(on)
		if got := s.All(); !slices.Equal(got, on) {
			t.Errorf("got %v, want %v", got, on)
		}
	}
	f("")
	f("low on memory", MemoryAlarm)
	f("low on disk", DiskAlarm)
	f("low on disk & memory", MemoryAlarm, DiskAlarm)
	f("low on disk & memory", SlowDiskAlarm, DiskAlarm, MemoryAlarm)
	f("", SlowDiskAlarm)
}

func TestPublishersAreToldOnceWhenTheLastAlarmEnds(t *testing.T) { // RES-3
	b, p, gone := new(Broker), new(publisher), new(publisher)
	if reason := b.Block(p); reason != "" {
		t.Fatalf("got %q without an alarm", reason)
	}
	b.SetAlarm(DiskAlarm, true)
	b.SetAlarm(DiskAlarm, true) // it is on already
	b.SetAlarm(SlowDiskAlarm, true)
	for range 2 {
		if reason := b.Block(p); reason != "low on disk" {
			t.Errorf("got %q, want low on disk", reason)
		}
	}
	b.Block(gone)
	b.Unblock(gone)
	b.SetAlarm(MemoryAlarm, true)
	b.SetAlarm(DiskAlarm, false)
	if p.told != 0 {
		t.Error("it was told while there is an alarm")
	}
	b.SetAlarm(MemoryAlarm, false)
	b.SetAlarm(MemoryAlarm, false)
	b.SetAlarm(DiskAlarm, true)
	b.SetAlarm(DiskAlarm, false) // it does not wait any more
	if p.told != 1 || gone.told != 0 {
		t.Errorf("got told %d times and %d times when gone, want 1 and 0", p.told, gone.told)
	}
}
