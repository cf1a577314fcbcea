package auth

import (
	"fmt"

	"github.com/leveretmq/leveret/pattern"
)

// Operation is one of the three things permissions are about (PERM-1).
type Operation uint8

// The operations. Which method needs which is in the table of PERM-5.
const (
	Configure Operation = iota
	Write
	Read
)

func (o Operation) String() string { return [...]string{"configure", "write", "read"}[o] }

// Permission is what a user may do in one virtual host: three regular expressions over
// the names of queues and exchanges, not anchored; an empty one matches nothing
// (PERM-1). A name that takes an expression too long is refused; see pattern.Pattern.
type Permission struct {
	User, VHost            string
	Configure, Write, Read string
}

// Grant is a Permission ready to be asked. It is immutable.
type Grant struct {
	permission Permission
	names      [3]names // by Operation
}

// Compile prepares p; it fails when one of the expressions is not one.
func (p Permission) Compile() (*Grant, error) {
	g := &Grant{permission: p}
	for op, text := range [...]string{Configure: p.Configure, Write: p.Write, Read: p.Read} {
		compiled, err := compileNames(text)
		if err != nil {
			return nil, fmt.Errorf("%s permission of user %q on vhost %q: %w", Operation(op), p.User, p.VHost, err)
		}
		g.names[op] = compiled
	}
	return g, nil
}

// Permission returns what the grant was compiled from.
func (g *Grant) Permission() Permission { return g.permission }

// Allows reports whether op is granted on name, which is amq.default for the default
// exchange (PERM-2).
func (g *Grant) Allows(op Operation, name string) bool { return g.names[op].have(name) }

// names are all there are, none, or those in which pattern is found. All and none are what
// most permissions say, and need no expression to be run.
type names struct {
	pattern *pattern.Pattern
	all     bool
}

func compileNames(text string) (names, error) {
	switch text {
	case "":
		return names{}, nil
	case ".*", "^.*", ".*$":
		// Anchored at one end at most, they find the empty text in every name.
		return names{all: true}, nil
	}
	p, err := pattern.Compile(text)
	return names{pattern: p}, err
}

func (n names) have(name string) bool {
	return n.all || n.pattern != nil && n.pattern.Matches(name)
}
