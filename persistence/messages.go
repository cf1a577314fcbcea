package persistence

import (
	"unsafe"

	"github.com/leveretmq/leveret/message"
)

// messageTable finds a message again by its identity, for the length of one group. It does
// what a map does in a quarter of the time: it is asked for every message, and emptied by
// counting on. It holds addresses as numbers and keeps no message alive; they stand for
// the messages as long as someone else does, which the group does.
type messageTable struct {
	slots []messageSlot // a power of two of them, at most half in use
	round uint32        // slots of another are free
}

type messageSlot struct {
	address uintptr
	round   uint32
	value   uint32
}

// reset forgets everything and makes room for n messages.
func (t *messageTable) reset(n int) {
	size := max(64, len(t.slots))
	for size < 2*n {
		size *= 2
	}
	if t.round++; size > len(t.slots) || t.round == 0 {
		t.slots, t.round = make([]messageSlot, size), 1
	}
}

// add returns the value of m. One that was not there gets value, and added is true.
func (t *messageTable) add(m *message.Message, value uint32) (v *uint32, added bool) {
	address := uintptr(unsafe.Pointer(m))
	mask := len(t.slots) - 1
	// Messages are allocated, so the lowest bits say nothing.
	for i := int(uint64(address>>4)*0x9E3779B97F4A7C15>>20) & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.round != t.round {
			*s = messageSlot{address, t.round, value}
			return &s.value, true
		}
		if s.address == address {
			return &s.value, false
		}
	}
}

// forget lets go of slots that one large group has asked for.
func (t *messageTable) forget() {
	if len(t.slots) > 4*groupPuts {
		*t = messageTable{}
	}
}
