package certificates

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/certificates/testca"
)

// store is a Store of files in a directory.
type store struct {
	*Store
	dir string
	ca  *testca.Authority
	log *bytes.Buffer
}

func newStore(t *testing.T) *store {
	t.Helper()
	s := &store{dir: t.TempDir(), ca: testca.New(t), log: new(bytes.Buffer)}
	var f Files
	f.Certificate, f.Key = testca.WriteServer(t, s.dir, s.ca.Server())
	f.CA = testca.Write(t, s.dir, "ca.crt", s.ca.PEM())
	var err error
	if s.Store, err = Load(Options{Files: f, Log: zerolog.New(s.log)}); err != nil {
		t.Fatal(err)
	}
	return s
}

// shake has a client and a server shake hands, and returns what each says of it. A client may
// think well of what its server has refused, so it reads once.
func shake(t *testing.T, server, client *tls.Config) (shown *x509.Certificate, serverErr, clientErr error) {
	t.Helper()
	a, b := socket(t)
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() {
		c := tls.Server(a, server)
		err := c.HandshakeContext(context.Background())
		if err == nil {
			_, err = c.Write([]byte("x"))
		}
		a.Close()
		done <- err
	}()
	c := tls.Client(b, client)
	clientErr = c.Handshake()
	if clientErr == nil {
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			clientErr = err
		}
		shown = c.ConnectionState().PeerCertificates[0]
	}
	b.Close()
	return shown, <-done, clientErr
}

