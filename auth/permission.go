package auth

import (
	"fmt"
	"regexp"
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
// (PERM-1). The syntax is Go's, which is linear in time and lacks the look-around and
// back-references of RabbitMQ's PCRE.
type Permission struct {
	User, VHost            string
	Configure, Write, Read string
}

// Grant is a Permission ready to be asked. It is immutable.
type Grant struct {
	permission Permission
	patterns   [3]pattern // by Operation
}

// Compile prepares p; it fails when one of the expressions is not one.
func (p Permission) Compile() (*Grant, error) {
	g := &Grant{permission: p}
	for op, text := range [...]string{Configure: p.Configure, Write: p.Write, Read: p.Read} {
		compiled, err := compilePattern(text)
		if err != nil {
			return nil, fmt.Errorf("%s permission of user %q on vhost %q: %w", Operation(op), p.User, p.VHost, err)
		}
		g.patterns[op] = compiled
	}
	return g, nil
}

// Permission returns what the grant was compiled from.
func (g *Grant) Permission() Permission { return g.permission }

// Allows reports whether op is granted on name, which is amq.default for the default
// exchange (PERM-2).
func (g *Grant) Allows(op Operation, name string) bool { return g.patterns[op].matches(name) }

// pattern matches everything, nothing, or what re matches. Everything and nothing are
// what most permissions say, and need no expression to be run.
type pattern struct {
	re         *regexp.Regexp
	everything bool
}

func compilePattern(text string) (pattern, error) {
	switch text {
	case "":
		return pattern{}, nil
	case ".*", "^.*", ".*$":
		// Anchored at one end at most, they find the empty text in every name.
		return pattern{everything: true}, nil
	}
	re, err := regexp.Compile(text)
	return pattern{re: re}, err
}

func (p pattern) matches(name string) bool {
	return p.everything || p.re != nil && p.re.MatchString(name)
}
