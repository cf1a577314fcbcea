package persistence

import "github.com/leveretmq/leveret/queue"

// picked gathers neighbouring sections for a move.
type picked struct {
	pieces   []piece
	bytes    int64
	messages int
}

func (p *picked) fits(s *stretch) bool {
	return len(p.pieces) == 0 || p.bytes+s.leftBytes() <= moveBytes && p.messages+int(s.left) <= moveMessages
}

func (p *picked) add(s *stretch) {
	p.pieces = append(p.pieces, piece{record: s.record, Range: queue.Range{First: s.first, Last: s.last}})
	p.bytes += s.leftBytes()
	p.messages += int(s.left)
}

// movable tells whether a record may be emptied.
func (r *stored) movable() bool { return !r.fixed && !r.quarantined }

// small tells whether a stretch is of a chunk that could be part of another.
func (x *index) small(s *stretch) bool {
	return s.record.chunk != nil && s.record.movable() && 2*s.leftBytes() <= int64(x.chunkBytes) && 2*s.left <= chunkMessages
}

// pickJournal finds the first section numbered from or above whose journal record is to
// be emptied, and the neighbours that go with it: what follows in the journal if it may go
// along, and small chunks, unless rewriting those costs more than what is moved.
func (x *index) pickJournal(lv *levelIndex, from uint64, wanted, along func(*stored) bool) []piece {
	i := lv.search(from)
	for ; i < len(lv.sections); i++ {
		if s := &lv.sections[i]; s.left > 0 && s.first >= from && s.record.chunk == nil && s.record.movable() && wanted(s.record) {
			break
		}
	}
	if i == len(lv.sections) {
		return nil
	}
	var p picked
	for j := i; j < len(lv.sections); j++ {
		s := &lv.sections[j]
		if s.left == 0 {
			continue
		}
		journal := s.record.chunk == nil && s.record.movable() && along(s.record)
		if !p.fits(s) || !journal && !(x.small(s) && s.leftBytes() <= p.bytes) {
			break
		}
		p.add(s)
	}
	var ahead []piece
	for j := i - 1; j >= 0; j-- {
		s := &lv.sections[j]
		if s.left == 0 {
			continue
		}
		if s.first < from || !x.small(s) || s.leftBytes() > p.bytes || !p.fits(s) {
			break
		}
		p.add(s)
		n := len(p.pieces) - 1
		ahead = append(ahead, p.pieces[n])
		p.pieces = p.pieces[:n]
	}
	for l, r := 0, len(ahead)-1; l < r; l, r = l+1, r-1 {
		ahead[l], ahead[r] = ahead[r], ahead[l]
	}
	return append(ahead, p.pieces...)
}

// pickSmall finds the first small chunks in a row, numbered from or above, that are worth
// to be made one.
func (x *index) pickSmall(lv *levelIndex, from uint64, before int64) []piece {
	var p picked
	for i := lv.search(from); i < len(lv.sections); i++ {
		s := &lv.sections[i]
		if s.left == 0 || s.first < from {
			continue
		}
		if x.small(s) && s.record.written > before {
			lv.changed = true // look again when it is old enough
		} else if x.small(s) && p.fits(s) {
			p.add(s)
			continue
		}
		if p.worth(x.chunkBytes) {
			return p.pieces
		}
		if p = (picked{}); x.small(s) && s.record.written <= before {
			p.add(s)
		}
	}
	if p.worth(x.chunkBytes) {
		return p.pieces
	}
	return nil
}

// worth tells whether there will be a good deal fewer chunks than there are.
func (p *picked) worth(chunkBytes int) bool {
	parts := max((p.bytes+int64(chunkBytes)-1)/int64(chunkBytes), int64(p.messages+chunkMessages-1)/chunkMessages)
	return int64(len(p.pieces)) >= mergeRatio*max(parts, 1)
}
