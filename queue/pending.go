package queue

import "github.com/leveretmq/leveret/message"

// ordinalStored is the ordinal of every message that is on disk since before this run.
const ordinalStored = 1

// pending are the messages of a level that wait for the disk, oldest first: first those
// under way with a commit, then those not collected yet. A message's ordinal counts
// them, so that its entry finds it whichever list the entry is in:
//
//	ordinal 0                never to be stored
//	ordinal < base           stored
//	otherwise                puts[ordinal-base]
type pending struct {
	base      uint64
	puts      []waiting
	start     int // puts[start:] are in use; base belongs to puts[start]
	collected int // how many of those in use have been collected
}

// waiting is one message that waits for the disk. Only the queue's lock changes what it
// is: unstored, under way (group is set), or gone (settled before it was collected).
type waiting struct {
	message  *message.Message // nil when gone
	confirm  *message.Confirm
	transfer *Transfer
	seq      uint64
	expiry   int64
	group    uint64 // the commit it is under way with; 0 while unstored
	settled  bool   // settled while under way
}

func (p *pending) push(w waiting) (ordinal uint64) {
	if p.start > 0 && len(p.puts) == cap(p.puts) && p.start >= len(p.puts)/2 {
		n := copy(p.puts, p.puts[p.start:])
		clear(p.puts[n:])
		p.puts, p.start = p.puts[:n], 0
	}
	p.puts = append(p.puts, w)
	return p.base + uint64(len(p.puts)-p.start) - 1
}

// find returns the message with this ordinal, or nil when it is stored already.
func (p *pending) find(ordinal uint64) *waiting {
	if ordinal < p.base {
		return nil
	}
	return &p.puts[p.start+int(ordinal-p.base)]
}

// trim forgets what is gone at the front. What is under way stays until it is stored.
func (p *pending) trim() {
	for p.start < len(p.puts) {
		w := &p.puts[p.start]
		if w.message != nil || w.group != 0 {
			return
		}
		p.shift()
	}
}

// shift forgets the oldest.
func (p *pending) shift() {
	p.puts[p.start] = waiting{}
	p.start++
	p.base++
	if p.collected > 0 {
		p.collected--
	}
	if p.start == len(p.puts) {
		p.start = 0
		if cap(p.puts) > 4096 {
			p.puts = nil
		} else {
			p.puts = p.puts[:0]
		}
	}
}
