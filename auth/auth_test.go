package auth

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

func TestPasswordIsVerifiedAgainstRabbitMQsHash(t *testing.T) {
	f := func(hash, algorithm, password string, want bool) {
		t.Helper()
		u := User{Name: "u", PasswordHash: hash, Algorithm: algorithm}
		if got := u.Verify(password); got != want {
			t.Errorf("Verify(%q) with %s: got %v, want %v", password, algorithm, got, want)
		}
	}
	// The worked example of RabbitMQ's documentation: salt 908DC60A, password test12.
	const documented = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
	f(documented, SHA256, "test12", true)
	f(documented, "", "test12", true)
	f(documented, SHA256, "test13", false)
	f(documented, SHA256, "", false)
	f(documented, SHA512, "test12", false)
	f(documented, "rot13", "test12", false)
	f("", SHA256, "", false) // PERM-9: the empty hash lets nobody in
	f("", SHA256, "x", false)
	f("not base64!", SHA256, "x", false)
	f(base64.StdEncoding.EncodeToString([]byte("salt")), SHA256, "", false)

	salt := []byte{1, 2, 3, 4}
	for _, algorithm := range []string{SHA512, MD5} {
		hash := base64.StdEncoding.EncodeToString(append(salt[:4:4], digest(algorithm, salt, "pw")...))
		f(hash, algorithm, "pw", true)
		f(hash, algorithm, "pW", false)
		f(hash, SHA256, "pw", false)
		if err := CheckHash(hash, algorithm); err != nil {
			t.Errorf("CheckHash(%s): %v", algorithm, err)
		}
	}
}

func TestHashedPasswordLogsIn(t *testing.T) {
	u := User{PasswordHash: HashPassword("guest", [SaltBytes]byte{9, 8, 7, 6}), Algorithm: SHA256}
	if !u.Verify("guest") || u.Verify("Guest") {
		t.Errorf("hash %q: does not tell guest from Guest", u.PasswordHash)
	}
	if err := CheckHash(u.PasswordHash, SHA256); err != nil {
		t.Errorf("CheckHash: %v", err)
	}
	if got := HashPassword("", [SaltBytes]byte{1}); got != "" {
		t.Errorf("hash of the empty password: got %q, want none", got)
	}
}

func TestUnusableHashesAreRefused(t *testing.T) {
	f := func(hash, algorithm string, fine bool) {
		t.Helper()
		if err := CheckHash(hash, algorithm); (err == nil) != fine {
			t.Errorf("CheckHash(%q, %q): got %v", hash, algorithm, err)
		}
	}
	f("", "", true)
	f("%%%", SHA256, false)
	f("AAAA", SHA256, false)
	f("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", "rot13", false)
	f("kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR", SHA512, false)
}

// C-7
func TestPlainWantsAnEmptyAuthorisationIdentity(t *testing.T) {
	f := func(response string, want Credentials, fine bool) {
		t.Helper()
		got, err := ParseResponse(Plain, []byte(response))
		if (err == nil) != fine || got != want || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %v, %v", response, got, err)
		}
	}
	f("\x00guest\x00secret", Credentials{"guest", "secret"}, true)
	f("\x00\x00", Credentials{}, true)
	f("\x00guest\x00", Credentials{"guest", ""}, true)
	f("guest\x00guest\x00secret", Credentials{}, false)
	f("\x00guest", Credentials{}, false)
	f("\x00guest\x00se\x00cret", Credentials{}, false)
	f("guest", Credentials{}, false)
	f("", Credentials{}, false)
}

// C-8, W-54
func TestAMQPlainIsABareTable(t *testing.T) {
	f := func(table amqp.Table, want Credentials, fine bool) {
		t.Helper()
		bare := amqp.AppendTable(nil, table)[4:]
		got, err := ParseResponse(AMQPlain, bare)
		if (err == nil) != fine || got != want || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: got %v, %v", table, got, err)
		}
	}
	f(amqp.Table{{Name: "LOGIN", Value: "guest"}, {Name: "PASSWORD", Value: "secret"}}, Credentials{"guest", "secret"}, true)
	f(amqp.Table{{Name: "PASSWORD", Value: []byte("x")}, {Name: "LOGIN", Value: []byte("u")}}, Credentials{"u", "x"}, true)
	f(amqp.Table{{Name: "LOGIN", Value: "guest"}}, Credentials{}, false)
	f(amqp.Table{{Name: "LOGIN", Value: "guest"}, {Name: "PASSWORD", Value: int64(1)}}, Credentials{}, false)
	f(nil, Credentials{}, false)
	if _, err := ParseResponse(AMQPlain, []byte("\xffgarbage")); !errors.Is(err, ErrMalformed) {
		t.Errorf("garbage: got %v", err)
	}
}

