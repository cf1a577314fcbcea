package management

import (
	"errors"
	"net/http"
	"net/netip"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
)

// access is what a route asks of whoever calls it, as in RabbitMQ (PERM-4).
type access uint8

const (
	anybody access = iota // no login
	user                  // no tag
	manager               // any of the four tags
	policymaker
	monitor
	administrator
)

// may tells whether a user's tags are enough.
func (a access) may(u *auth.User) bool {
	switch a {
	case manager:
		return u.HasTag(auth.Management) || policymaker.may(u) || monitor.may(u)
	case policymaker:
		return u.HasTag(auth.Policymaker) || administrator.may(u)
	case monitor:
		return u.HasTag(auth.Monitoring) || administrator.may(u)
	case administrator:
		return u.HasTag(auth.Administrator)
	}
	return true
}

// lacking is what is said to those whose tags are not enough.
func (a access) lacking() *Refusal {
	return notAuthorised([...]string{
		manager:       "Not management user",
		policymaker:   "User not authorised to access object",
		monitor:       "Not monitor user",
		administrator: "Not administrator user",
	}[a])
}

// login finds out who calls.
func (c *call) login() error {
	if c.Trusted {
		return nil
	}
	failed := &Refusal{http.StatusUnauthorized, "not_authorized", "Login failed"} // spelt as RabbitMQ does
	name, password, ok := c.r.BasicAuth()
	if !ok {
		return failed
	}
	from := addressOf(c.r.RemoteAddr)
	if err := c.Broker.LogIn(c.now, auth.Credentials{User: name, Password: password}, from, from.IsLoopback()); err != nil {
		var unheard *broker.TooManyLogins
		if errors.As(err, &unheard) {
			failed = &Refusal{http.StatusTooManyRequests, "too_many_requests", "Too many wrong logins from this address"}
			c.w.Header().Set("Retry-After", "1")
		}
		if unheard == nil || unheard.First {
			c.Log.Warn().Err(err).Str("peer", c.r.RemoteAddr).Msg("login to the API refused")
		}
		return failed
	}
	u, ok := c.Broker.User(name)
	if !ok {
		return failed // deleted since
	}
	c.user = &u
	return nil
}

// addressOf is the address of host:port, not valid if it is none.
func addressOf(peer string) netip.Addr {
	a, err := netip.ParseAddrPort(peer)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// authorize asks whether the caller may take a route. In the virtual host of its path, if it
// has one, a user that is no administrator has to have permissions.
func (c *call) authorize(r *route) error {
	if r.access == anybody {
		return nil
	}
	if c.user != nil && r.access != user && !manager.may(c.user) {
		return manager.lacking()
	}
	if r.vhost {
		name := c.args[0]
		if !c.sees(name) && !(r.method == http.MethodGet && r.monitored && monitor.may(c.user)) {
			return notAuthorised("User not authorised to access virtual host")
		}
		if c.Broker.VHost(name) == nil {
			return r.noVHost()
		}
	}
	if c.user != nil && !r.access.may(c.user) {
		return r.access.lacking()
	}
	return nil
}

// noVHost is what is said when the virtual host of the path is not there.
func (r *route) noVHost() *Refusal {
	if r.method == http.MethodGet || r.method == http.MethodDelete {
		return notFound
	}
	return &Refusal{http.StatusNotFound, "not_found", "vhost_not_found"}
}

// sees tells whether the caller may see what is in a virtual host.
func (c *call) sees(vhost string) bool {
	return c.user == nil || administrator.may(c.user) || c.Broker.HasAccess(c.user.Name, vhost)
}

// vhost is the virtual host of the path, which authorize has found.
func (c *call) vhost() (*broker.VHost, error) {
	v := c.Broker.VHost(c.args[0])
	if v == nil {
		return nil, notFound // gone since
	}
	return v, nil
}

// visible are the virtual hosts that a list tells of: all for those who watch over the
// broker, and those they have permissions in for others.
func (c *call) visible() []*broker.VHost {
	all := c.Broker.VHosts()
	if c.user == nil || monitor.may(c.user) {
		return all
	}
	var seen []*broker.VHost
	for _, v := range all {
		if c.Broker.HasAccess(c.user.Name, v.Name()) {
			seen = append(seen, v)
		}
	}
	return seen
}

// within are the virtual host of the path, or all visible ones where it has none.
func (c *call) within() ([]*broker.VHost, error) {
	if len(c.args) == 0 {
		return c.visible(), nil
	}
	v, err := c.vhost()
	if err != nil {
		return nil, err
	}
	return []*broker.VHost{v}, nil
}

// by is who makes what is declared; "" when nobody has logged in, because nobody has to.
func (c *call) by() string {
	if c.user == nil {
		return ""
	}
	return c.user.Name
}

// permit is what the caller may do in a virtual host, as if it did it over AMQP: without
// permissions there even an administrator may do nothing.
func (c *call) permit(vhost string) broker.Permit {
	if c.user == nil {
		return nil
	}
	return c.Broker.Permit(c.user.Name, vhost)
}
