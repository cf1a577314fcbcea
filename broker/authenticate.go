package broker

import (
	"fmt"
	"slices"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
)

// Authenticate says who a client is, from its SASL response. loopback tells that it comes
// from this machine (C-11). The error wraps auth.ErrRefused when the credentials are no
// good (C-9), and auth.ErrMalformed when the response or the mechanism is (C-10).
func (b *Broker) Authenticate(mechanism string, response []byte, loopback bool) (user string, err error) {
	c, err := auth.ParseResponse(mechanism, response)
	if err != nil {
		return "", err
	}
	if err := b.CheckPassword(c.User, c.Password, loopback); err != nil {
		b.Counters.AuthenticationRefused.Add(1)
		return "", err
	}
	b.Counters.AuthenticationAccepted.Add(1)
	return c.User, nil
}

// CheckPassword says why user may not log in with password; the error wraps
// auth.ErrRefused.
func (b *Broker) CheckPassword(user, password string, loopback bool) error {
	u, ok := b.User(user)
	switch {
	case !ok:
		return fmt.Errorf("%w: no user %q", auth.ErrRefused, user)
	case !u.Verify(password):
		return fmt.Errorf("%w: wrong password for user %q", auth.ErrRefused, user)
	case !loopback && slices.Contains(b.options.LoopbackUsers, user):
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
