package persistence

import "time"

// reclaimPause is the least time between two reclaims.
const reclaimPause = 2 * time.Second

// reclaimer gives room back to a disk that is short of it. Badger finds out what is garbage
// in the value log when it compacts, and it compacts after enough was written. When there is
// no room publishers are stopped, so that nothing much is written however much is consumed:
// without help the room would never come back (P12). It belongs to the
// committer.
type reclaimer struct {
	deletes uint64        // since the last reclaim
	last    time.Time     // its end
	took    time.Duration // how long it took
}

// Reclaim has the room of messages that are gone given back to the disk soon. It costs some
// writing, so it is for a disk that is short of room; it is called again and again until
// that is over.
func (s *Store) Reclaim() {
	if _, ok := s.backend.(*disk); ok && !s.reclaim.Swap(true) {
		s.signal()
	}
}

// reclaim is a commit as far as a disk that does not answer goes.
func (c *committer) reclaim() error {
	now := time.Now()
	c.s.stats.commitStart.Store(now.UnixNano())
	defer c.s.stats.commitStart.Store(0)
	return c.s.backend.(*disk).reclaim(now)
}

// reclaim writes filler until both memtables have been flushed: two flushes are what the
// lowest level is compacted after, and with it what was deleted is counted as garbage. The
// collector takes it from there.
func (d *disk) reclaim(now time.Time) error {
	r := &d.reclaimer
	// What an earlier run has left is not known: the first time there may always be something.
	if !r.last.IsZero() && (r.deletes == 0 || now.Sub(r.last) < max(reclaimPause, 4*r.took)) {
		return nil
	}
	r.deletes = 0
	d.tx.reset()
	for left := 2 * int64(memTableSize); left > 0; {
		before := d.paddingOwed
		d.paddingOwed += left
		d.paddingSlot++
		// A transaction is not empty when it is padded.
		d.tx.add([]operation{{key: d.tx.bytesOf(func(b []byte) []byte { return append(b, keyPadding, d.paddingSlot) }), value: padding[:1]}})
		if err := d.tx.commit(); err != nil {
			return err
		}
		d.tx.reset()
		left = d.paddingOwed - before
		d.paddingOwed = before
	}
	r.last = time.Now()
	r.took = r.last.Sub(now)
	return nil
}
