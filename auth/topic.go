package auth

import (
	"fmt"
	"regexp"
	"strings"
)

// TopicPermission narrows what a user may publish to a topic exchange and bind to it, by
// the routing key (PERM-7). Of an exchange without one every key is allowed. The
// expressions are as a Permission's, and {username} and {vhost} in them stand for the
// names, as they are: a name is not itself an expression. {client_id} stands for nothing in
// AMQP 0-9-1 and is left as it is written.
type TopicPermission struct {
	User, VHost, Exchange string
	Write, Read           string
}

// TopicGrant is a TopicPermission ready to be asked. It is immutable.
type TopicGrant struct {
	permission  TopicPermission
	write, read names
}

// Compile prepares p; it fails when one of the expressions is not one.
func (p TopicPermission) Compile() (*TopicGrant, error) {
	g := &TopicGrant{permission: p}
	for _, of := range []struct {
		op   Operation
		text string
		to   *names
	}{{Write, p.Write, &g.write}, {Read, p.Read, &g.read}} {
		compiled, err := compileNames(p.expand(of.text))
		if err != nil {
			return nil, fmt.Errorf("topic %s permission of user %q on exchange %q of vhost %q: %w", of.op, p.User, p.Exchange, p.VHost, err)
		}
		*of.to = compiled
	}
	return g, nil
}

func (p TopicPermission) expand(text string) string {
	return strings.NewReplacer(
		"{username}", regexp.QuoteMeta(p.User),
		"{vhost}", regexp.QuoteMeta(p.VHost),
		"{client_id}", regexp.QuoteMeta("{client_id}"),
	).Replace(text)
}

// Permission returns what the grant was compiled from.
func (g *TopicGrant) Permission() TopicPermission { return g.permission }

// Allows reports whether op, which is Write or Read, is granted on a routing key.
func (g *TopicGrant) Allows(op Operation, key string) bool {
	switch op {
	case Write:
		return g.write.have(key)
	case Read:
		return g.read.have(key)
	}
	return false
}
