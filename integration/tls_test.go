package integration

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/leveretmq/leveret/amqp"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/brokertest"
	"github.com/leveretmq/leveret/certificates/testca"
	"github.com/leveretmq/leveret/config"
)

// lines is a log that tests read.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// with are the lines in which text stands.
func (l *lines) with(text string) (found []string) {
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

// secure is a broker with TLS, and the authority its certificates come from.
type secure struct {
	*brokertest.Server
	t   *testing.T
	ca  *testca.Authority
	dir string
	log *lines
}

func startSecure(t *testing.T, change func(*config.Config)) *secure {
	t.Helper()
	s := &secure{t: t, ca: testca.New(t), dir: t.TempDir(), log: new(lines)}
	certificate, key := testca.WriteServer(t, s.dir, s.ca.Server())
	ca := testca.Write(t, s.dir, "ca.crt", s.ca.PEM())
	s.Server = brokertest.Start(t, brokertest.InMemory(), brokertest.WithLogger(zerolog.New(s.log).Level(zerolog.InfoLevel)),
		brokertest.WithConfig(func(c *config.Config) {
			c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile = certificate, key, ca
			c.Topology.Users = []config.User{{Name: "app", PasswordHash: noPassword,
				Permissions: []config.Permission{{VHost: "/", Configure: ".*", Write: ".*", Read: ".*"}}}}
			if change != nil {
				change(c)
			}
		}))
	return s
}

// noPassword is the hash of no password that anybody has.
const noPassword = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func verify(how string) func(*config.Config) {
	return func(c *config.Config) { c.TLS.Verify = how }
}

// trust is what a client needs to trust the broker, with its own certificates.
func (s *secure) trust(own ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: "localhost", Certificates: own}
}

// dial connects with the password of guest.
func (s *secure) dial(c *tls.Config) (*amqp.Connection, error) {
	return amqp.DialTLS("amqps://guest:guest@"+s.TLSAddr()+"/", c)
}

// external connects with a certificate alone.
func (s *secure) external(own ...tls.Certificate) (*amqp.Connection, error) {
	return amqp.DialTLS_ExternalAuth("amqps://"+s.TLSAddr()+"/", s.trust(own...))
}

// works has a client publish and get, and closes it.
func (s *secure) works(conn *amqp.Connection, err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	c := onConnection(s.t, conn)
	q, err := c.QueueDeclare("", false, true, true, false, nil)
	c.must(err)
	c.publish("", q.Name, "over TLS")
	if got := c.take(q.Name); len(got) != 1 || string(got[0].Body) != "over TLS" {
		s.t.Errorf("got %d messages, want the one that was published", len(got))
	}
}

// refusedFor wants nobody let in, and one line of the log to say so with why.
func (s *secure) refusedFor(why string, conn *amqp.Connection, err error) {
	s.t.Helper()
	if err == nil {
		conn.Close()
		s.t.Errorf("%s: got a connection", why)
	}
	waitFor(s.t, func() bool { return len(s.log.with(why)) > 0 })
	if found := s.log.with(why); len(found) != 1 {
		s.t.Errorf("got %d lines, want one:\n%s", len(found), strings.Join(found, ""))
	}
}

// waitFor waits for what somebody else is about to do.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	late := time.After(patience)
	for try := time.NewTicker(2 * time.Millisecond); !done(); {
		select {
		case <-try.C:
		case <-late:
			t.Fatalf("it has not come in %v", patience)
		}
	}
}

func TestClientsWorkOverTLS(t *testing.T) { // W-1
	t.Parallel()
	s := startSecure(t, nil)
	s.works(s.dial(s.trust()))
	old := s.trust()
	old.MaxVersion = tls.VersionTLS12
	s.works(s.dial(old))
	s.works(amqp.Dial(s.URL())) // as before

	big := bytes.Repeat([]byte("0123456789abcdef"), 64<<10)
	conn, err := s.dial(s.trust())
	if err != nil {
		t.Fatal(err)
	}
	c := onConnection(t, conn)
	c.queue("big", nil)
	for range 4 {
		c.publish("", "big", string(big))
	}
	for _, d := range c.take("big") {
		if !bytes.Equal(d.Body, big) {
			t.Error("got another body than was published")
		}
	}
	c.must(conn.Close())
}

