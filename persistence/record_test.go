package persistence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/message"
	"github.com/leveretmq/leveret/queue"
)

func noID() uint64 { panic("no id was expected to be needed") }

// somePuts are puts of several queues and levels, now and then of very many, with holes,
// shared bodies, expiries, redelivered flags, and metas of which some are alike.
func somePuts(t testing.TB, r *rand.Rand) []queue.StoredPut {
	var puts []queue.StoredPut
	shared := msgs(t, 1+r.IntN(5), 40)
	queues := 1 + r.IntN(4)
	if r.IntN(40) == 0 {
		queues = 120
	}
	for id := range queue.ID(queues) {
		seq := r.Uint64N(1 << 40)
		for level := range uint8(1 + r.IntN(3)) {
			for range 1 + r.IntN(10) {
				seq += 1 + r.Uint64N(3)
				p := queue.StoredPut{Queue: id * 1000, Level: level, Seq: seq, Redelivered: r.IntN(4) == 0}
				if r.IntN(2) == 0 {
					p.Expiry = 1_700_000_000_000 + r.Int64N(1000) - 500
				}
				if r.IntN(3) == 0 {
					p.Message = shared[r.IntN(len(shared))]
				} else {
					p.Message = msg(t, strings.Repeat("b", r.IntN(200)))
					if r.IntN(4) == 0 {
						p.Message.RoutingKey = strings.Repeat("k", r.IntN(3))
					}
				}
				puts = append(puts, p)
			}
		}
	}
	return puts
}

// decodePuts reads a record back into puts.
func decodePuts(b []byte) ([]queue.StoredPut, error) {
	rec, err := parseRecord(b)
	if err != nil {
		return nil, err
	}
	var puts []queue.StoredPut
	made := make([]*message.Message, len(rec.bodies))
	for i := range rec.bodies {
		meta, payload, err := rec.body(b, i)
		if err != nil {
			return nil, err
		}
		if made[i], err = decodeMessage(meta, payload, func(b []byte) string { return string(b) }); err != nil {
			return nil, err
		}
	}
	for _, s := range rec.sections {
		for _, f := range s.refs {
			puts = append(puts, queue.StoredPut{Queue: s.queue, Level: s.level, Seq: f.seq,
				Redelivered: f.redelivered, Expiry: f.expiry, Message: made[f.body]})
		}
	}
	return puts, nil
}

func TestDecodingARecordGivesBackWhatWasEncoded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var e encoder
	for range 200 {
		puts := somePuts(t, r)
		got, err := decodePuts(e.record(9, 1_700_000_000_000, puts, noID))
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(puts) {
			t.Fatalf("got %d puts, want %d", len(got), len(puts))
		}
		for i := range puts {
			want, have := puts[i], got[i]
			if !sameMessage(have.Message, want.Message) {
				t.Fatalf("put %d: got message %+v, want %+v", i, have.Message, want.Message)
			}
			want.Message, have.Message = nil, nil
			if have != want {
				t.Fatalf("put %d: got %+v, want %+v", i, have, want)
			}
		}
	}
}

func sameMessage(a, b *message.Message) bool {
	return a.Exchange == b.Exchange && a.RoutingKey == b.RoutingKey && a.Dead == b.Dead &&
		a.Persistent == b.Persistent && a.Expiration == b.Expiration && a.Priority == b.Priority &&
		bytes.Equal(a.Properties(), b.Properties()) && bytes.Equal(a.Body(), b.Body()) &&
		reflect.DeepEqual(a.More, b.More)
}