// C-10
func TestUnknownMechanismIsMalformed(t *testing.T) {
	if _, err := ParseResponse("GSSAPI", nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

// PERM-1
func TestPermissionsAreNotAnchoredAndEmptyMatchesNothing(t *testing.T) {
	f := func(pattern, name string, want bool) {
		t.Helper()
		g, err := Permission{User: "u", VHost: "/", Write: pattern}.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Allows(Write, name); got != want {
			t.Errorf("%q on %q: got %v, want %v", pattern, name, got, want)
		}
		if g.Allows(Configure, name) || g.Allows(Read, name) {
			t.Errorf("%q: the empty patterns matched %q", pattern, name)
		}
	}
	f("q1", "pq1", true)
	f("^q1$", "pq1", false)
	f("^q1$", "q1", true)
	f("", "", false)
	f("", "q", false)
	f("^$", "q", false)
	f("^$", "", true)
	f(".*", "", true)
	f(".*", "a\nb", true)
	f("^.*$", "q", true)
	f("^(amq\\.gen.*|amq\\.default)$", "amq.default", true)
	f("^(amq\\.gen.*|amq\\.default)$", "amq.direct", false)
	f(`^(?!amq\.)`, "q", true)
	f(`^(?!amq\.)`, "amq.gen-1", false)
	f(`^(?!x)(.*.*.*.*.*.*)*=$`, strings.Repeat("a", 255), false) // which takes too long to find out
}

func TestInvalidPermissionNamesItself(t *testing.T) {
	_, err := Permission{User: "u", VHost: "/", Read: "("}.Compile()
	if err == nil {
		t.Fatal("an unclosed group compiled")
	}
	if got, want := err.Error(), `read permission of user "u" on vhost "/": `; len(got) < len(want) || got[:len(want)] != want {
		t.Errorf("got %q, want it to begin with %q", got, want)
	}
}

// PERM-7
func TestTopicPermissionsNameTheUserInTheirExpressions(t *testing.T) {
	f := func(p TopicPermission, op Operation, key string, want bool) {
		t.Helper()
		g, err := p.Compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := g.Allows(op, key); got != want {
			t.Errorf("%+v: %v on %q: got %v, want %v", p, op, key, got, want)
		}
	}
	p := TopicPermission{User: "a.b", VHost: "/v", Write: `^{username}\.`, Read: `^{vhost}$`}
	f(p, Write, "a.b.c", true)
	f(p, Write, "axb.c", false) // the name is no expression
	f(p, Read, "/v", true)
	f(p, Read, "/v.x", false)
	f(p, Configure, "a.b.c", false)
	f(TopicPermission{User: "a.b", Write: `^(?!{username}\.)`}, Write, "a.b.c", false)
	f(TopicPermission{User: "a.b", Write: `^(?!{username}\.)`}, Write, "axb.c", true)
	f(TopicPermission{Write: "^x{client_id}$"}, Write, "x{client_id}", true)
	f(TopicPermission{}, Write, "", false)
	f(TopicPermission{}, Read, "a", false)
	if _, err := (TopicPermission{User: "u", VHost: "/", Exchange: "x", Read: "["}).Compile(); err == nil {
		t.Error("compiled")
	}
}

// LIM-2
func TestNegativeLimitsAreNone(t *testing.T) {
	l := Limits{}.With(MaxQueues, 2).With(MaxConnections, -1).With(MaxQueues, 1)
	f := func(name string, count int, want bool) {
		t.Helper()
		if _, got := l.Reached(name, count); got != want {
			t.Errorf("%s with %d: got %v, want %v", name, count, got, want)
		}
	}
	f(MaxQueues, 0, false)
	f(MaxQueues, 1, true)
	f(MaxConnections, 5, false)
	f(MaxChannels, 5, false)
	l = l.With(MaxChannels, 0)
	f(MaxChannels, 0, true)
	if len(l) != 3 || l[0].Name != MaxChannels || l[2].Name != MaxQueues {
		t.Errorf("got %v, want them by name", l)
	}
	if l = l.Without(MaxChannels).Without(MaxChannels); len(l) != 2 {
		t.Errorf("got %v", l)
	}
}
