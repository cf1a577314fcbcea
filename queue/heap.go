package queue

// ordered is what a heap puts in order.
type ordered[T any] interface{ before(T) bool }

// heap has its first element in front: no other one is before it.
type heap[T ordered[T]] []T

func (h *heap[T]) push(x T) {
	*h = append(*h, x)
	s := *h
	for i := len(s) - 1; i > 0; {
		p := (i - 1) / 2
		if !s[i].before(s[p]) {
			break
		}
		s[p], s[i] = s[i], s[p]
		i = p
	}
}

// pop removes the first element. It gives memory back when a large heap is empty.
func (h *heap[T]) pop() {
	s := *h
	n := len(s) - 1
	s[0] = s[n]
	s = s[:n]
	s.sink(0)
	if *h = s; n == 0 && cap(s) > 1024 {
		*h = nil
	}
}

// order makes a heap of elements in any order.
func (h heap[T]) order() {
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
}

// sink moves the element at place i behind those that are before it.
func (h heap[T]) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(h[i]) {
			return
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
}
