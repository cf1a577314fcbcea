package broker

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// Options are what a Broker is told once.
type Options struct {
	// DefaultVHost, DefaultUser and DefaultPassword are what a store without any virtual
	// host is started with (PERM-8): the user is an administrator with all permissions on
	// the virtual host. No user is made when DefaultUser is empty.
	DefaultVHost    string
	DefaultUser     string
	DefaultPassword string
	// Blank starts such a store with nothing at all, for whoever declares it all (DEF-7).
	Blank bool
	// ClusterName is what clients are told until the global parameter of that name is set.
	ClusterName string
	// QueueMemory is how many bytes of messages all queues together hold in memory, as far as
	// those are on disk too; beyond that they are read again when needed. Each queue keeps 64
	// KiB at least. 0 stands for DefaultQueueMemory.
	QueueMemory int64
	// Clock is the time for what the disk brings back on its own. Nil takes the time of the
	// batch before.
	Clock func() time.Time
	// DelayedDefaultExchange lets the default exchange keep messages with an x-delay header
	// until they are due, as exchanges of the type x-delayed-message do (EX-55).
	DelayedDefaultExchange bool
	// ConsumerTimeout is how long a delivery may be out where neither its consumer nor its
	// queue says so; 0 is for ever (CTO-3).
	ConsumerTimeout time.Duration
	// MaxUnpublished is how many bytes connections may hold together of messages that are not
	// complete or not committed; 0 is any number.
	MaxUnpublished int64
	// LoopbackUsers may only log in from this machine (C-11).
	LoopbackUsers []string
	// Limits are of the node as a whole.
	Limits NodeLimits
	// NodeName is what texts call it.
	NodeName string
	// Mechanisms are the SASL mechanisms clients may log in with; nil stands for all (C-4).
	Mechanisms []string
	// CertificateName says whom a client's certificate logs in (C-4).
	CertificateName auth.CertificateName
	// LoginRate is how many wrong passwords are looked at in a second from one address; 0 is
	// any number (A16).
	LoginRate int
	// PasswordChecks is how many passwords are looked at at the same time; 0 stands for one.
	PasswordChecks int
}

// DefaultOptions are RabbitMQ's.
func DefaultOptions() Options {
	return Options{
		DefaultVHost:    "/",
		DefaultUser:     "guest",
		DefaultPassword: "guest",
		LoopbackUsers:   []string{"guest"},
	}
}

// Broker is the node. It is made by New, filled by Restore and then safe for use by many
// goroutines.
type Broker struct {
	// Counters are read by whoever reports them.
	Counters Counters

	options Options
	// How many there are, which virtual hosts change (LIM-3).
	queueCount, exchangeCount atomic.Int64

	messages queue.Store
	records  topology.Store
	backlog  Backlog // the message store, nil when it does not count

	batched func(func(now time.Time, out *queue.Effects)) // batch; one value for all queues

	entropyMu sync.Mutex // guards entropy
	entropy   io.Reader

	mu         sync.RWMutex // guards the fields below
	vhosts     map[string]*VHost
	users      map[string]auth.User
	parameters map[string]string // global ones: their JSON by name
	former     QueueTotals       // what virtual hosts that are gone have counted

	permissions permissions
	sessions    sessions
	logins      logins
	alarms      alarms
	timers      timers
	memory      memory
	unpublished unpublished
	doomed      doomed
	carriers    sync.Pool // of *carrier
	pressure    atomic.Bool
}

// Backlog is a queue.Store that counts the bytes of messages that wait for it, so that
// publishers can be held back. Each Flush tells it by how much they grew or shrank; what it
// collects it takes off itself.
type Backlog interface{ AddUnstored(delta int64) }

// New returns a broker in which nothing is declared; Restore comes next. entropy is where
// generated names and salts come from; a test that hands in the same octets gets the same
// names.
func New(o Options, messages queue.Store, records topology.Store, entropy io.Reader) *Broker {
	backlog, _ := messages.(Backlog)
	b := &Broker{
		options:    o,
		messages:   messages,
		records:    records,
		backlog:    backlog,
		entropy:    entropy,
		vhosts:     make(map[string]*VHost),
		users:      make(map[string]auth.User),
		parameters: make(map[string]string),
	}
	b.batched = b.batch
	b.sessions.init()
	b.logins.init(o.PasswordChecks)
	b.unpublished.limit = o.MaxUnpublished
	b.memory.limit = cmp.Or(o.QueueMemory, DefaultQueueMemory)
	return b
}

