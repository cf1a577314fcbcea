package broker

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leveretmq/leveret/auth"
)

// TestWrongLoginsFromAnAddressAreLimited is row A16.
func TestWrongLoginsFromAnAddressAreLimited(t *testing.T) {
	n := newNode(t)
	n.b.options.LoginRate = 3
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(from, password string, heard, first bool, right bool) {
		t.Helper()
		err := n.b.LogIn(now, auth.Credentials{User: "guest", Password: password}, netip.MustParseAddr(from), true)
		var unheard *TooManyLogins
		if errors.As(err, &unheard) == heard || !heard && unheard.First != first || (err == nil) != right || err != nil && !errors.Is(err, auth.ErrRefused) {
			t.Errorf("%s %s: got %v", from, password, err)
		}
	}
	right := func(from string) { t.Helper(); f(from, "guest", true, false, true) }
	wrong := func(from string) { t.Helper(); f(from, "wrong", true, false, false) }
	for range 5 {
		right("192.0.2.1") // right ones do not count
	}
	wrong("192.0.2.1")
	wrong("::ffff:192.0.2.1")
	right("192.0.2.1")
	wrong("192.0.2.1")
	f("192.0.2.1", "guest", false, true, false)
	f("192.0.2.1", "wrong", false, false, false)
	right("192.0.2.2") // others can log in

	for _, from := range []string{"2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"} {
		wrong(from)
	}
	f("2001:db8::4", "guest", false, true, false) // which is the same machine, as far as anybody knows
	right("2001:db8:0:1::1")

	now = now.Add(time.Second)
	right("192.0.2.1")
	if len(n.b.logins.of) != 0 {
		t.Errorf("got %v remembered of a second that is over", n.b.logins.of)
	}
	if got := n.b.Counters.LoginsUnheard.Load(); got != 3 {
		t.Errorf("got %d logins counted that were not looked at, want 3", got)
	}
	n.b.options.LoginRate = 0
	for range 5 {
		wrong("192.0.2.9")
	}
}

// TestFewPasswordsAreLookedAtTogether is row A16: what hashing costs is bounded.
func TestFewPasswordsAreLookedAtTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l logins
		l.init(2)
		var looking atomic.Int64
		done := make(chan struct{})
		for range 5 {
			go func() {
				l.begin()
				looking.Add(1)
				<-done
				looking.Add(-1)
				l.end()
			}()
		}
		for left := 5; left > 0; left-- {
			synctest.Wait()
			if got, want := looking.Load(), int64(min(2, left)); got != want {
				t.Errorf("got %d at a time with %d to go, want %d", got, left, want)
			}
			done <- struct{}{}
		}
	})
}

// certificate has the common name given.
func certificate(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	der, err := asn1.Marshal(pkix.Name{CommonName: name}.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{RawSubject: der}
}

// TestExternalIsForThoseWithACertificate is rows B4 and B5, and rule C-4.
func TestExternalIsForThoseWithACertificate(t *testing.T) {
	n := newNode(t)
	if _, err := n.b.PutUser(auth.User{Name: "app"}); err != nil { // no password logs it in
		t.Fatal(err)
	}
	if got := n.b.Mechanisms(false); !slices.Equal(got, []string{"PLAIN", "AMQPLAIN"}) {
		t.Errorf("got %q offered to whoever has no certificate", got)
	}
	if got := n.b.Mechanisms(true); !slices.Equal(got, []string{"PLAIN", "AMQPLAIN", "EXTERNAL"}) {
		t.Errorf("got %q offered to whoever has one", got)
	}
	f := func(c *x509.Certificate, response string, loopback bool, user string, want error) {
		t.Helper()
		got, err := n.b.Authenticate(time.Time{}, Login{Mechanism: "EXTERNAL", Response: []byte(response), Loopback: loopback, Certificate: c})
		if got != user || !errors.Is(err, want) {
			t.Errorf("got %q, %v; want %q, %v", got, err, user, want)
		}
	}
	f(certificate(t, "app"), "", false, "app", nil)
	f(certificate(t, "app"), "guest", false, "app", nil) // who it says it wants to be counts for nothing
	f(certificate(t, "app"), "\x00guest\x00guest", true, "app", nil)
	f(certificate(t, "guest"), "", true, "guest", nil)
	f(certificate(t, "guest"), "", false, "", auth.ErrRefused) // C-11
	f(certificate(t, "nobody"), "", true, "", auth.ErrRefused)
	f(certificate(t, "*"), "", true, "", auth.ErrRefused)
	f(certificate(t, "App"), "", true, "", auth.ErrRefused)
	f(certificate(t, "app\x00.example"), "", true, "", auth.ErrRefused)
	f(certificate(t, ""), "", true, "", auth.ErrRefused)
	f(nil, "", true, "", auth.ErrMalformed)
	f(nil, "guest", true, "", auth.ErrMalformed)

	n.b.options.Mechanisms = []string{"EXTERNAL"}
	f(certificate(t, "app"), "", false, "app", nil)
	_, err := n.b.Authenticate(time.Time{}, Login{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Loopback: true, Certificate: certificate(t, "guest")})
	if !errors.Is(err, auth.ErrMalformed) || len(n.b.Mechanisms(false)) != 0 {
		t.Errorf("got %v, and %q offered without a certificate; passwords are not wanted", err, n.b.Mechanisms(false))
	}
}
