package persistence

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

// What exchanges keep: recent histories under 52, and the values that windows of
// deduplication have seen under 51. Both are in numbered parts that stay inline (S-15). The
// first octet of a value is its version; the first part of a history then tells how many
// parts there are, and those of a window stand for themselves.

const (
	historyVersion = 1
	windowVersion  = 1

	seenBytes   = 16 + 8
	seenPerPart = (metadataPart - 1) / seenBytes
)

// kept is what an exchange has on disk: how many parts of a history, and of each record of
// its window. It belongs to the committer.
type kept struct {
	history int
	windows map[uint64]int
}

func (d *disk) keptOf(id queue.ID) *kept {
	k := d.kept[id]
	if k == nil {
		k = &kept{windows: make(map[uint64]int)}
		d.kept[id] = k
	}
	return k
}

func appendHistoryKey(dst []byte, id queue.ID, part int) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyHistory), uint64(id))
	return binary.BigEndian.AppendUint16(dst, uint16(part))
}

func parseHistoryKey(k []byte) (id queue.ID, part int, ok bool) {
	if len(k) != 11 {
		return 0, 0, false
	}
	return queue.ID(binary.BigEndian.Uint64(k[1:])), int(binary.BigEndian.Uint16(k[9:])), true
}

func appendWindowKey(dst []byte, id queue.ID, record uint64, part int) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst, keyWindow), uint64(id))
	dst = binary.BigEndian.AppendUint64(dst, record)
	return binary.BigEndian.AppendUint16(dst, uint16(part))
}

func parseWindowKey(k []byte) (id queue.ID, record uint64, part int, ok bool) {
	if len(k) != 19 {
		return 0, 0, 0, false
	}
	return queue.ID(binary.BigEndian.Uint64(k[1:])), binary.BigEndian.Uint64(k[9:]), int(binary.BigEndian.Uint16(k[17:])), true
}

// historyOperations write a history in the place of the one before.
func (d *disk) historyOperations(h *queue.History) []operation {
	value := d.tx.bytesOf(func(b []byte) []byte { return appendHistory(b, h.Messages) })
	parts := (len(value) + metadataPart - 1) / metadataPart
	var ops []operation
	for n := range parts {
		piece := value[n*metadataPart : min((n+1)*metadataPart, len(value))]
		if n == 0 {
			piece = d.tx.bytesOf(func(b []byte) []byte {
				return append(binary.AppendUvarint(append(b, historyVersion), uint64(parts)), piece...)
			})
		}
		ops = append(ops, d.put(d.historyKey(h.ID, n), piece))
	}
	k := d.keptOf(h.ID)
	for n := parts; n < k.history; n++ {
		ops = append(ops, d.remove(d.historyKey(h.ID, n)))
	}
	k.history = parts
	return ops
}

func (d *disk) historyKey(id queue.ID, part int) []byte {
	return d.tx.bytesOf(func(b []byte) []byte { return appendHistoryKey(b, id, part) })
}

// appendHistory appends how many messages there are, and each with its meta and body.
func appendHistory(b []byte, messages []*message.Message) []byte {
	b = binary.AppendUvarint(b, uint64(len(messages)))
	for _, m := range messages {
		b = binary.AppendUvarint(b, uint64(metaBytes(m)))
		b = appendMeta(b, m)
		b = binary.AppendUvarint(b, uint64(m.BodyBytes()))
		b = append(b, m.Body()...)
	}
	return b
}

