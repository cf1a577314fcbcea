package persistence

import "github.com/leveretmq/leveret/queue"

const (
	// chunkFloor is how many bytes of bodies that no other queue shares earn a queue a chunk
	// of its own in a group (S-17). Less would make too many records.
	chunkFloor = 32 << 10
	// chunkBytes is how many bytes of bodies a chunk has at most, unless it has one message:
	// what a queue reads at once.
	chunkBytes = queue.RunBytes
	// chunkMessages is how many messages a chunk has at most.
	chunkMessages = queue.RunMessages
)

// segment is a stretch of a batch's puts, for one chunk or for the journal.
type segment struct {
	start, end int
	chunk      bool
}

// splitter parts the puts of a batch into chunks and journal. It is reused.
type splitter struct {
	chunkBytes int // how large a chunk is to be
	segments   []segment
	journal    []queue.StoredPut
	table      messageTable
	bodies     []uint32 // of each put, the first with its message; none when all are of one queue
	shared     []bool   // by that first put, whether it is of several queues
}

// split returns the segments of puts, all of them and in order. Chunks are cut where a
// message goes to the journal, so that no chunk spans the number of a message outside.
func (s *splitter) split(puts []queue.StoredPut) []segment {
	s.segments = s.segments[:0]
	if !worthChunks(puts) {
		s.segments = append(s.segments, segment{end: len(puts)})
		return s.segments
	}
	s.findShared(puts)
	for i := 0; i < len(puts); {
		end := sectionEnd(puts, i)
		for i < end {
			own := i
			bytes := 0
			for ; own < end && s.own(puts, own); own++ {
				bytes += puts[own].Message.BodyBytes()
			}
			if bytes >= chunkFloor {
				s.cut(puts, i, own, bytes)
				i = own
				continue
			}
			if own < end {
				own++
			}
			s.toJournal(i, own)
			i = own
		}
	}
	return s.segments
}

// worthChunks tells whether any queue could have enough bytes.
func worthChunks(puts []queue.StoredPut) bool {
	for i := 0; i < len(puts); {
		bytes := 0
		for end := sectionEnd(puts, i); i < end; i++ {
			bytes += puts[i].Message.BodyBytes()
		}
		if bytes >= chunkFloor {
			return true
		}
	}
	return false
}

func (s *splitter) findShared(puts []queue.StoredPut) {
	s.bodies, s.shared = s.bodies[:0], s.shared[:0]
	if puts[0].Queue == puts[len(puts)-1].Queue {
		return
	}
	s.table.reset(len(puts))
	for i := range puts {
		first, _ := s.table.add(puts[i].Message, uint32(i))
		s.bodies = append(s.bodies, *first)
		s.shared = append(s.shared, false)
		if puts[*first].Queue != puts[i].Queue {
			s.shared[*first] = true
		}
	}
}

// own tells whether the message of put i can go into a chunk of its queue.
func (s *splitter) own(puts []queue.StoredPut, i int) bool {
	shared := len(s.bodies) > 0 && s.shared[s.bodies[i]]
	return !shared && puts[i].Message.BodyBytes() <= maxInlineBody
}

// cut makes chunks of about the same size.
func (s *splitter) cut(puts []queue.StoredPut, start, end, bytes int) {
	parts := max((bytes+s.chunkBytes-1)/s.chunkBytes, (end-start+chunkMessages-1)/chunkMessages)
	size, messages := bytes/parts, (end-start+parts-1)/parts
	sum := 0
	for i := start; i < end; i++ {
		n := puts[i].Message.BodyBytes()
		if i > start && (sum+n > s.chunkBytes || sum >= size || i-start >= messages) {
			s.segments = append(s.segments, segment{start, i, true})
			start, sum = i, 0
		}
		sum += n
	}
	s.segments = append(s.segments, segment{start, end, true})
}

func (s *splitter) toJournal(start, end int) {
	if n := len(s.segments); n > 0 && !s.segments[n-1].chunk {
		s.segments[n-1].end = end
		return
	}
	s.segments = append(s.segments, segment{start: start, end: end})
}

// rest gathers the puts for the journal.
func (s *splitter) rest(puts []queue.StoredPut, segments []segment) []queue.StoredPut {
	s.journal = s.journal[:0]
	for _, g := range segments {
		if !g.chunk {
			s.journal = append(s.journal, puts[g.start:g.end]...)
		}
	}
	return s.journal
}

// forget lets go of the messages.
func (s *splitter) forget() {
	clear(s.journal)
	s.table.forget()
}
