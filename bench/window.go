package bench

// window is what a producer has published and not seen confirmed: delivery tags from low
// up to, but not with, next, each with the time it was sent, or 0 once it is confirmed.
type window struct {
	sent []int64 // by tag; the length is a power of two
	low  uint64
	next uint64
	open int // how many are unconfirmed

	confirmed uint64
	nacked    uint64
	wrong     uint64 // confirms of tags that were not waiting for one
	latency   *latency
}

// newWindow returns one for size messages. A broker may confirm late ones first, so
// there is room for as many again between low and next.
func newWindow(size int) *window {
	n := 2
	for n < 2*size {
		n *= 2
	}
	return &window{sent: make([]int64, n), low: 1, next: 1, latency: newLatency()}
}

// room is how many may be published so that at most size are unconfirmed.
func (w *window) room(size int) int {
	return max(0, min(size-w.open, len(w.sent)-int(w.next-w.low)))
}

// publish takes note of n messages sent at the time now, which is not 0.
func (w *window) publish(n int, now int64) {
	for range n {
		w.sent[w.next&uint64(len(w.sent)-1)] = now
		w.next++
	}
	w.open += n
}

// confirm takes note of a basic.ack or, with nack, a basic.nack that came at now. A tag
// of 0 with multiple is all of them.
func (w *window) confirm(tag uint64, multiple, nack bool, now int64) {
	from := tag
	if multiple {
		from = w.low
		if tag == 0 {
			tag = w.next - 1
		}
	}
	if from < w.low || tag >= w.next || from > tag {
		w.wrong++
		return
	}
	mask, n := uint64(len(w.sent)-1), uint64(0)
	for t := from; t <= tag; t++ {
		if sent := w.sent[t&mask]; sent != 0 {
			w.sent[t&mask] = 0
			w.latency.record(now - sent)
			n++
		} else if !multiple {
			w.wrong++
		}
	}
	w.open -= int(n)
	if nack {
		w.nacked += n
	} else {
		w.confirmed += n
	}
	for w.low < w.next && w.sent[w.low&mask] == 0 {
		w.low++
	}
}