// TestStalledHandshakeIsCut is row B1.
func TestStalledHandshakeIsCut(t *testing.T) {
	t.Parallel()
	s := startSecure(t, func(c *config.Config) { c.TLS.HandshakeTimeout = 200 * time.Millisecond })
	f := func(stalled func(net.Conn)) {
		t.Helper()
		before := len(s.log.with("took too long"))
		c, err := net.Dial("tcp", s.TLSAddr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		begin := time.Now()
		go stalled(c)
		if err := c.SetReadDeadline(begin.Add(patience)); err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, c)
		if took := time.Since(begin); took < 150*time.Millisecond || took > patience/2 {
			t.Errorf("cut after %v (%v), want 200ms", took, err)
		}
		waitFor(t, func() bool { return len(s.log.with("took too long")) == before+1 })
	}
	f(func(net.Conn) {})
	f(func(c net.Conn) {
		if _, err := c.Write([]byte{0x16, 3, 1, 2, 0, 1}); err != nil {
			t.Error(err)
		}
	})
	f(func(c net.Conn) { // a little at a time makes no difference
		next := time.NewTicker(20 * time.Millisecond)
		defer next.Stop()
		for _, b := range append([]byte{0x16, 3, 1, 2, 0}, make([]byte, 512)...) {
			if _, err := c.Write([]byte{b}); err != nil {
				return
			}
			<-next.C
		}
	})
}

// TestOldTLSIsRefused is row B2.
func TestOldTLSIsRefused(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	f := func(change func(*tls.Config), why string) {
		t.Helper()
		c := s.trust()
		change(c)
		before := len(s.log.with("TLS handshake failed"))
		conn, err := s.dial(c)
		var alert *net.OpError
		if err == nil {
			conn.Close()
			t.Errorf("got a connection")
		} else if !errors.As(err, &alert) || alert.Op != "remote error" {
			t.Errorf("got %v, want an alert", err)
		}
		waitFor(t, func() bool { return len(s.log.with("TLS handshake failed")) > before })
		if lines := s.log.with("TLS handshake failed"); len(lines) != before+1 || !strings.Contains(lines[before], why) {
			t.Errorf("got %q, want one line more, with %q", lines[before:], why)
		}
	}
	f(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS10 }, "unsupported versions")
	f(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }, "unsupported versions")
	f(func(c *tls.Config) {
		c.MaxVersion = tls.VersionTLS12
		c.CipherSuites = []uint16{tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}
	}, "no cipher suite")
}

// TestBadClientCertificateIsRefused is row B3.
func TestBadClientCertificateIsRefused(t *testing.T) {
	t.Parallel()
	const private = "Jane Doe"
	for _, how := range []string{"optional", "required"} {
		var revoked tls.Certificate
		s := startSecure(t, verify(how))
		revoked = s.ca.Client(private)
		crl := testca.Write(t, s.dir, "crl.pem", s.ca.Revoke(time.Now().Add(time.Hour), revoked))
		s = startLike(t, s, func(c *config.Config) { c.TLS.Verify, c.TLS.CRLFile = how, crl })
		refuse := func(why string, own tls.Certificate) {
			t.Helper()
			conn, err := s.dial(s.trust(own))
			s.refusedFor(why, conn, err)
		}
		refuse("has expired", s.ca.Client(private, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
		refuse("is not valid yet", s.ca.Client(private, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }))
		refuse("is not one for clients", s.ca.Server(func(c *x509.Certificate) { c.Subject.CommonName = private }))
		refuse("was revoked", revoked)
		// The broker's list of authorities has a client keep back what comes from another one,
		// so it has to be made to.
		stranger := testca.New(t).Client(private)
		c := s.trust()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil }
		conn, err := s.dial(c)
		s.refusedFor("comes from no authority that is trusted", conn, err)

		elsewhere := s.trust(s.ca.Client(private))
		elsewhere.ServerName = "elsewhere.example"
		conn, err = s.dial(elsewhere)
		s.refusedFor("the client refused", conn, err)

		s.works(s.dial(s.trust(s.ca.Client(private))))
		if strings.Contains(s.log.String(), private) {
			t.Errorf("got the name of a client in the log:\n%s", s.log)
		}
	}
}

