package node

import (
	"testing"

	"github.com/leveretmq/leveret/config"
)

func TestAQuarterOfTheConnectionsMayNotHaveLoggedIn(t *testing.T) { // A22
	f := func(unauthenticated, connections int, files int64, want int) {
		t.Helper()
		if got := mostNewcomers(config.AMQP{MaxUnauthenticated: unauthenticated, MaxConnections: connections}, files); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	f(0, 1000, 1<<20, 250)
	f(0, 2, 1<<20, 1)
	f(7, 1000, 1<<20, 7)
	f(0, 0, 4512, 1000)
	f(0, 0, 600, 22)
	f(0, 0, 100, 16)
	f(0, 0, -1, 1000)
	f(0, 0, 1<<62, 1<<28)
}
