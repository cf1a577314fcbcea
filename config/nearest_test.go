package config

import "testing"

func TestNearestKey(t *testing.T) {
	f := func(key, want string) {
		t.Helper()
		if got, _ := nearest(key, knownKeys()); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
	f("data-dir", "data_dir")
	f("datadir", "data_dir")
	f("lsiten", "listen")
	f("amqp.frameMax", "amqp.frame_max")
	f("heartbeat", "amqp.heartbeat")
	f("store.heartbeat", "amqp.heartbeat")
	f("amqp.channels_max", "amqp.channel_max")
	f("logs", "log")
	f("log.levl", "log.level")
	f("exchanges", "topology.exchanges")
}

func TestEditDistance(t *testing.T) {
	f := func(a, b string, want int) {
		t.Helper()
		if got := editDistance(a, b); got != want {
			t.Errorf("%q to %q: got %d, want %d", a, b, got, want)
		}
		if got := editDistance(b, a); got != want {
			t.Errorf("%q to %q: got %d, want %d", b, a, got, want)
		}
	}
	f("", "", 0)
	f("", "abc", 3)
	f("abc", "abc", 0)
	f("abc", "abd", 1)
	f("abc", "acb", 1)
	f("abc", "bc", 1)
	f("kitten", "sitting", 3)
}