func decodeHistory(b []byte, intern func([]byte) string) ([]*message.Message, error) {
	c := cursor{b: b}
	var messages []*message.Message
	for range c.uvarint() {
		meta := c.bytes(c.uvarint())
		body := c.bytes(c.uvarint())
		if c.failed {
			break
		}
		m, err := decodeMessage(meta, body, intern)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	if c.failed {
		return nil, damaged("a history of %d bytes cannot be read", len(b))
	}
	return messages, nil
}

// windowOperations write what windows have seen. They go with the messages of the group, or
// later if no transaction can hold both: what has been seen and is not there would be
// refused for ever (S-12).
func (d *disk) windowOperations(ops []operation, windows []queue.Window) []operation {
	for i := range windows {
		w := &windows[i]
		for n := 0; n*seenPerPart < len(w.Seen); n++ {
			piece := w.Seen[n*seenPerPart : min((n+1)*seenPerPart, len(w.Seen))]
			ops = append(ops, d.put(d.windowKey(w.ID, w.Record, n),
				d.tx.bytesOf(func(b []byte) []byte { return appendSeen(append(b, windowVersion), piece) })))
			d.keptOf(w.ID).windows[w.Record] = n + 1
		}
	}
	return ops
}

// deadWindowOperations delete the records of which windows want nothing any more.
func (d *disk) deadWindowOperations(windows []queue.Window) (ops []operation) {
	for i := range windows {
		k := d.kept[windows[i].ID]
		if k == nil {
			continue
		}
		for _, record := range windows[i].Dead {
			ops = d.windowDeletes(ops, windows[i].ID, record, k.windows[record])
			delete(k.windows, record)
		}
	}
	return ops
}

func (d *disk) windowDeletes(ops []operation, id queue.ID, record uint64, parts int) []operation {
	for n := range parts {
		ops = append(ops, d.remove(d.windowKey(id, record, n)))
	}
	return ops
}

func (d *disk) windowKey(id queue.ID, record uint64, part int) []byte {
	return d.tx.bytesOf(func(b []byte) []byte { return appendWindowKey(b, id, record, part) })
}

func appendSeen(b []byte, seen []queue.Seen) []byte {
	for i := range seen {
		b = append(b, seen[i].Hash[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(seen[i].Expiry))
	}
	return b
}

func decodeSeen(v []byte) ([]queue.Seen, error) {
	c := cursor{b: v}
	if version := c.octet(); version > windowVersion {
		return nil, &newerError{what: "a window of deduplication", version: uint64(version)}
	}
	var seen []queue.Seen
	for len(c.b) > 0 && !c.failed {
		var s queue.Seen
		copy(s.Hash[:], c.bytes(16))
		s.Expiry = int64(c.fixed64())
		seen = append(seen, s)
	}
	if c.failed {
		return nil, damaged("a window of %d bytes", len(v))
	}
	return seen, nil
}

// dropKept deletes what an exchange that is gone has kept.
func (d *disk) dropKept(id queue.ID) (ops []operation) {
	k := d.kept[id]
	if k == nil {
		return nil
	}
	for n := range k.history {
		ops = append(ops, d.remove(d.historyKey(id, n)))
	}
	for record, parts := range k.windows {
		ops = d.windowDeletes(ops, id, record, parts)
	}
	delete(d.kept, id)
	return ops
}

// keeps tells whether a key under 51 or 52 is still needed.
func (d *disk) keeps(key []byte) bool {
	if key[0] == keyHistory {
		id, part, ok := parseHistoryKey(key)
		k := d.kept[id]
		return !ok || k != nil && part < k.history
	}
	id, record, part, ok := parseWindowKey(key)
	k := d.kept[id]
	return !ok || k != nil && part < k.windows[record]
}

// readKept reads what exchanges have kept. What cannot be read is reported and left out: an
// exchange without its past works, and a broker that does not start does not.
func (r *recovery) readKept() error {
	r.d.kept = make(map[queue.ID]*kept)
	there := make(map[queue.ID]bool, len(r.catalog.Exchanges))
	for i := range r.catalog.Exchanges {
		there[queue.ID(r.catalog.Exchanges[i].ID)] = true
	}
	if err := r.readHistories(there); err != nil {
		return err
	}
	return r.readWindows(there)
}

func (r *recovery) readHistories(there map[queue.ID]bool) error {
	names := make(map[string]string)
	intern := func(b []byte) string {
		name, ok := names[string(b)]
		if !ok {
			name = string(b)
			names[name] = name
		}
		return name
	}
	var value []byte
	missing := 0 // parts still to come of the history in value
	return r.each([]byte{keyHistory}, func(item *badger.Item) error {
		id, part, ok := parseHistoryKey(item.Key())
		if !ok || !there[id] || part > 0 && part >= r.d.keptOf(id).history {
			return r.suspect(item)
		}
		v, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("read %x: %w", item.Key(), err)
		}
		if part == 0 {
			c := cursor{b: v}
			if version := c.octet(); version > historyVersion {
				return &newerError{what: "a recent history", version: uint64(version)}
			}
			missing = int(c.uvarint())
			r.d.keptOf(id).history = missing
			value = c.b
		} else {
			value = append(value, v...)
		}
		if missing--; missing != 0 {
			return nil
		}
		messages, err := decodeHistory(value, intern)
		if err != nil {
			r.reportKept(item, err)
			return nil
		}
		r.catalog.Histories = append(r.catalog.Histories, queue.History{ID: id, Messages: messages})
		return nil
	})
}

func (r *recovery) readWindows(there map[queue.ID]bool) error {
	return r.each([]byte{keyWindow}, func(item *badger.Item) error {
		id, record, part, ok := parseWindowKey(item.Key())
		if !ok || !there[id] {
			return r.suspect(item)
		}
		k := r.d.keptOf(id)
		k.windows[record] = max(k.windows[record], part+1)
		return item.Value(func(v []byte) error {
			seen, err := decodeSeen(v)
			var d damage
			switch {
			case errors.As(err, &d):
				r.reportKept(item, err)
			case err != nil:
				return err
			default:
				r.catalog.Windows = append(r.catalog.Windows, queue.Window{ID: id, Record: record, Seen: seen})
			}
			return nil
		})
	})
}

func (r *recovery) reportKept(item *badger.Item, err error) {
	r.d.report(Problem{Kind: "exchange", Key: hex.EncodeToString(item.Key()), Reason: err.Error()})
}
