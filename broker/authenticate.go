package broker

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
)

// Login is what a client logs in with, and where from.
type Login struct {
	Mechanism string
	Response  []byte
	// From is the client's address, not valid when it is not known.
	From netip.Addr
	// Loopback tells that it comes from this machine (C-11).
	Loopback bool
	// Certificate is the client's, verified by TLS; nil when it has shown none.
	Certificate *x509.Certificate
}

// Mechanisms are the SASL mechanisms offered to a client: of those that are configured
// EXTERNAL only when it has shown a certificate that was verified (C-4, B4).
func (b *Broker) Mechanisms(certified bool) []string {
	offered := b.options.Mechanisms
	if offered == nil {
		offered = auth.Mechanisms()
	}
	if certified {
		return offered
	}
	return slices.DeleteFunc(slices.Clone(offered), func(m string) bool { return m == auth.External })
}

// Authenticate says who a client is. The error wraps auth.ErrRefused when the credentials are
// no good (C-9), and auth.ErrMalformed when the response or the mechanism is (C-10).
func (b *Broker) Authenticate(now time.Time, l Login) (user string, err error) {
	if !slices.Contains(b.Mechanisms(l.Certificate != nil), l.Mechanism) {
		return "", fmt.Errorf("%w: mechanism %q was not offered", auth.ErrMalformed, l.Mechanism)
	}
	if l.Mechanism == auth.External {
		// The response, which says who the client wants to be, counts for nothing, as in
		// RabbitMQ: clients put anything there.
		user, err = b.certified(l)
	} else {
		var c auth.Credentials
		if c, err = auth.ParseResponse(l.Mechanism, l.Response); err != nil {
			return "", err
		}
		user, err = c.User, b.LogIn(now, c, l.From, l.Loopback)
	}
	if err != nil {
		b.Counters.AuthenticationRefused.Add(1)
		return "", err
	}
	b.Counters.AuthenticationAccepted.Add(1)
	return user, nil
}

// certified is the user that a client's certificate names.
func (b *Broker) certified(l Login) (string, error) {
	name, err := b.options.CertificateName.Of(l.Certificate)
	if err != nil {
		return "", err
	}
	if _, ok := b.User(name); !ok {
		return "", noUser(name)
	}
	return name, b.checkLoopback(name, l.Loopback)
}

// LogIn is CheckPassword for whoever asks from outside: no more than Options.LoginRate wrong
// passwords are looked at in a second from one address, and no more than
// Options.PasswordChecks at a time (A16). Beyond the rate the error is a *TooManyLogins, and
// the password, which may be right, is not looked at: otherwise it could be guessed at any rate.
func (b *Broker) LogIn(now time.Time, c auth.Credentials, from netip.Addr, loopback bool) error {
	b.logins.begin()
	defer b.logins.end()
	if err := b.logins.admit(now, from, b.options.LoginRate); err != nil {
		b.Counters.LoginsUnheard.Add(1)
		return err
	}
	err := b.CheckPassword(c.User, c.Password, loopback)
	if err != nil {
		b.logins.wrong(from)
	}
	return err
}

// CheckPassword says why user may not log in with password; the error wraps
// auth.ErrRefused.
func (b *Broker) CheckPassword(user, password string, loopback bool) error {
	u, ok := b.User(user)
	switch {
	case !ok:
		return noUser(user)
	case !u.Verify(password):
		return fmt.Errorf("%w: wrong password for user %q", auth.ErrRefused, user)
	}
	return b.checkLoopback(user, loopback)
}

func noUser(name string) error { return fmt.Errorf("%w: no user %q", auth.ErrRefused, name) }

func (b *Broker) checkLoopback(user string, loopback bool) error {
	if !loopback && slices.Contains(b.options.LoopbackUsers, user) {
		return fmt.Errorf("%w: user %q can only connect via localhost", auth.ErrRefused, user)
	}
	return nil
}

// Open lets a connection into the virtual host it describes, and makes it known: it is
// closed with its user, its virtual host or the broker, and counted, until Unregister. The
// error is the reply to connection.open (C-15, C-16).
func (b *Broker) Open(s Session) (*VHost, error) {
	d := s.Describe()
	// Held until the connection is known, so that whoever deletes its user or its virtual
	// host meanwhile finds it to be closed.
	b.mu.RLock()
	defer b.mu.RUnlock()
	v := b.vhosts[d.VHost]
	if v == nil {
		return nil, amqp.NotAllowed("vhost %s not found", d.VHost)
	}
	refuse := func(connections, to string, limits auth.Limits, count int) error {
		if limit, reached := limits.Reached(auth.MaxConnections, count); reached {
			return amqp.NotAllowed("%s refused for user '%s': %s limit (%d) is reached", connections, d.User, to, limit)
		}
		return nil
	}
	r := &b.sessions
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := b.checkConnections(); err != nil {
		return nil, err
	}
	if err := refuse("access to vhost '"+d.VHost+"'", "connection", v.Settings().Limits, r.ofVHost[d.VHost]); err != nil {
		return nil, err
	}
	if err := refuse("connection", "user connection", b.users[d.User].Limits, r.ofUser[d.User]); err != nil {
		b.Counters.UserLimitsReached.Add(1)
		return nil, err
	}
	if !b.HasAccess(d.User, d.VHost) {
		return nil, amqp.NotAllowed("access to vhost '%s' refused for user '%s'", d.VHost, d.User)
	}
	r.add(s, d)
	return v, nil
}

// Tags returns a user's tags, nil when there is no such user.
func (b *Broker) Tags(user string) []string {
	u, _ := b.User(user)
	return u.Tags
}

// HasTag reports whether a user carries a tag.
func (b *Broker) HasTag(user, tag string) bool {
	u, _ := b.User(user)
	return u.HasTag(tag)
}
