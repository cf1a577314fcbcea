package persistence

import (
	"math/rand/v2"
	"testing"

	"github.com/leveretmq/leveret/message"
)

func TestMessageTableAgreesWithAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	all := msgs(t, 3000, 1)
	var table messageTable
	for round := range 40 {
		if round == 20 {
			table.round = ^uint32(0) - 3 // it begins again
		}
		n := 1 + r.IntN(len(all))
		table.reset(n)
		want := make(map[*message.Message]uint32)
		for i := range n {
			m := all[r.IntN(len(all))]
			value, there := want[m]
			if !there {
				value = uint32(i)
				want[m] = value
			}
			if got, added := table.add(m, uint32(i)); *got != value || added == there {
				t.Fatalf("round %d: got %d, added %t, want %d, %t", round, *got, added, value, !there)
			}
		}
	}
}
