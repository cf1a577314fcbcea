package node

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/config"
)

func TestOnlyLoopbackAddressesAreOfThisMachineAlone(t *testing.T) {
	f := func(want string, addresses ...string) {
		t.Helper()
		var all []net.Addr
		for _, text := range addresses {
			all = append(all, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(text)))
		}
		got := ""
		if a := firstExposed(all); a != nil {
			got = a.String()
		}
		if got != want {
			t.Errorf("got %q of %q, want %q", got, addresses, want)
		}
	}
	f("", "127.0.0.1:5672", "[::1]:5672", "127.8.9.1:1")
	f("0.0.0.0:5672", "127.0.0.1:5672", "0.0.0.0:5672")
	f("[::]:5672", "[::]:5672")
	f("192.0.2.1:5672", "192.0.2.1:5672", "[::]:1")
	f("")
}

func TestEverybodysGuestIsWarnedAbout(t *testing.T) {
	f := func(want bool, change func(*config.Config)) {
		t.Helper()
		c := config.Default()
		c.Store.Backend, c.MetricsListen, c.ManagementListen, c.Listen = "memory", nil, nil, []string{"127.0.0.1:0"}
		change(&c)
		var log bytes.Buffer
		n, err := Start(c, Options{Log: zerolog.New(&log)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := n.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}()
		if got := n.broker.CheckPassword("guest", "guest", false) == nil; got != want {
			t.Errorf("got guest from outside: %v, want %v", got, want)
		}
		if strings.Contains(log.String(), "ANYONE") {
			t.Errorf("got a warning for a broker that only this machine can reach: %s", &log)
		}
	}
	f(false, func(*config.Config) {})
	f(true, func(c *config.Config) { c.LoopbackUsers = nil })
	f(false, func(c *config.Config) { c.LoopbackUsers, c.DefaultPass = nil, "other" })
	f(false, func(c *config.Config) { c.LoopbackUsers, c.DefaultUser = nil, "other" })
}