// seed is a number for an exchange that chooses at random.
func (b *Broker) seed() uint64 {
	var p [8]byte
	b.random(p[:])
	return binary.BigEndian.Uint64(p[:])
}

// VHost returns a virtual host, nil when there is none of that name.
func (b *Broker) VHost(name string) *VHost {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.vhosts[name]
}

// VHosts returns all virtual hosts, by name.
func (b *Broker) VHosts() []*VHost {
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := make([]*VHost, 0, len(b.vhosts))
	for _, v := range b.vhosts {
		all = append(all, v)
	}
	slices.SortFunc(all, func(x, y *VHost) int { return strings.Compare(x.name, y.name) })
	return all
}

// GeneratedName returns prefix and 22 characters that nobody can foresee, as RabbitMQ
// names what clients leave without a name.
func (b *Broker) GeneratedName(prefix string) string {
	var p [16]byte
	b.random(p[:])
	return prefix + base64.RawURLEncoding.EncodeToString(p[:])
}

// Together calls f so that what it publishes to and settles in several queues reaches the
// disk together or not at all, where the store knows how to do that (S-7). Nothing may be
// locked, and f must not wait for the store.
func (b *Broker) Together(f func()) {
	if s, ok := b.messages.(interface{ Together(f func()) }); ok {
		s.Together(f)
		return
	}
	f()
}

// Barrier has everything a queue wants stored put on disk; what is answered after it rests
// on that. Queues that store nothing have nothing to wait for.
func (b *Broker) Barrier(q *queue.Queue) *Commit {
	if s := q.Spec(); !s.Durable || s.Exclusive {
		return nil
	}
	c := new(Commit)
	b.messages.Barrier(q, c.end)
	return c
}

// write hands a unit to the store. What it changes must not be visible yet (S-3).
func (b *Broker) write(u topology.Unit) *Commit {
	c := new(Commit)
	b.records.Write(u, c.end)
	return c
}

// Restore fills the broker with what the store found. messages returns what a durable
// queue holds. A store without virtual hosts is new, and gets the default one and the
// default user, unless it is to be blank. Dead letters that fall due are carried before it returns.
func (b *Broker) Restore(now time.Time, c topology.Catalog, messages func(queue.ID) (queue.Restored, error)) error {
	if len(c.VHosts) == 0 && !b.options.Blank {
		return b.initialize()
	}
	for _, v := range c.VHosts {
		b.vhosts[v.Name] = newVHost(b, v)
	}
	for _, u := range c.Users {
		b.users[u.Name] = u.User
	}
	b.restoreParameters(c)
	garbage, err := b.restorePermissions(c)
	if err != nil {
		return err
	}
	orphans, err := b.restorePolicies(c)
	if err != nil {
		return err
	}
	b.writeDeletes(append(garbage, orphans...))
	var out queue.Effects
	if err := b.restoreTopology(now, c, messages, &out); err != nil {
		return err
	}
	b.Flush(now, &out)
	return nil
}

// initialize makes what a new node starts with.
func (b *Broker) initialize() error {
	if _, err := b.PutVHost(b.options.DefaultVHost); err != nil {
		return err
	}
	if b.options.DefaultUser == "" {
		return nil
	}
	if _, err := b.PutUser(auth.User{
		Name:         b.options.DefaultUser,
		PasswordHash: b.HashPassword(b.options.DefaultPassword),
		Algorithm:    auth.SHA256,
		Tags:         []string{auth.Administrator},
	}); err != nil {
		return err
	}
	_, err := b.PutPermission(auth.Permission{
		User: b.options.DefaultUser, VHost: b.options.DefaultVHost,
		Configure: ".*", Write: ".*", Read: ".*",
	})
	return err
}
