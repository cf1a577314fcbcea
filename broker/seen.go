package broker

import (
	"math"

	"github.com/leveretmq/leveret/message"
)

// seen is a set of values in the order in which they came, bounded in number. It is all that
// a window of deduplication has in memory for each of perhaps millions, so its values are
// in one slice without pointers, and refer to each other by slot.
type seen struct {
	limit  int
	index  map[message.DeduplicationKey]uint32
	values []seenValue
	free   uint32 // slots not in use, by their field newer
	oldest uint32
	newest uint32
}

type seenValue struct {
	key    message.DeduplicationKey
	expiry int64  // Unix milliseconds; 0 for never
	record uint64 // on disk; 0 for none
	flight uint64 // of the message that brought it, while that is under way; 0 for none
	older  uint32
	newer  uint32
}

const noValue = math.MaxUint32

func newSeen(limit int) seen {
	return seen{
		limit:  limit,
		index:  make(map[message.DeduplicationKey]uint32),
		free:   noValue,
		oldest: noValue,
		newest: noValue,
	}
}

// find returns the slot of a value, whether it has expired or not.
func (s *seen) find(key message.DeduplicationKey) (slot uint32, ok bool) {
	slot, ok = s.index[key]
	return slot, ok
}

func (s *seen) full() bool { return len(s.index) >= s.limit }

// add adds a value that is not there as the newest.
func (s *seen) add(key message.DeduplicationKey, expiry int64) (slot uint32) {
	if slot = s.free; slot != noValue {
		s.free = s.values[slot].newer
	} else {
		slot = uint32(len(s.values))
		s.values = append(s.values, seenValue{})
	}
	s.values[slot] = seenValue{key: key, expiry: expiry, older: s.newest, newer: noValue}
	if s.newest != noValue {
		s.values[s.newest].newer = slot
	} else {
		s.oldest = slot
	}
	s.newest = slot
	s.index[key] = slot
	return slot
}

// remove takes a value out and returns it.
func (s *seen) remove(slot uint32) seenValue {
	v := s.values[slot]
	if v.older != noValue {
		s.values[v.older].newer = v.newer
	} else {
		s.oldest = v.newer
	}
	if v.newer != noValue {
		s.values[v.newer].older = v.older
	} else {
		s.newest = v.older
	}
	delete(s.index, v.key)
	s.values[slot] = seenValue{newer: s.free}
	s.free = slot
	return v
}

func (v *seenValue) expired(now int64) bool { return v.expiry != 0 && v.expiry <= now }
