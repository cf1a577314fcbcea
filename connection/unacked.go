package connection

import (
	"slices"

	"github.com/leveretmq/leveret/queue"
)

// unacked are the deliveries of a channel that wait for an acknowledgement, in order of
// their tags. Tags may have gaps: deliveries that need no acknowledgement take one too
// (ACK-1).
//
// It is a slice from which settled entries disappear at once when they are at its
// front, and otherwise leave a tombstone; tombstones are swept out when they outnumber
// the living, so memory follows how many deliveries are out and a look-up stays a
// binary search.
type unacked struct {
	entries []delivered // ascending tags; entries[:head] are gone
	head    int
	live    int
}

// delivered is one delivery or get that waits for an acknowledgement.
type delivered struct {
	tag      uint64
	queue    *queue.Queue // nil for a tombstone
	consumer *consumer    // nil for a get
	position queue.Position
	at       uint32 // when it went out, in eighths
	// counted tells that the delivery takes a place in the window that the channel's
	// consumers share (QOS-3). A get does so only when it was out as the window was set.
	counted bool
}

// count is how many deliveries are out.
func (u *unacked) count() int { return u.live }

// add notes a delivery whose tag is greater than every tag before it.
func (u *unacked) add(d delivered) {
	if len(u.entries) == cap(u.entries) && u.head > len(u.entries)/2 {
		u.compact()
	}
	u.entries = append(u.entries, d)
	u.live++
}

// take removes the delivery with this tag; ok is false when it is not out (ACK-2).
func (u *unacked) take(tag uint64) (d delivered, ok bool) {
	i, ok := u.find(tag)
	if !ok {
		return delivered{}, false
	}
	d = u.entries[i]
	u.entries[i].bury()
	u.live--
	u.shrink()
	return d, true
}

// takeThrough removes every delivery up to and including tag and appends them to dst in
// order. The tag itself has to be out (ACK-3), except that 0 stands for all there are,
// even none (ACK-4).
func (u *unacked) takeThrough(tag uint64, dst []delivered) (taken []delivered, ok bool) {
	end := len(u.entries)
	if tag != 0 {
		i, ok := u.find(tag)
		if !ok {
			return dst, false
		}
		end = i + 1
	}
	for i := u.head; i < end; i++ {
		if u.entries[i].queue != nil {
			dst = append(dst, u.entries[i])
			u.entries[i].bury()
			u.live--
		}
	}
	u.head = end
	u.shrink()
	return dst, true
}

// takeUpTo removes every delivery up to and including tag, which need not be out, and
// appends them to dst in order.
func (u *unacked) takeUpTo(tag uint64, dst []delivered) []delivered {
	return append(dst, u.takeAll(func(d *delivered) bool { return d.tag <= tag })...)
}

// takeAll removes the deliveries for which f holds and returns them in order. It looks at
// all there are.
func (u *unacked) takeAll(f func(d *delivered) bool) (taken []delivered) {
	u.each(func(d *delivered) {
		if f(d) {
			taken = append(taken, *d)
			d.bury()
			u.live--
		}
	})
	u.shrink()
	return taken
}

// restore puts deliveries back that were taken, under the tags they had (TX-5).
func (u *unacked) restore(back []delivered) {
	u.compact()
	u.entries = append(u.entries, back...)
	u.live += len(back)
	slices.SortFunc(u.entries, func(a, b delivered) int {
		if a.tag < b.tag {
			return -1
		}
		return 1
	})
}

// each calls f with every delivery that is out, in order.
func (u *unacked) each(f func(d *delivered)) {
	for i := u.head; i < len(u.entries); i++ {
		if u.entries[i].queue != nil {
			f(&u.entries[i])
		}
	}
}

func (u *unacked) find(tag uint64) (int, bool) {
	live := u.entries[u.head:]
	if len(live) == 0 || tag < live[0].tag {
		return 0, false
	}
	// Without gaps the place is known; most acknowledgements end here.
	if i := tag - live[0].tag; i < uint64(len(live)) && live[i].tag == tag {
		return u.head + int(i), live[i].queue != nil
	}
	i, ok := slices.BinarySearchFunc(live, tag, func(d delivered, tag uint64) int {
		switch {
		case d.tag < tag:
			return -1
		case d.tag > tag:
			return 1
		}
		return 0
	})
	return u.head + i, ok && live[i].queue != nil
}

// bury leaves a tombstone that keeps nothing alive but its tag.
func (d *delivered) bury() { *d = delivered{tag: d.tag} }

const (
	// fewEntries is below which tombstones are not worth sweeping.
	fewEntries = 64
	// keptEntries is how much room is kept for deliveries to come, 20 KiB.
	keptEntries = 512
)

// shrink moves past tombstones at the front and sweeps when they are the majority.
func (u *unacked) shrink() {
	for u.head < len(u.entries) && u.entries[u.head].queue == nil {
		u.head++
	}
	switch {
	case u.live == 0:
		u.head = 0
		u.entries = u.entries[:0]
		if cap(u.entries) > 2*keptEntries {
			u.entries = nil
		}
	case len(u.entries) > fewEntries && u.live < len(u.entries)/4:
		u.compact()
	}
}

// compact sweeps out everything that is not out any more, and gives memory back when
// little of it is left in use.
func (u *unacked) compact() {
	kept := u.entries[:0]
	if cap(u.entries) > keptEntries && u.live < cap(u.entries)/8 {
		kept = make([]delivered, 0, 2*u.live)
	}
	for i := u.head; i < len(u.entries); i++ {
		if u.entries[i].queue != nil {
			kept = append(kept, u.entries[i])
		}
	}
	u.head, u.entries = 0, kept
}
