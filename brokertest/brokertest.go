package brokertest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/node"
)

// Server is a broker that belongs to a test, or to all of a package.
type Server struct {
	t      host
	config config.Config
	log    zerolog.Logger
	ports  []port // to release when the broker does not start again

	mu   sync.Mutex // guards the fields below
	node *node.Node // nil while it does not run
}

// host is what a broker needs of the test that it belongs to.
type host interface {
	Helper()
	Errorf(format string, args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	TempDir() string
}

// Option is something about the broker that is not as usual.
type Option func(*Server)

// InMemory has the broker keep everything in memory: nothing survives Restart, and
// nothing waits for a disk. It confirms and commits like any other.
func InMemory() Option {
	return func(s *Server) { s.config.Store.Backend = "memory" }
}

// WithTopology declares what the section topology of a configuration file would:
//
//	brokertest.WithTopology(`
//	queues:
//	  - name: orders
//	    arguments: {x-max-length: 1000}
//	`)
func WithTopology(yaml string) Option {
	return func(s *Server) {
		s.t.Helper()
		indented := "topology:\n  " + strings.ReplaceAll(yaml, "\n", "\n  ") + "\n"
		file := filepath.Join(s.t.TempDir(), "topology.yaml")
		if err := os.WriteFile(file, []byte(indented), 0o600); err != nil {
			s.t.Fatalf("brokertest: %v", err)
		}
		c, err := config.Load(config.Sources{File: file})
		if err != nil {
			s.t.Fatalf("brokertest: %v", err)
		}
		s.config.Topology = c.Topology
	}
}

// WithConfig has change alter the broker's configuration, which begins as the default
// with addresses and a directory of the test's own.
func WithConfig(change func(*config.Config)) Option {
	return func(s *Server) { change(&s.config) }
}

// WithLogger sends the broker's log to log instead of warnings to the test's output.
func WithLogger(log zerolog.Logger) Option {
	return func(s *Server) { s.log = log }
}

// Start runs a broker until the test ends. When it returns, clients can connect. A broker
// that cannot start fails the test.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	s := run(t, warnings(zerolog.ConsoleTestWriter(t)), opts)
	t.Cleanup(s.Close)
	return s
}

// warnings is a log for people that has only what may be wrong.
func warnings(to func(*zerolog.ConsoleWriter)) zerolog.Logger {
	return zerolog.New(zerolog.NewConsoleWriter(to, func(w *zerolog.ConsoleWriter) {
		w.NoColor, w.PartsExclude = true, []string{zerolog.TimestampFieldName}
	})).Level(zerolog.WarnLevel)
}

// run makes a broker of the options and starts it.
func run(t host, log zerolog.Logger, opts []Option) *Server {
	t.Helper()
	s := &Server{t: t, config: config.Default(), log: log}
	s.config.NodeName = "leveret@brokertest"
	s.config.DataDir = t.TempDir()
	s.config.Listen = []string{anyPort}
	s.config.MetricsListen = []string{anyPort}
	s.config.ManagementListen = []string{anyPort}
	// As in any configuration, these count when there is a certificate.
	s.config.TLS.Listen = []string{anyPort}
	s.config.TLS.ManagementListen = []string{anyPort}
	// Tests are to run where little is left, and to take little.
	s.config.DiskFreeLimit, s.config.Store.Ballast = 64*config.MiB, 0
	// A client of a test that does not answer has no reason to.
	s.config.ShutdownTimeout = time.Second
	for _, o := range opts {
		o(s)
	}
	if err := s.config.Validate(); err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	if err := s.reserve(); err != nil {
		t.Fatalf("brokertest: %v", err)
	}
	if err := s.start(); err != nil {
		t.Fatalf("brokertest: the broker did not start: %v", err)
	}
	return s
}

const anyPort = "127.0.0.1:0"

// reserve has ports of the broker's own take the place of any.
func (s *Server) reserve() error {
	lists := [][]string{s.config.Listen, s.config.MetricsListen, s.config.ManagementListen}
	if s.config.TLS.Enabled() {
		lists = append(lists, s.config.TLS.Listen, s.config.TLS.ManagementListen)
	}
	for _, list := range lists {
		for i, address := range list {
			if address != anyPort {
				continue
			}
			p, address, err := reserve()
			if err != nil {
				return fmt.Errorf("reserving a port: %w", err)
			}
			s.ports, list[i] = append(s.ports, p), address
		}
	}
	return nil
}