// startLike is a broker of the same authority with other settings.
func startLike(t *testing.T, s *secure, change func(*config.Config)) *secure {
	t.Helper()
	next := &secure{t: t, ca: s.ca, dir: s.dir, log: new(lines)}
	next.Server = brokertest.Start(t, brokertest.InMemory(), brokertest.WithLogger(zerolog.New(next.log)),
		brokertest.WithConfig(func(c *config.Config) {
			c.TLS.CertFile, c.TLS.KeyFile, c.TLS.CAFile = filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key"), filepath.Join(s.dir, "ca.crt")
			change(c)
		}))
	return next
}

// TestCertificateLogsIn is C-4, and row B4 for those who have one.
func TestCertificateLogsIn(t *testing.T) {
	t.Parallel()
	var refused sync.WaitGroup // which takes three seconds each (C-9)
	defer refused.Wait()
	for _, how := range []string{"optional", "required"} {
		s := startSecure(t, verify(how))
		app := s.ca.Client("app")
		s.works(s.external(app))
		s.works(s.dial(s.trust(app))) // who has a certificate may log in with a password

		conn, err := s.external(app)
		if err != nil {
			t.Fatal(err)
		}
		var got []map[string]any
		s.api("/api/connections", &got)
		if len(got) != 1 || got[0]["user"] != "app" || got[0]["auth_mechanism"] != "EXTERNAL" || got[0]["ssl"] != true ||
			got[0]["ssl_protocol"] != "tlsv1.3" || got[0]["peer_cert_subject"] != "CN=app" || got[0]["peer_cert_issuer"] != "CN=Authority of a test" {
			t.Errorf("got %v", got)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		for _, nobody := range []string{"nobody", "*", "App", ".*", "app,app", ""} { // B5
			own := s.ca.Client(nobody)
			refused.Go(func() {
				if _, err := s.external(own); !errors.Is(err, amqp.ErrCredentials) {
					t.Errorf("%q: got %v, want it refused", nobody, err)
				}
			})
		}
	}
}

// api asks the management API.
func (s *secure) api(path string, into any) {
	s.t.Helper()
	a, err := s.ask(path, "guest")
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	if err := json.NewDecoder(a.Body).Decode(into); err != nil || a.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: got %s, %v", path, a.Status, err)
	}
}

// ask asks it as guest, with a password.
func (s *secure) ask(path, password string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, s.ManagementURL()+path, nil)
	if err != nil {
		return nil, err
	}
	r.SetBasicAuth("guest", password)
	return http.DefaultClient.Do(r)
}

// TestExternalWithoutACertificateIsRefused is row B4.
func TestExternalWithoutACertificateIsRefused(t *testing.T) {
	t.Parallel()
	s := startSecure(t, verify("required"))
	conn, err := s.external()
	s.refusedFor("didn't provide a certificate", conn, err)

	var silent sync.WaitGroup // for three seconds each (C-10)
	defer silent.Wait()
	for _, how := range []string{"none", "optional"} {
		s := startSecure(t, verify(how))
		var own []tls.Certificate
		if how == "none" {
			own = []tls.Certificate{s.ca.Client("app")} // nobody looks at it
		}
		if _, err := s.external(own...); !errors.Is(err, amqp.ErrSASL) {
			t.Errorf("%s: got %v, want EXTERNAL not offered", how, err)
		}
		// A client that tries all the same, and one over plain TCP.
		for _, c := range []net.Conn{s.raw(), s.plain()} {
			silent.Go(func() {
				got, err := converse(c, &wire.ConnectionStartOk{Mechanism: "EXTERNAL", Response: "guest", Locale: "en_US",
					ClientProperties: wire.Table{{Name: "capabilities", Value: wire.Table{{Name: "authentication_failure_close", Value: true}}}}})
				if !slices.Equal(got, []string{"connection.start"}) || err != nil {
					t.Errorf("%s: got %q, %v, want silence", how, got, err)
				}
			})
		}
	}
}

