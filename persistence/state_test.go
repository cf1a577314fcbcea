package persistence

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/leveretmq/leveret/queue"
)

func TestStateMarkerAndRunComeBackAsWritten(t *testing.T) {
	s := levelState{head: 1, next: 1 << 60, deliveredTo: 77, hadConsumer: true, run: 9}
	if got, err := decodeState(appendState(nil, s)); err != nil || got != s {
		t.Errorf("got %+v, %v, want %+v", got, err, s)
	}
	m := marker{group: 5, journalFloor: 3, nextID: 1 << 50}
	if got, err := decodeMarker(appendMarker(nil, m)); err != nil || got != m {
		t.Errorf("got %+v, %v, want %+v", got, err, m)
	}
	for _, r := range []run{{1, true}, {2, false}} {
		if got, err := decodeRun(appendRun(nil, r)); err != nil || got != r {
			t.Errorf("got %+v, %v, want %+v", got, err, r)
		}
	}
	c := schema{version: oldestSchema, minReader: 1, node: [16]byte{1, 2}, created: 99}
	if got, err := decodeSchema(appendSchema(c)); err != nil || got != c {
		t.Errorf("got %+v, %v, want %+v", got, err, c)
	}
}

func TestNewerFormatsAreRefusedByName(t *testing.T) {
	f := func(what string, err error) {
		t.Helper()
		var newer *newerError
		if !errors.As(err, &newer) {
			t.Errorf("%s: got %v, want an error about a newer program", what, err)
		}
	}
	b := appendState(nil, levelState{})
	b[0] = 2
	_, err := decodeState(b)
	f("state", err)
	_, err = decodeState(appendState(nil, levelState{purgeFloor: 4}))
	f("purge floor", err)
	_, err = decodeSchema(appendSchema(schema{version: 9, minReader: schemaVersion + 1}))
	f("schema", err)
	_, err = decodeMetadata(kindVHost, []byte{9})
	f("declaration", err)
	_, err = decodeMetadata(99, []byte{metadataVersion})
	f("kind", err)
}

func TestPageTakesTheShorterFormAndComesBack(t *testing.T) {
	f := func(what string, fill func(p *queue.Page), kind byte) {
		t.Helper()
		var p, got queue.Page
		fill(&p)
		b := appendPage(nil, &p.Bits)
		if len(b) > pageBitmapBytes+1 || b[0] != kind {
			t.Errorf("%s: got %d bytes of kind %d, want kind %d", what, len(b), b[0], kind)
		}
		if err := decodePage(b, &got.Bits); err != nil || got != p {
			t.Errorf("%s: came back different: %v", what, err)
		}
	}
	set := func(p *queue.Page, i int) { p.Bits[i/64] |= 1 << (i % 64) }
	f("empty", func(*queue.Page) {}, pageRanges)
	f("full", func(p *queue.Page) {
		for i := range queue.PagePositions {
			set(p, i)
		}
	}, pageRanges)
	f("last alone", func(p *queue.Page) { set(p, queue.PagePositions-1) }, pageRanges)
	f("every other", func(p *queue.Page) {
		for i := 0; i < queue.PagePositions; i += 2 {
			set(p, i)
		}
	}, pageBitmap)
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		few := r.IntN(500)
		f("few", func(p *queue.Page) {
			for range few {
				set(p, r.IntN(queue.PagePositions))
			}
		}, pageRanges)
	}
}

func FuzzPage(f *testing.F) {
	var p queue.Page
	p.Bits[3] = 0xF0F0
	f.Add(appendPage(nil, &p.Bits))
	f.Add([]byte{pageRanges, 0, 0xFF, 0xFF, 0x7F})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p, again queue.Page
		if decodePage(b, &p.Bits) != nil {
			return
		}
		if err := decodePage(appendPage(nil, &p.Bits), &again.Bits); err != nil || again != p {
			t.Fatalf("a page that was read does not survive being written: %v", err)
		}
	})
}
