package broker

import (
	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
)

// NodeLimits are what the node as a whole may have (LIM-3); 0 is no limit. What is declared
// in two virtual hosts at the same time may exceed one by as many.
type NodeLimits struct {
	Connections int // that have opened a virtual host
	Channels    int
	Queues      int
	Exchanges   int // without the default one of each virtual host
}

func reached(limit, count int) bool { return limit > 0 && count >= limit }

// checkConnections is the answer to a connection that is one too many (C-16). b.sessions.mu
// is held.
func (b *Broker) checkConnections() error {
	if limit := b.options.Limits.Connections; reached(limit, len(b.sessions.all)) {
		return amqp.NotAllowed("connection refused: node connection limit (%d) is reached", limit)
	}
	return nil
}

// checkChannels is the answer to a channel that is one too many (ERR-31). b.sessions.mu is
// held.
func (b *Broker) checkChannels() error {
	if limit := b.options.Limits.Channels; reached(limit, b.sessions.channels) {
		return amqp.NotAllowed("number of channels opened on node '%s' has reached the maximum allowed limit of %d",
			b.options.NodeName, limit).OnNone()
	}
	return nil
}

// checkQueues is the answer to a queue that is one too many (ERR-22).
func (b *Broker) checkQueues(name string) error {
	if limit := b.options.Limits.Queues; reached(limit, int(b.queueCount.Load())) {
		return amqp.PreconditionFailed("cannot declare queue '%s': queue limit in cluster (%d) is reached", name, limit)
	}
	return nil
}

// countExchange counts an exchange that has come or gone.
func (v *VHost) countExchange(n *exchangeNode, by int64) {
	if n.x.Name() != exchange.Default {
		v.b.exchangeCount.Add(by)
	}
}

// checkExchanges is the answer to an exchange that is one too many (ERR-22).
func (b *Broker) checkExchanges(name, vhost string) error {
	if limit := b.options.Limits.Exchanges; reached(limit, int(b.exchangeCount.Load())) {
		return amqp.PreconditionFailed("cannot declare %s: exchange limit of %d is reached", resource(binding.Exchange, name, vhost), limit)
	}
	return nil
}

// made is how much a user has made in a virtual host that is still there (C25).
type made struct{ queues, bindings int }

// credit counts what user has made, or what of that has gone. v.mu is held.
func (v *VHost) credit(user string, more made) {
	if user == "" {
		return
	}
	m := v.made[user]
	m.queues, m.bindings = m.queues+more.queues, m.bindings+more.bindings
	if m == (made{}) {
		delete(v.made, user)
	} else {
		v.made[user] = m
	}
}

// userLimits are the limits of a user, none when there is no such user.
func (b *Broker) userLimits(name string) auth.Limits {
	if name == "" {
		return nil
	}
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.users[name].Limits
}

// userName is the name of a user, in the same memory for all that it has made. It is for the
// start, when nothing is locked yet.
func (b *Broker) userName(name string) string {
	if u, ok := b.users[name]; ok {
		return u.Name
	}
	return name
}