func (s *secure) raw() net.Conn {
	s.t.Helper()
	c, err := tls.Dial("tcp", s.TLSAddr(), s.trust())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

func (s *secure) plain() net.Conn {
	s.t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// converse greets, says m, and returns the names of what comes until the broker ends it.
func converse(c net.Conn, m wire.Method) (names []string, err error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	if _, err := c.Write(wire.AppendMethod([]byte(wire.ProtocolHeader), 0, m)); err != nil {
		return nil, err
	}
	b, err := io.ReadAll(c)
	if errors.Is(err, io.ErrUnexpectedEOF) { // no goodbye from TLS either
		err = nil
	}
	for len(b) > 0 && err == nil {
		f, n, err := wire.ParseFrame(b, 0)
		if err != nil || n == 0 {
			return names, fmt.Errorf("%q: %w", b, err)
		}
		class, id := f.MethodID()
		names = append(names, wire.NewMethod(class, id).Name())
		b = b[n:]
	}
	return names, err
}

// TestOddCertificatesAreRefusedOrExact is row B5.
func TestOddCertificatesAreRefusedOrExact(t *testing.T) {
	t.Parallel()
	s := startSecure(t, verify("required"))
	long := s.ca.Client("app", func(c *x509.Certificate) {
		for i := range 64 << 10 / 32 {
			c.DNSNames = append(c.DNSNames, fmt.Sprintf("%024d.example", i))
		}
	})
	if len(long.Certificate[0]) < 64<<10 {
		t.Fatalf("got a certificate of %d bytes", len(long.Certificate[0]))
	}
	s.works(s.external(long))
	zero := s.ca.Client("app\x00.example")
	if _, err := s.external(zero); !errors.Is(err, amqp.ErrCredentials) {
		t.Errorf("got %v for a name with NUL", err)
	}
	s.works(s.dial(s.trust(zero)))
}

// TestReplacedCertificateIsForNewConnections is row B7.
func TestReplacedCertificateIsForNewConnections(t *testing.T) {
	t.Parallel()
	s := startSecure(t, func(c *config.Config) { c.TLS.ReloadInterval = 0 })
	shown := func() *x509.Certificate {
		t.Helper()
		c, _ := s.raw().(*tls.Conn)
		return c.ConnectionState().PeerCertificates[0]
	}
	conn, err := s.dial(s.trust())
	if err != nil {
		t.Fatal(err)
	}
	old := onConnection(t, conn)
	old.queue("q", nil)
	first := shown()

	testca.Write(t, s.dir, "tls.crt", []byte("-----BEGIN CERTIFICATE-----\nMIIB"))
	s.Reload()
	if !shown().Equal(first) || len(s.log.with(`"level":"warn"`)) != 1 {
		t.Errorf("got another certificate, or this log:\n%s", s.log)
	}
	second := s.ca.Server()
	testca.WriteServer(t, s.dir, second)
	s.Reload()
	if !shown().Equal(second.Leaf) {
		t.Error("got the old certificate")
	}
	s.works(s.dial(s.trust()))
	old.publish("", "q", "still here")
	old.must(conn.Close())
	metrics := s.metrics()
	for _, want := range []string{
		"leveret_tls_certificates_replaced_total 1", "leveret_tls_certificates_refused_total 1",
		fmt.Sprintf("leveret_tls_certificate_not_after_seconds %g", float64(second.Leaf.NotAfter.Unix())),
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("got no %s among the metrics", want)
		}
	}
}

func (s *secure) metrics() string {
	s.t.Helper()
	a, err := http.Get(s.MetricsURL())
	if err != nil {
		s.t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// byBytes writes each byte as a record of its own.
type byBytes struct{ *tls.Conn }

func (c byBytes) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// TestRecordsOfOneByteAreTaken is row B8.
func TestRecordsOfOneByteAreTaken(t *testing.T) {
	s := startSecure(t, nil)
	raw, _ := s.raw().(*tls.Conn)
	conn, err := amqp.Open(byBytes{raw}, amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "guest", Password: "guest"}}, Vhost: "/"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := onConnection(t, conn)
	c.queue("q", nil)
	body := strings.Repeat("x", 32<<10)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	c.publish("", "q", body)
	runtime.ReadMemStats(&after)
	if got := c.take("q"); len(got) != 1 || string(got[0].Body) != body {
		t.Errorf("got %d messages, want the one", len(got))
	}
	// What both ends have allocated for it, client and test included.
	if got := after.TotalAlloc - before.TotalAlloc; got > uint64(100*len(body)) {
		t.Errorf("got %d bytes allocated for a body of %d", got, len(body))
	}
}

// TestWrongProtocolOnAPortIsCut is row A4.
func TestWrongProtocolOnAPortIsCut(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	if _, err := amqp.Dial("amqp://guest:guest@" + s.TLSAddr() + "/"); err == nil {
		t.Error("got a connection without TLS where TLS is spoken")
	}
	if _, err := amqp.DialTLS("amqps://guest:guest@"+s.Addr()+"/", s.trust()); err == nil {
		t.Error("got a connection with TLS where it is not spoken")
	}
	for _, line := range []string{"the client does not speak TLS", "client speaks TLS, on a port without it"} {
		waitFor(t, func() bool { return len(s.log.with(line)) == 1 })
	}
	s.works(s.dial(s.trust()))
}

func TestManagementIsAnsweredOverTLS(t *testing.T) { // API-1
	t.Parallel()
	f := func(how string, own bool, fine bool) {
		t.Helper()
		s := startSecure(t, func(c *config.Config) { c.TLS.ManagementVerify = how })
		c := s.trust()
		if own {
			c = s.trust(s.ca.Client("anybody"))
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: c}}
		defer client.CloseIdleConnections()
		ask := func(user string) (int, error) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.ManagementTLSURL()+"/api/overview", nil)
			if err != nil {
				t.Fatal(err)
			}
			r.SetBasicAuth(user, "guest")
			a, err := client.Do(r)
			if err != nil {
				return 0, err
			}
			var o struct{ Listeners []struct{ Protocol string } }
			if err := json.NewDecoder(a.Body).Decode(&o); err != nil {
				return 0, err
			}
			if user == "guest" {
				var all []string
				for _, l := range o.Listeners {
					all = append(all, l.Protocol)
				}
				if want := []string{"amqp", "amqp/ssl", "http", "https", "http/prometheus"}; !slices.Equal(all, want) {
					t.Errorf("got listeners %q, want %q", all, want)
				}
			}
			return a.StatusCode, a.Body.Close()
		}
		status, err := ask("guest")
		if fine != (err == nil && status == http.StatusOK) {
			t.Errorf("%s: got %d, %v", how, status, err)
		}
		if !fine {
			return
		}
		// A certificate is no login there.
		if status, err := ask("app"); status != http.StatusUnauthorized || err != nil {
			t.Errorf("%s: got %d, %v", how, status, err)
		}
	}
	f("none", false, true)
	f("optional", false, true)
	f("optional", true, true)
	f("required", true, true)
	f("required", false, false)
}

func TestCertificateThatEndsSoonFailsItsHealthCheck(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil) // its certificate is good for a day
	status := func(path string) int {
		t.Helper()
		a, err := s.ask(path, "guest")
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		return a.StatusCode
	}
	for path, want := range map[string]int{
		"0/days": 200, "2/days": 503, "1/weeks": 503, "1/months": 503, "1/years": 503, "1/hours": 400, "x/days": 400,
	} {
		if got := status("/api/health/checks/certificate-expiration/" + path); got != want {
			t.Errorf("%s: got %d, want %d", path, got, want)
		}
	}
	if got := status("/api/health/checks/protocol-listener/amqp%2Fssl"); got != http.StatusOK {
		t.Errorf("got %d for the listener with TLS", got)
	}
}

func TestShutdownDoesNotWaitForHandshakes(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	c, err := net.Dial("tcp", s.TLSAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	waitFor(t, func() bool { return strings.Contains(s.metrics(), "leveret_connections_unauthenticated 1\n") })
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() { s.Close(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		t.Error("the broker waits for a client that has said nothing")
	}
}