// socket has two ends that do not wait for ever.
func socket(t *testing.T) (a, b net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if a, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if b, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{a, b} {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func (s *store) client(certs ...tls.Certificate) *tls.Config {
	return &tls.Config{RootCAs: s.ca.Pool(), ServerName: "localhost", Certificates: certs}
}

func (s *store) shown(t *testing.T, c *tls.Config) *x509.Certificate {
	t.Helper()
	shown, serverErr, clientErr := shake(t, c, s.client())
	if serverErr != nil || clientErr != nil {
		t.Fatalf("got %v, %v", serverErr, clientErr)
	}
	return shown
}

// TestReplacedFilesAreTaken is row B7.
func TestReplacedFilesAreTaken(t *testing.T) {
	s := newStore(t)
	c := s.Config(None)
	first := s.shown(t, c)

	second := s.ca.Server()
	testca.WriteServer(t, s.dir, second)
	if got := s.shown(t, c); !got.Equal(first) {
		t.Error("got another certificate before anybody looked")
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := s.shown(t, c); !got.Equal(second.Leaf) {
		t.Error("got the old certificate")
	}
	if got := s.Stats(); got.Reloads != 1 || got.Failures != 0 || !got.NotAfter.Equal(second.Leaf.NotAfter) {
		t.Errorf("got %+v", got)
	}
	if err := s.Reload(); err != nil || s.Stats().Reloads != 1 || !strings.Contains(s.log.String(), "have not changed") {
		t.Errorf("got %v, %+v, %s for files that did not change", err, s.Stats(), s.log)
	}
}

// TestSwappedLinksAreTaken is row B7, done as Kubernetes does: the files are links through a
// link that is exchanged.
func TestSwappedLinksAreTaken(t *testing.T) {
	ca, dir := testca.New(t), t.TempDir()
	write := func(n int) tls.Certificate {
		t.Helper()
		version := filepath.Join(dir, fmt.Sprintf("..%d", n))
		if err := os.Mkdir(version, 0o700); err != nil {
			t.Fatal(err)
		}
		c := ca.Server()
		testca.WriteServer(t, version, c)
		next := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(filepath.Base(version), next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		return c
	}
	write(1)
	f := Files{Certificate: filepath.Join(dir, "tls.crt"), Key: filepath.Join(dir, "tls.key")}
	for _, name := range []string{f.Certificate, f.Key} {
		if err := os.Symlink(filepath.Join("..data", filepath.Base(name)), name); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Load(Options{Files: f, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	s := &store{Store: l, ca: ca}
	second := write(2)
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := s.shown(t, s.Config(None)); !got.Equal(second.Leaf) {
		t.Error("got the old certificate")
	}
}

// TestFilesThatCannotBeUsedLeaveTheOld is row B7.
func TestFilesThatCannotBeUsedLeaveTheOld(t *testing.T) {
	s := newStore(t)
	c := s.Config(None)
	first := s.shown(t, c)
	f := s.opts.Files
	certificate, key := testca.PEM(t, s.ca.Server())
	failures := uint64(0)
	bad := func(what string, change func()) {
		t.Helper()
		saved := map[string][]byte{}
		for _, name := range []string{f.Certificate, f.Key, f.CA} {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			saved[filepath.Base(name)] = b
		}
		change()
		s.log.Reset()
		failures++
		for range 3 { // said once, however often it is looked at
			if s.reload(false) == nil {
				t.Errorf("%s: got no error", what)
			}
		}
		if got := s.shown(t, c); !got.Equal(first) {
			t.Errorf("%s: got another certificate", what)
		}
		if got := s.log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"level":"warn"`) || s.Stats().Failures != failures {
			t.Errorf("%s: got %+v and this log, want one warning:\n%s", what, s.Stats(), got)
		}
		if s.Reload() == nil || strings.Count(s.log.String(), "\n") != 2 {
			t.Errorf("%s: got this log, want another warning for whoever asks:\n%s", what, s.log)
		}
		if strings.Contains(s.log.String(), "PRIVATE") {
			t.Errorf("%s: got a key in the log:\n%s", what, s.log)
		}
		for name, b := range saved {
			if err := os.RemoveAll(filepath.Join(s.dir, name)); err != nil {
				t.Fatal(err)
			}
			testca.Write(t, s.dir, name, b)
		}
		s.log.Reset()
		if err := s.reload(false); err != nil || !strings.Contains(s.log.String(), "again") {
			t.Errorf("%s: got %v, %s when it was as before", what, err, s.log)
		}
	}
	bad("half a certificate", func() { testca.Write(t, s.dir, "tls.crt", certificate[:len(certificate)/2]) })
	bad("an empty key", func() { testca.Write(t, s.dir, "tls.key", nil) })
	bad("half a key", func() { testca.Write(t, s.dir, "tls.key", key[:len(key)/2]) })
	bad("a certificate whose key is not there yet", func() { testca.Write(t, s.dir, "tls.crt", certificate) })
	bad("no certificate", func() {
		if err := os.Remove(f.Certificate); err != nil {
			t.Fatal(err)
		}
	})
	bad("a directory", func() {
		if err := errors.Join(os.Remove(f.Key), os.Mkdir(f.Key, 0o700)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWatchTakesWhatIsReplaced is row B7.
func TestWatchTakesWhatIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		s.Watch(10 * time.Second)
		defer s.Close()
		second := s.ca.Server()
		testca.WriteServer(t, s.dir, second)
		time.Sleep(11 * time.Second)
		synctest.Wait()
		if got := s.current.Load().certificate.Leaf; !got.Equal(second.Leaf) {
			t.Error("got the old certificate after a look was due")
		}
	})
}

func TestClientCertificatesAreVerified(t *testing.T) { // B3, B4
	s := newStore(t)
	good, revoked := s.ca.Client("ann"), s.ca.Client("bob")
	crl := testca.Write(t, s.dir, "crl.pem", s.ca.Revoke(time.Now().Add(time.Hour), revoked))
	f := s.opts.Files
	f.CRL = crl
	var err error
	if s.Store, err = Load(Options{Files: f, Log: zerolog.New(s.log)}); err != nil {
		t.Fatal(err)
	}
	check := func(v Verify, why string, certs ...tls.Certificate) {
		t.Helper()
		_, serverErr, clientErr := shake(t, s.Config(v), s.client(certs...))
		if why == "" && (serverErr != nil || clientErr != nil) {
			t.Errorf("got %v, %v", serverErr, clientErr)
		}
		if why != "" && (serverErr == nil || clientErr == nil || Reason(serverErr) != why) {
			t.Errorf("got %v (%v), want %s", serverErr, clientErr, why)
		}
	}
	for _, v := range []Verify{Optional, Required} {
		check(v, "", good)
		check(v, "the client's certificate was revoked", revoked)
		check(v, "the client's certificate comes from no authority that is trusted", testca.New(t).Client("ann"))
		check(v, "the client's certificate has expired", s.ca.Client("ann", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }))
		check(v, "the client's certificate is not valid yet", s.ca.Client("ann", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }))
		check(v, "the client's certificate is not one for clients", s.ca.Server())
	}
	check(Optional, "")
	check(Required, "tls: client didn't provide a certificate")
	check(None, "", revoked) // it is not asked

	// Another host than the client has meant.
	c := s.client()
	c.ServerName = "elsewhere.example"
	_, serverErr, clientErr := shake(t, s.Config(None), c)
	if clientErr == nil || Reason(serverErr) != "the client refused: tls: bad certificate" {
		t.Errorf("got %v, %v", serverErr, clientErr)
	}
}

func TestListOfRevokedCertificatesHasToBeTrusted(t *testing.T) { // B3
	s := newStore(t)
	f := s.opts.Files
	f.CRL = testca.Write(t, s.dir, "crl.pem", testca.New(t).Revoke(time.Now().Add(time.Hour)))
	refuse := func(want string) {
		t.Helper()
		if _, err := Load(Options{Files: f, Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	refuse("not signed by any of the authorities")
	testca.Write(t, s.dir, "crl.pem", nil)
	refuse("there is no list in it")
	list := s.ca.Revoke(time.Now().Add(time.Hour))
	testca.Write(t, s.dir, "crl.pem", append(list[:len(list):len(list)], list[:len(list)/2]...))
	refuse("ends in the middle")
	testca.Write(t, s.dir, "ca.crt", []byte("# nobody\n"))
	refuse("there is no certificate in it")
	testca.Write(t, s.dir, "ca.crt", s.ca.PEM())

	// One that is out of date still revokes what it has.
	bob := s.ca.Client("bob")
	testca.Write(t, s.dir, "crl.pem", s.ca.Revoke(time.Now().Add(-time.Minute), bob))
	old, err := Load(Options{Files: f, Log: zerolog.New(s.log)})
	if err != nil {
		t.Fatal(err)
	}
	if _, serverErr, _ := shake(t, old.Config(Optional), s.client(bob)); !errors.Is(serverErr, ErrRevoked) {
		t.Errorf("got %v", serverErr)
	}
	for range 2 {
		if err := old.reload(false); err != nil {
			t.Error(err)
		}
	}
	if got := strings.Count(s.log.String(), "out of date"); got != 1 {
		t.Errorf("got %d warnings of a list that is out of date, want one:\n%s", got, s.log)
	}
}

func TestOnlyNewVersionsAndGoodCiphersAreSpoken(t *testing.T) { // B2
	s := newStore(t)
	f := func(c *tls.Config, oldest uint16, fine bool) {
		t.Helper()
		client := s.client()
		client.MinVersion, client.MaxVersion, client.CipherSuites = c.MinVersion, c.MaxVersion, c.CipherSuites
		s.opts.MinVersion = oldest
		_, serverErr, clientErr := shake(t, s.Config(None), client)
		if (serverErr == nil) != fine || (clientErr == nil) != fine {
			t.Errorf("%+v: got %v, %v", c.CipherSuites, serverErr, clientErr)
		}
	}
	f(&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, tls.VersionTLS12, false)
	f(&tls.Config{MinVersion: tls.VersionTLS11, MaxVersion: tls.VersionTLS11}, tls.VersionTLS12, false)
	f(&tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS12, true)
	f(&tls.Config{MaxVersion: tls.VersionTLS12}, tls.VersionTLS13, false)
	f(&tls.Config{}, tls.VersionTLS13, true)
	for _, weak := range []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA} {
		f(&tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{weak}}, tls.VersionTLS12, false)
	}
}

func TestReasonsHoldNothingOfTheClients(t *testing.T) {
	f := func(err error, want string) {
		t.Helper()
		if got := Reason(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	secret := &net.OpError{Op: "read", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, Err: errors.New("connection reset by peer")}
	f(secret, "the connection broke")
	f(context.DeadlineExceeded, "the client took too long")
	f(fmt.Errorf("a: %w", io.EOF), "the client closed the socket")
	f(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake", RecordHeader: [5]byte{'A', 'M', 'Q', 'P'}}, "the client does not speak TLS")
	f(x509.UnknownAuthorityError{Cert: &x509.Certificate{}}, "the client's certificate comes from no authority that is trusted")
	f(errors.New(`x509: certificate contains "Jane Doe"`), "the client's certificate cannot be verified")
	f(x509.CertificateInvalidError{Reason: x509.NameMismatch}, "the client's certificate is not valid")
	f(errors.New("tls: no cipher suite supported by both client and server"), "tls: no cipher suite supported by both client and server")
}
