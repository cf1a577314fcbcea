package config

import (
	"reflect"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	f := func(text string, want Size) {
		t.Helper()
		got, err := ParseSize(text)
		if err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
		if back, err := ParseSize(got.String()); err != nil || back != got {
			t.Errorf("%q: wrote %q, which reads as %d, %v", text, got, back, err)
		}
	}
	f("0", 0)
	f("4096", 4096)
	f("4096B", 4096)
	f("64KiB", 64<<10)
	f("64 MiB", 64<<20)
	f("1GB", 1_000_000_000)
	f("1gib", 1<<30)
	f("2k", 2048)
	f("2M", 2<<20)
	f("2kB", 2000)
	f("1.5GiB", 3<<29)
	f("0.5kB", 500)
	f("9223372036854775807", 1<<63-1)

	bad := func(text string) {
		t.Helper()
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
	bad("")
	bad("MiB")
	bad("-1")
	bad("12x")
	bad("1.2.3")
	bad("1.5")
	bad("0.0001KiB")
	bad("9223372036854775808")
	bad("99999999999GiB")
	bad("1e3")
}

func TestSizeIsWrittenInTheLargestWholeUnit(t *testing.T) {
	f := func(s Size, want string) {
		t.Helper()
		if got := s.String(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(0, "0")
	f(100, "100")
	f(128*KiB, "128KiB")
	f(16*MiB, "16MiB")
	f(3*GiB, "3GiB")
	f(1025, "1025")
}

func TestDurationsHaveUnitsOrThoseRabbitMQGivesThem(t *testing.T) {
	f := func(text string, heartbeat, handshake time.Duration) {
		t.Helper()
		c := load(t, text)
		if c.AMQP.Heartbeat != heartbeat || c.AMQP.HandshakeTimeout != handshake {
			t.Errorf("%s: got heartbeat %v and handshake_timeout %v, want %v and %v",
				text, c.AMQP.Heartbeat, c.AMQP.HandshakeTimeout, heartbeat, handshake)
		}
	}
	f("amqp: {heartbeat: 30, handshake_timeout: 5000}", 30*time.Second, 5*time.Second)
	f("amqp: {heartbeat: 30s, handshake_timeout: 5s}", 30*time.Second, 5*time.Second)
	f("amqp: {heartbeat: 1m30s, handshake_timeout: 1500ms}", 90*time.Second, 1500*time.Millisecond)
	f("amqp: {heartbeat: 0, handshake_timeout: 10m}", 0, 10*time.Minute)

	refused(t, "amqp: {heartbeat: soon}", "amqp.heartbeat", "soon", "not a duration")
	refused(t, "amqp: {heartbeat: 1500ms}", "amqp.heartbeat", "whole number of seconds")
	refused(t, "shutdown_timeout: -1s", "shutdown_timeout", "below the minimum 0s")
}

func TestDurationsAreWrittenShort(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := showDuration(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(0, "0s")
	f(10*time.Second, "10s")
	f(time.Minute, "60s")
	f(250*time.Millisecond, "250ms")
	f(150*time.Second, "2m30s")
	f(10*time.Minute, "10m")
	f(time.Hour, "1h")
	f(time.Hour+10*time.Minute, "1h10m")
	f(10*time.Hour+5*time.Second, "10h0m5s")
}

func TestSwitchesAreTrueOrFalse(t *testing.T) {
	f := func(text string, want bool) {
		t.Helper()
		if got := load(t, text).DelayedDefaultExchange; got != want {
			t.Errorf("%s: got %v, want %v", text, got, want)
		}
	}
	f("delayed_default_exchange: true", true)
	f(`delayed_default_exchange: "true"`, true)
	f("delayed_default_exchange: false", false)
	f("listen: off", false)
	refused(t, "delayed_default_exchange: 1", "delayed_default_exchange", "neither true nor false")
}

func TestLists(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		got := load(t, text)
		if len(got.LoopbackUsers) != len(want) || len(want) > 0 && !reflect.DeepEqual(got.LoopbackUsers, want) {
			t.Errorf("%s: got %q, want %q", text, got.LoopbackUsers, want)
		}
	}
	f("loopback_users: [a, b]", "a", "b")
	f("loopback_users: a, b", "a", "b")
	f("loopback_users: a", "a")
	f("loopback_users: 007", "007")
	f("loopback_users: none")
	f("loopback_users: []")
	f("data_dir: x", "guest")

	refused(t, "loopback_users: [a, none]", "none stands alone")
	refused(t, "loopback_users: a,,b", "empty entry")
	refused(t, "loopback_users: [{a: b}]", "loopback_users", "not a single value")
}

func TestListenersMayBeOffOrPorts(t *testing.T) {
	f := func(text string, want ...string) {
		t.Helper()
		if got := load(t, text).Listen; len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	f("listen: off")
	f("listen: 5673", ":5673")
	f("listen: [5673, '127.0.0.1:0', '[::]:5674']", ":5673", "127.0.0.1:0", "[::]:5674")

	refused(t, "listen: localhost", "listen", "localhost", "not host:port")
	refused(t, "listen: localhost:70000", "listen", "65535")
	refused(t, "metrics_listen: a:b", "metrics_listen", "65535")
}

func TestTextIsTakenAsItIsWritten(t *testing.T) {
	c := load(t, "default_user: 007\ndefault_pass: ' no '\ndefault_vhost: yes\n")
	if c.DefaultUser != "007" || c.DefaultPass != " no " || c.DefaultVHost != "yes" {
		t.Errorf("got %q %q %q, want them as written", c.DefaultUser, c.DefaultPass, c.DefaultVHost)
	}
}

func TestLimitsAreNamedWithTheKeyAndTheFile(t *testing.T) {
	refused(t, "amqp:\n  frame_max: 100\n", "config: amqp.frame_max: 100 is below the minimum 4096", "leveret.yaml:2")
	refused(t, "amqp: {max_message_size: 1GiB}", "amqp.max_message_size: 1GiB is above the maximum 512MiB")
	refused(t, "amqp: {channel_max: 0}", "amqp.channel_max: 0 is below the minimum 1")
	refused(t, "amqp: {channel_max: 65536}", "amqp.channel_max: 65536 is above the maximum 65535")
	refused(t, "amqp: {channel_max: 1.5}", "amqp.channel_max", "not a whole number")
	refused(t, "store: {backend: bader}", `store.backend: "bader" is none of badger, memory`)
	refused(t, "data_dir: ''", "data_dir: is empty")

	_, err := Load(Sources{Environ: []string{"LEVERET_AMQP_FRAME_MAX=100"}})
	if want := "config: amqp.frame_max: 100 is below the minimum 4096 (LEVERET_AMQP_FRAME_MAX)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	_, err = Load(Sources{Flags: parsed(t, "--log-level", "loud")})
	if want := `config: log.level: "loud" is none of trace, debug, info, warn, error (--log-level)`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	c := Default()
	c.AMQP.FrameMax = 100
	if err, want := c.Validate(), "config: amqp.frame_max: 100 is below the minimum 4096"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
