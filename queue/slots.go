package queue

const noSlot = ^uint32(0)

type slotState uint8

const (
	slotFree     slotState = iota
	slotOut                // delivered, waits for a settlement
	slotReturned           // came back, is ready again
	slotHeld               // came back, is to be ready again later (QQ-6)
	slotLeaving            // dead-lettered, waits for its targets (S-9)
	slotDying              // to be dead-lettered when its body has been read
)

// slot holds a message that was taken from the ready list. A Position carries the
// slot's number, so a settlement finds its message without searching.
type slot struct {
	entry    entry
	consumer *consumer // who has it; nil for a get
	next     uint32    // the next free slot
	level    uint8
	state    slotState
}

// pages tells whether the body of what is in the slot may leave memory.
func (sl *slot) pages() bool {
	return sl.state == slotOut || sl.state == slotReturned || sl.state == slotHeld
}

const slotsPerPage = 128

// slots are the messages that were taken from the ready list, in pages that never move.
type slots struct {
	pages []*[slotsPerPage]slot
	free  uint32 // head of the list of free slots plus one; 0 for none
	used  int
}

func (s *slots) at(i uint32) *slot { return &s.pages[i/slotsPerPage][i%slotsPerPage] }

// get is at for a number that may be stale: nil when there is no such slot any more.
func (s *slots) get(i uint32) *slot {
	if i/slotsPerPage >= uint32(len(s.pages)) {
		return nil
	}
	return s.at(i)
}

// take finds room for e. The slot's state is the caller's to set.
func (s *slots) take(e entry, level uint8) (uint32, *slot) {
	if s.free == 0 {
		page := new([slotsPerPage]slot)
		base := uint32(len(s.pages)) * slotsPerPage
		for i := range page {
			page[i].next = base + uint32(i) + 2
		}
		page[slotsPerPage-1].next = 0
		s.pages = append(s.pages, page)
		s.free = base + 1
	}
	i := s.free - 1
	sl := s.at(i)
	s.free = sl.next
	sl.entry, sl.level, sl.consumer = e, level, nil
	s.used++
	return i, sl
}

// put gives a slot back. When the last one is back, all but one page are let go.
func (s *slots) put(i uint32) {
	sl := s.at(i)
	*sl = slot{next: s.free}
	s.free = i + 1
	s.used--
	if s.used == 0 && len(s.pages) > 1 {
		*s = slots{}
	}
}

// out returns the slot at p if that very delivery is still out.
func (s *slots) out(p Position) *slot {
	return s.in(slotOut, p)
}

// in returns the slot at p if it holds that message in that state.
func (s *slots) in(state slotState, p Position) *slot {
	sl := s.get(p.Slot)
	if sl == nil || sl.state != state || sl.entry.seq != p.Seq || sl.level != p.Level {
		return nil
	}
	return sl
}
