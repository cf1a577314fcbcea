package broker

import (
	"errors"
	"fmt"
	"testing"

	"github.com/leveretmq/leveret/auth"
)

// PERM-8
func TestFirstStartMakesTheDefaultUser(t *testing.T) {
	n := newNode(t)
	check := func(n *node) {
		t.Helper()
		u, err := n.b.Authenticate("PLAIN", []byte("\x00guest\x00guest"), true)
		if u != "guest" || err != nil {
			t.Errorf("got %q, %v", u, err)
		}
		if !n.b.HasTag("guest", auth.Administrator) || n.b.HasTag("guest", auth.Impersonator) {
			t.Errorf("tags: got %v", n.b.Tags("guest"))
		}
		for _, op := range []auth.Operation{auth.Configure, auth.Write, auth.Read} {
			if !n.b.Allowed("guest", "/", op, "anything") || n.b.Allowed("guest", "other", op, "anything") {
				t.Errorf("%v: want / and nothing else", op)
			}
		}
		if got := len(n.v.Exchanges()); got != 7 { // EX-1
			t.Errorf("%d exchanges, want 7", got)
		}
	}
	check(n)
	n = restart(t, n.disk)
	check(n)
	// What was deleted does not come back with the next start.
	n.b.DeleteUser("guest")
	n.disk.commit()
	n = restart(t, n.disk)
	if len(n.b.Users()) != 0 || len(n.b.Permissions()) != 0 {
		t.Errorf("users %v, permissions %v; want none", n.b.Users(), n.b.Permissions())
	}
}

// C-9 to C-11
func TestLoginIsRefusedOrMalformed(t *testing.T) {
	n := newNode(t)
	if _, err := n.b.PutUser(auth.User{Name: "app", PasswordHash: n.b.HashPassword("secret"), Algorithm: auth.SHA256}); err != nil {
		t.Fatal(err)
	}
	f := func(mechanism, response string, loopback bool, want error) {
		t.Helper()
		_, err := n.b.Authenticate(mechanism, []byte(response), loopback)
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s %q: got %v, want %v", mechanism, response, err, want)
		}
	}
	f("PLAIN", "\x00app\x00secret", false, nil)
	f("PLAIN", "\x00app\x00wrong", false, auth.ErrRefused)
	f("PLAIN", "\x00app\x00", false, auth.ErrRefused)
	f("PLAIN", "\x00nobody\x00secret", true, auth.ErrRefused)
	f("PLAIN", "\x00guest\x00guest", false, auth.ErrRefused)
	f("PLAIN", "\x00guest\x00guest", true, nil)
	f("PLAIN", "guest\x00guest\x00guest", true, auth.ErrMalformed)
	f("CRAM-MD5", "", true, auth.ErrMalformed)
}

// C-15
func TestOpeningAVirtualHost(t *testing.T) {
	n := newNode(t)
	if _, err := n.b.PutVHost("other"); err != nil {
		t.Fatal(err)
	}
	f := func(vhost, want string) {
		t.Helper()
		_, err := n.b.Open("guest", vhost)
		refused(t, err, want)
	}
	f("/", "")
	f("", "hard 530 NOT_ALLOWED - vhost  not found")
	f("nowhere", "hard 530 NOT_ALLOWED - vhost nowhere not found")
	f("other", "hard 530 NOT_ALLOWED - access to vhost 'other' refused for user 'guest'")
}

func TestPermissionsNeedAUserAndAVirtualHost(t *testing.T) {
	n := newNode(t)
	f := func(p auth.Permission, fine bool) {
		t.Helper()
		c, err := n.b.PutPermission(p)
		if (err == nil) != fine || (c != nil) != fine {
			t.Errorf("%+v: got %v", p, err)
		}
	}
	f(auth.Permission{User: "nobody", VHost: "/"}, false)
	f(auth.Permission{User: "guest", VHost: "nowhere"}, false)
	f(auth.Permission{User: "guest", VHost: "/", Read: "["}, false)
	if !n.b.Allowed("guest", "/", auth.Read, "q") {
		t.Error("a refused permission took the old one away")
	}
	f(auth.Permission{User: "guest", VHost: "/", Read: "^a"}, true)
	if n.b.Allowed("guest", "/", auth.Write, "a") || !n.b.Allowed("guest", "/", auth.Read, "a") {
		t.Error("the new permission does not hold")
	}
	if n.b.DeletePermission("guest", "/") == nil || n.b.HasAccess("guest", "/") {
		t.Error("the permission is still there")
	}
	if n.b.DeletePermission("guest", "/") != nil {
		t.Error("deleted twice")
	}
	if _, err := n.b.PutUser(auth.User{Name: "u", PasswordHash: "AAAA"}); err == nil {
		t.Error("a hash that is none was taken")
	}
}

// C-33
func TestConnectionsOfADeletedUserAreClosed(t *testing.T) {
	n := newNode(t)
	if _, err := n.b.PutUser(auth.User{Name: "u"}); err != nil {
		t.Fatal(err)
	}
	theirs, others, gone := &session{user: "u"}, &session{user: "guest"}, &session{user: "u"}
	for _, s := range []*session{theirs, gone, others} {
		n.b.Register(s)
	}
	n.b.Unregister(gone)
	if got := fmt.Sprint(len(n.b.Sessions()), n.b.Sessions()[0] == Session(theirs), n.b.Sessions()[1] == Session(others)); got != "2 true true" {
		t.Errorf("sessions: got %s", got)
	}
	n.b.DeleteUser("u")
	refused(t, theirs.closed, "hard 320 CONNECTION_FORCED - user 'u' is deleted")
	if others.closed != nil || gone.closed != nil {
		t.Error("others were closed too")
	}
	if n.b.DeleteUser("u") != nil {
		t.Error("deleted twice")
	}
}

func TestGeneratedNamesRepeatWithTheirEntropy(t *testing.T) {
	a, b := newNode(t), newNode(t)
	first, second := a.b.GeneratedName("amq.ctag-"), a.b.GeneratedName("amq.ctag-")
	if len(first) != len("amq.ctag-")+22 || first == second {
		t.Errorf("got %q and %q", first, second)
	}
	if again := b.b.GeneratedName("amq.ctag-"); again != first {
		t.Errorf("the same entropy gave %q, then %q", first, again)
	}
}
