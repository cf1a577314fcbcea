package broker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/topology"
)

// PERM-8
func TestFirstStartMakesTheDefaultUser(t *testing.T) {
	n := newNode(t)
	check := func(n *node) {
		t.Helper()
		u, err := n.b.Authenticate(time.Time{}, Login{Mechanism: "PLAIN", Response: []byte("\x00guest\x00guest"), Loopback: true})
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
		_, err := n.b.Authenticate(time.Time{}, Login{Mechanism: mechanism, Response: []byte(response), Loopback: loopback})
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
		_, err := n.b.Open(&session{user: "guest", vhost: vhost})
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
	if _, err := n.b.PutPermission(auth.Permission{User: "u", VHost: "/"}); err != nil {
		t.Fatal(err)
	}
	theirs, others, gone := &session{user: "u", vhost: "/"}, &session{user: "guest", vhost: "/"}, &session{user: "u", vhost: "/"}
	for _, s := range []*session{theirs, gone, others} {
		if _, err := n.b.Open(s); err != nil {
			t.Fatal(err)
		}
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

// PERM-7
func TestTopicPermissionsNarrowTheirExchange(t *testing.T) {
	n := newNode(t)
	set := func(exchange, write, read string) {
		t.Helper()
		if _, err := n.b.PutTopicPermission(auth.TopicPermission{User: "guest", VHost: "/", Exchange: exchange, Write: write, Read: read}); err != nil {
			t.Fatal(err)
		}
	}
	f := func(op auth.Operation, exchange, key string, want bool) {
		t.Helper()
		err := n.b.Authorize("guest", "/", Access{Op: op, Kind: binding.Exchange, Name: exchange, Topic: true, Key: key})
		if (err == nil) != want {
			t.Errorf("%v %q on %q: got %v", op, key, exchange, err)
		}
	}
	f(auth.Write, "t", "anything", true)
	set("t", "^a", "^b")
	set("s", "^c", "^d")
	set("t", "^a\\.", "^b")
	n.disk.commit()
	for range 2 {
		f(auth.Write, "t", "a.x", true)
		f(auth.Write, "t", "ax", false)
		f(auth.Read, "t", "a.x", false)
		f(auth.Write, "s", "c", true)
		f(auth.Write, "other", "x", true)
		if got := n.b.TopicPermissions(); len(got) != 2 || got[0].Exchange != "s" || got[1].Write != "^a\\." || !n.b.HasTopicPermissions("guest", "/") {
			t.Errorf("got %+v", got)
		}
		n = restart(t, n.disk)
	}
	only := "s"
	if n.b.DeleteTopicPermission("guest", "/", &only) == nil || n.b.DeleteTopicPermission("guest", "/", &only) != nil {
		t.Error("want one deleted, once")
	}
	f(auth.Write, "s", "x", true)
	f(auth.Write, "t", "x", false)
	if n.b.DeleteTopicPermission("guest", "/", nil) == nil || n.b.HasTopicPermissions("guest", "/") || !n.b.HasAccess("guest", "/") {
		t.Error("want all topic permissions deleted, and the others kept")
	}
	_, err := n.b.PutTopicPermission(auth.TopicPermission{User: "nobody", VHost: "/"})
	var r *Refusal
	if !errors.As(err, &r) || r.Kind != Invalid || r.Reason != "vhost_or_user_not_found" {
		t.Errorf("got %v", err)
	}
	n.disk.commit()
	if n.disk.has("topic permission") {
		t.Error("left on disk")
	}
}

// Whoever remembers an answer has to hear of every change.
func TestPermissionsVersionChangesWithThem(t *testing.T) {
	n := newNode(t)
	last := n.b.PermissionsVersion()
	changed := func(what string) {
		t.Helper()
		if now := n.b.PermissionsVersion(); now == last {
			t.Errorf("%s: the version stayed", what)
		} else {
			last = now
		}
	}
	for _, vhost := range []string{"v", "w"} {
		if _, err := n.b.PutVHost(vhost); err != nil {
			t.Fatal(err)
		}
	}
	last = n.b.PermissionsVersion()
	for _, vhost := range []string{"v", "w"} {
		if _, err := n.b.PutPermission(auth.Permission{User: "guest", VHost: vhost, Read: "."}); err != nil {
			t.Fatal(err)
		}
		changed("set")
	}
	if _, err := n.b.PutTopicPermission(auth.TopicPermission{User: "guest", VHost: "v", Exchange: "x"}); err != nil {
		t.Fatal(err)
	}
	changed("set topic")
	n.b.DeleteTopicPermission("guest", "v", nil)
	changed("cleared topic")
	n.b.DeletePermission("guest", "v")
	changed("cleared")
	n.b.DeleteVHost(n.now, "w", &n.out)
	changed("deleted the virtual host")
	n.b.DeleteUser("guest")
	changed("deleted the user")
	if got := len(n.b.Permissions()) + len(n.b.TopicPermissions()); got != 0 {
		t.Errorf("%d permissions are left", got)
	}
}

// A permission that a crash left behind must not come to life with another user or another
// virtual host of that name.
func TestPermissionsOfWhatIsGoneAreGarbage(t *testing.T) {
	n := newNode(t)
	n.disk.records = append(n.disk.records,
		topology.Permission{Permission: auth.Permission{User: "gone", VHost: "/", Read: ".*"}},
		topology.Permission{Permission: auth.Permission{User: "guest", VHost: "gone", Read: ".*"}},
		topology.TopicPermission{TopicPermission: auth.TopicPermission{User: "gone", VHost: "/", Exchange: "x"}})
	n = restart(t, n.disk)
	if _, err := n.b.PutUser(auth.User{Name: "gone"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.b.PutVHost("gone"); err != nil {
		t.Fatal(err)
	}
	if n.b.HasAccess("gone", "/") || n.b.HasAccess("guest", "gone") || n.b.HasTopicPermissions("gone", "/") {
		t.Error("they came to life")
	}
	if n.disk.has("permission gone") || n.disk.has("permission guest gone") || n.disk.has("topic permission") {
		t.Error("they stayed on disk")
	}
}

// LIM-2, C-16, ERR-31
func TestUserHasNoMoreThanItMay(t *testing.T) {
	n := newNode(t)
	limit := func(name string, value int64) {
		t.Helper()
		if _, err := n.b.SetUserLimit("guest", name, value); err != nil {
			t.Fatal(err)
		}
	}
	open := func(want string) *session {
		t.Helper()
		s := &session{user: "guest", vhost: "/"}
		_, err := n.b.Open(s)
		refused(t, err, want)
		return s
	}
	limit(auth.MaxConnections, 1)
	limit(auth.MaxChannels, 2)
	first := open("")
	open("hard 530 NOT_ALLOWED - connection refused for user 'guest': user connection limit (1) is reached")
	n.b.Unregister(first)
	n.b.Unregister(first)
	open("")
	channel := func(want string) {
		t.Helper()
		refused(t, n.b.OpenChannel("guest"), want)
	}
	channel("")
	channel("")
	channel("hard 530 NOT_ALLOWED - number of channels opened for user 'guest' has reached the maximum allowed user limit of 2")
	n.b.CloseChannels("guest", 2)
	channel("")
	n.disk.commit()

	n = restart(t, n.disk)
	limit(auth.MaxConnections, 0)
	open("hard 530 NOT_ALLOWED - connection refused for user 'guest': user connection limit (0) is reached")
	u, _ := n.b.User("guest")
	u.Limits, u.PasswordHash = nil, n.b.HashPassword("new")
	if _, err := n.b.PutUser(u); err != nil {
		t.Fatal(err)
	}
	if u, _ = n.b.User("guest"); len(u.Limits) != 2 { // another password leaves them
		t.Errorf("limits: got %v", u.Limits)
	}
	for _, name := range []string{auth.MaxConnections, auth.MaxChannels, auth.MaxChannels} {
		if _, err := n.b.ClearUserLimit("guest", name); err != nil {
			t.Error(err)
		}
	}
	open("")
	if _, err := n.b.SetUserLimit("guest", "max-bytes", 1); err == nil || err.Error() != `Unrecognised terms [{<<"max-bytes">>,1}] in user-limits` {
		t.Errorf("got %v", err)
	}
	if _, err := n.b.SetUserLimit("nobody", auth.MaxChannels, 1); err == nil {
		t.Error("nobody was limited")
	}
	if _, err := n.b.SetVHostLimit("/", auth.MaxConnections, 1); err != nil {
		t.Fatal(err)
	}
	open("hard 530 NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached")
}

func TestPasswordsAndTagsChange(t *testing.T) {
	n := newNode(t)
	put := func(password string, tags ...string) {
		t.Helper()
		if _, err := n.b.PutUser(auth.User{Name: "u", PasswordHash: n.b.HashPassword(password), Algorithm: auth.SHA256, Tags: tags}); err != nil {
			t.Fatal(err)
		}
	}
	f := func(password string, want bool) {
		t.Helper()
		if got := n.b.CheckPassword("u", password, false) == nil; got != want {
			t.Errorf("%q: got %v", password, got)
		}
	}
	put("one", auth.Monitoring)
	f("one", true)
	put("two")
	f("one", false)
	f("two", true)
	if n.b.HasTag("u", auth.Monitoring) {
		t.Error("the tag stayed")
	}
	put("") // PERM-9: the empty password is nobody's
	f("", false)
	f("two", false)
	if _, err := n.b.PutUser(auth.User{}); err == nil {
		t.Error("a user without a name")
	}
}
