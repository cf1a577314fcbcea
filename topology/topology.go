// Package topology is the written form of everything declared: the records that the
// broker hands to its store and gets back at start. A record holds the very value that
// a client declared, and the incarnation numbers that tell a thing from its successor
// of the same name. It decides nothing.
package topology

import (
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
)

// Record is one declared thing: VHost, User, Permission, TopicPermission, Policy,
// GlobalParameter, Exchange, Queue or Binding.
type Record interface{ record() }

// VHost is a virtual host (LIM-1).
type VHost struct {
	Name        string
	Description string
	Tags        []string
	// DefaultQueueType is the x-queue-type of queues that are declared without one, as far
	// as they can be of that type; empty for classic.
	DefaultQueueType string
	Tracing          bool
	Protected        bool        // is not deleted while this is set
	Limits           auth.Limits // of auth.VHostLimits
}

// User is a user.
type User struct{ auth.User }

// Permission is what a user may do in a virtual host.
type Permission struct{ auth.Permission }

// TopicPermission is what a user may do with routing keys of a topic exchange.
type TopicPermission struct{ auth.TopicPermission }

// Policy is a policy, or an operator policy.
type Policy struct {
	policy.Policy
	Operator bool
}

// GlobalParameter is something said of the whole node, which tools keep here and read again.
type GlobalParameter struct {
	Name  string
	Value string // any JSON
}

// Exchange is a durable exchange.
type Exchange struct {
	ID   uint64
	Spec exchange.Spec
}

// Queue is a durable queue.
type Queue struct {
	ID   queue.ID
	Spec queue.Spec
}

// Binding is a binding between two durable ends. One whose ids are not those of the
// things it names is garbage: it belonged to a predecessor (S-5).
type Binding struct {
	VHost         string
	SourceID      uint64
	DestinationID uint64 // of an exchange or a queue
	Binding       binding.Binding
}

func (VHost) record()           {}
func (User) record()            {}
func (Permission) record()      {}
func (TopicPermission) record() {}
func (Policy) record()          {}
func (GlobalParameter) record() {}
func (Exchange) record()        {}
func (Queue) record()           {}
func (Binding) record()         {}

// Unit is a set of changes that become durable together or not at all. A delete needs
// only what identifies the thing: names for users, virtual hosts, permissions,
// policies and global parameters, and names and ids for the others.
type Unit struct {
	Puts    []Record
	Deletes []Record
	// Late units are made durable after the messages of the commit they go with, not ahead
	// of them: the record of a deleted queue goes when its letters are safe (S-9).
	Late bool
}

// Catalog is everything declared, as found at start.
type Catalog struct {
	VHosts           []VHost
	Users            []User
	Permissions      []Permission
	TopicPermissions []TopicPermission
	Policies         []Policy
	GlobalParameters []GlobalParameter
	Exchanges        []Exchange
	Queues           []Queue
	Bindings         []Binding
	Histories        []queue.History // of exchanges, by number
	Windows          []queue.Window  // of exchanges, by number and record
}

// Holders are the numbers under which messages may be stored: those of the queues, and of
// the exchanges, where messages may wait for their time (EX-55).
func (c *Catalog) Holders() []queue.ID {
	ids := make([]queue.ID, 0, len(c.Queues)+len(c.Exchanges))
	for i := range c.Queues {
		ids = append(ids, c.Queues[i].ID)
	}
	for i := range c.Exchanges {
		ids = append(ids, queue.ID(c.Exchanges[i].ID))
	}
	return ids
}

// Store keeps the records.
type Store interface {
	// NextID returns a number that was never returned before, in this run or an earlier
	// one of the same store.
	NextID() uint64
	// Write makes a unit durable and then calls done, from the committer and in the order
	// of the calls. Nothing that is collected into a commit is confirmed before the units
	// written ahead of it are on disk (S-3). Write itself does not wait.
	Write(u Unit, done func(error))
}