func TestMessageKeepsItsKeysAndFlags(t *testing.T) {
	m, err := message.New(message.Content{
		Exchange: "", RoutingKey: "primary", Properties: []byte{0, 0}, Body: nil, Dead: true,
		More: &message.MoreKeys{CC: []string{"c1", ""}, BCC: []string{"b1"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var e encoder
	got, err := decodePuts(e.record(1, 5, []queue.StoredPut{{Queue: 1, Seq: 1, Message: m}}, noID))
	if err != nil {
		t.Fatal(err)
	}
	if !sameMessage(got[0].Message, m) {
		t.Errorf("got %+v, want %+v", got[0].Message, m)
	}
}

// S-17: a journal record has a body once, however many queues it reached.
func TestBodyInSeveralQueuesIsEncodedOnce(t *testing.T) {
	m := msg(t, strings.Repeat("x", 10_000))
	var puts []queue.StoredPut
	for id := range queue.ID(10) {
		puts = append(puts, queue.StoredPut{Queue: id + 1, Seq: 1, Message: m})
	}
	var e encoder
	b := e.record(1, 0, puts, noID)
	rec, err := parseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	if len(rec.bodies) != 1 || len(b) > 10_500 {
		t.Errorf("got %d bodies in %d bytes, want one", len(rec.bodies), len(b))
	}
}

// S-14: expiry and flags belong to the reference, payload length and publish time to the
// body, and all of them are in the directory.
func TestDirectoryTellsExpiryAndLengthWithoutABody(t *testing.T) {
	m := msg(t, "hello")
	var e encoder
	b := e.record(1, 1000, []queue.StoredPut{
		{Queue: 1, Seq: 1, Message: m, Expiry: 2000},
		{Queue: 2, Seq: 1, Message: m, Expiry: 900, Redelivered: true},
	}, noID)
	rec, err := parseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	r1, r2, body := rec.sections[0].refs[0], rec.sections[1].refs[0], rec.bodies[0]
	if r1.expiry != 2000 || r2.expiry != 900 || r1.redelivered || !r2.redelivered {
		t.Errorf("got references %+v and %+v", r1, r2)
	}
	if body.payload != 5 || body.published != 1000 {
		t.Errorf("got a payload of %d bytes published at %d, want 5 at 1000", body.payload, body.published)
	}
}

// Bodies that went to many queues have many more references than the directory has bytes,
// because those in a row are only counted. The record is as good as any.
func TestRecordOfMessagesForManyQueuesIsRead(t *testing.T) { // B3
	f := func(queues, messages int) {
		t.Helper()
		all := msgs(t, messages, 20)
		var puts []queue.StoredPut
		for id := range queues {
			for i, m := range all {
				puts = append(puts, queue.StoredPut{Queue: queue.ID(id + 1), Seq: uint64(i + 1), Message: m})
			}
		}
		var e encoder
		b := e.record(1, 0, puts, noID)
		got, err := decodePuts(b)
		if err != nil || len(got) != len(puts) {
			t.Fatalf("%d queues, %d messages: got %d puts in %d bytes, %v, want %d", queues, messages, len(got), len(b), err, len(puts))
		}
		for i := range puts {
			if got[i].Queue != puts[i].Queue || got[i].Seq != puts[i].Seq || !sameMessage(got[i].Message, puts[i].Message) {
				t.Fatalf("%d queues, %d messages: got %+v, want %+v", queues, messages, got[i], puts[i])
			}
		}
	}
	f(2, 1)
	f(300, 1)
	f(100, 64)
	f(100, 500)
	f(3, 5000)
}

// Messages that came the same way are stored with one meta, but not so many that one
// damaged byte would cost all of them.
func TestDamagedMetaCostsAFewMessages(t *testing.T) { // E12
	var e encoder
	var puts []queue.StoredPut
	for i, m := range msgs(t, 1000, 20) {
		puts = append(puts, queue.StoredPut{Queue: 1, Seq: uint64(i + 1), Message: m})
	}
	b := e.record(1, 0, puts, noID)
	if most := 1000*(20+6) + 1000; len(b) > most {
		t.Errorf("got %d bytes for 1000 messages of 20, want %d at most", len(b), most)
	}
	rec, err := parseRecord(b)
	if err != nil {
		t.Fatal(err)
	}
	b[rec.bodies[500].meta] ^= 1
	lost := 0
	for i := range rec.bodies {
		if _, _, err := rec.body(b, i); err != nil {
			lost++
		}
	}
	if lost == 0 || lost > maxSameMeta {
		t.Errorf("got %d bodies damaged, want %d at most", lost, maxSameMeta)
	}
}

// A directory may not claim references for which it has no bodies: what reads it makes
// room for them first.
func TestReferencesWithoutBodiesAreNoRecord(t *testing.T) {
	b := append([]byte(nil), make([]byte, headerBytes)...)
	b = append(b, 0, 1, 1, 0, 1)               // base, sections, queue, level, first
	b = binary.AppendUvarint(b, 1<<40)         // references
	b = binary.AppendUvarint(b, 1<<41)         // all of them in a row
	b = append(b, 1, 1, 0, 0, 0, 0, 0, 0, 'x') // bodies
	sealRecord(b, 1, len(b)-1, 0)
	var d damage
	if _, err := parseRecord(b); !errors.As(err, &d) {
		t.Errorf("got %v, want damage", err)
	}
}

func TestStoreFromBeforeTheFirstReleaseIsRefused(t *testing.T) {
	_, err := decodeSchema(appendSchema(schema{version: oldestSchema - 1, minReader: 1}))
	var unknown *newerError
	if !errors.As(err, &unknown) || !strings.Contains(err.Error(), "before the first release") {
		t.Errorf("got %v, want an error that says so", err)
	}
}

func TestUnknownTagOfMetaIsSkipped(t *testing.T) {
	m := msg(t, "b")
	meta := appendTag(nil, 99, "from the future")
	meta = appendMeta(meta, m)
	meta = appendTag(meta, 300, "too")
	got, err := decodeMessage(meta, []byte("b"), func(b []byte) string { return string(b) })
	if err != nil || !sameMessage(got, m) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestFlippedBitAnywhereInARecordIsNoticed(t *testing.T) {
	var e encoder
	puts := somePuts(t, rand.New(rand.NewPCG(3, 4)))
	b := bytes.Clone(e.record(1, 1_700_000_000_000, puts, noID))
	for i := range b {
		if i == 3 {
			continue // flags: bits 0 and 1 only inform
		}
		b[i] ^= 0x10
		if got, err := decodePuts(b); err == nil {
			t.Fatalf("a flipped bit in byte %d of %d was not noticed: %d puts", i, len(b), len(got))
		}
		b[i] ^= 0x10
	}
}

func TestRecordOfANewerFormatIsNotCalledDamaged(t *testing.T) {
	var e encoder
	b := e.record(1, 0, []queue.StoredPut{{Queue: 1, Seq: 1, Message: msg(t, "a")}}, noID)
	b[2] = recordVersion + 1
	_, err := parseRecord(b)
	var newer *newerError
	if !errors.As(err, &newer) {
		t.Errorf("got %v, want an error that names a newer format", err)
	}
}

func FuzzRecord(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		var e encoder
		f.Add(bytes.Clone(e.record(1, 1_700_000_000_000, somePuts(f, r), noID)), true)
	}
	f.Add(encodePart([]byte("part")), false)
	f.Fuzz(func(t *testing.T, b []byte, seal bool) {
		if seal && len(b) >= headerBytes {
			// Give what the fuzzer made right checksums, or it never gets past them.
			b = bytes.Clone(b)
			dirEnd := min(max(headerBytes, int(b[19])|int(b[18])<<8), len(b))
			sealRecord(b, 1, dirEnd, 0)
		}
		puts, err := decodePuts(b)
		if err != nil {
			return
		}
		for i := range puts {
			if puts[i].Message == nil {
				t.Fatalf("put %d of %d has no message", i, len(puts))
			}
		}
	})
}