// start runs the node and keeps the ports it got, so that clients that connect again after
// Restart find it.
func (s *Server) start() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, err := node.Start(s.config, node.Options{Log: s.log, Version: "brokertest"})
	if err != nil {
		return err
	}
	s.node = n
	s.config.Listen = texts(n.Addresses())
	s.config.MetricsListen = texts(n.MetricsAddresses())
	s.config.ManagementListen = texts(n.ManagementAddresses())
	if s.config.TLS.Enabled() {
		s.config.TLS.Listen = texts(n.TLSAddresses())
		s.config.TLS.ManagementListen = texts(n.ManagementTLSAddresses())
	}
	return nil
}

func texts(addresses []net.Addr) []string {
	var all []string
	for _, a := range addresses {
		all = append(all, a.String())
	}
	return all
}

// Addr is where AMQP clients connect to: host:port. Restart keeps it.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.config.Listen) == 0 {
		return ""
	}
	return s.config.Listen[0]
}

// URL is where AMQP clients connect to, with the default user and virtual host.
func (s *Server) URL() string {
	u := url.URL{
		Scheme: "amqp",
		User:   url.UserPassword(s.config.DefaultUser, s.config.DefaultPass),
		Host:   s.Addr(),
		Path:   "/",
	}
	if v := s.config.DefaultVHost; v != "/" {
		u.Path, u.RawPath = "/"+v, "/"+url.PathEscape(v)
	}
	return u.String()
}

// TLSAddr is where AMQP clients connect to with TLS: host:port, or nothing when the
// configuration has no certificate. Restart keeps it.
func (s *Server) TLSAddr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.config.TLS.Enabled() || len(s.config.TLS.Listen) == 0 {
		return ""
	}
	return s.config.TLS.Listen[0]
}

// ManagementTLSURL is where the management HTTP API is over HTTPS, without /api; nothing when
// the configuration has no certificate.
func (s *Server) ManagementTLSURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.config.TLS.Enabled() || len(s.config.TLS.ManagementListen) == 0 {
		return ""
	}
	return "https://" + s.config.TLS.ManagementListen[0]
}

// Reload has the broker look at the files of TLS, as SIGHUP does.
func (s *Server) Reload() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		s.t.Fatal("brokertest: a broker that does not run is to reload")
	}
	s.node.Reload()
}

// MetricsURL is where Prometheus would look.
func (s *Server) MetricsURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.config.MetricsListen) == 0 {
		return ""
	}
	return fmt.Sprintf("http://%s/metrics", s.config.MetricsListen[0])
}

// ManagementURL is where the management HTTP API is, without /api.
func (s *Server) ManagementURL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.config.ManagementListen) == 0 {
		return ""
	}
	return "http://" + s.config.ManagementListen[0]
}

// Restart stops the broker in good order, as SIGTERM does, and starts it again with what
// is on disk and at the same address. Connections are closed with 320.
func (s *Server) Restart() {
	s.t.Helper()
	s.stop()
	if err := s.start(); err != nil {
		s.t.Fatalf("brokertest: the broker did not start again: %v", err)
	}
}

// Close stops the broker in good order. For one of Start it need not be called, and it may be
// called again.
func (s *Server) Close() {
	s.t.Helper()
	s.stop()
	for _, p := range s.ports {
		p.release()
	}
	s.ports = nil
	if p, ok := s.t.(*program); ok {
		p.removeDirs()
	}
}

func (s *Server) stop() {
	s.t.Helper()
	s.mu.Lock()
	n := s.node
	s.node = nil
	s.mu.Unlock()
	if n == nil {
		return
	}
	if err := n.Stop(context.Background()); err != nil {
		s.t.Errorf("brokertest: the broker did not stop cleanly: %v", err)
	}
}

// SetAlarm raises or clears an alarm by hand, until Restart: while broker.MemoryAlarm or
// broker.DiskAlarm is on, connections that publish get connection.blocked and are not read.
func (s *Server) SetAlarm(a broker.Alarm, on bool) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.node == nil {
		s.t.Fatal("brokertest: an alarm for a broker that does not run")
	}
	s.node.Broker().SetAlarm(a, on)
}
