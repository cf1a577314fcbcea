package exchange

import (
	"sync"
	"sync/atomic"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/message"
)

// Type is the way an exchange routes. It has no lock of its own: the Exchange lets any
// number of Routes run at once, and Bind and Unbind only alone.
type Type interface {
	// ValidateBinding says why b may not be made, as an *amqp.Error, or nil.
	ValidateBinding(b binding.Binding) error
	// Bind lets what matches b go to d. b was validated and is new.
	Bind(b binding.Binding, d *binding.Destination)
	// Unbind takes back a Bind.
	Unbind(b binding.Binding, d *binding.Destination)
	// Route appends to dst where m goes by one of its routing keys, each destination once.
	Route(m *message.Message, key string, dst []*binding.Destination) []*binding.Destination
}

// Exchange is one exchange and what is bound to it. All methods may be called from any
// goroutine.
type Exchange struct {
	spec  Spec
	once  bool // its type routes a message once, whatever further routing keys there are
	byKey bool
	dedup bool

	// PublishedIn counts messages that came to be routed here, from a publisher, a
	// dead-lettering queue or another exchange; PublishedOut the destinations they had.
	PublishedIn  atomic.Uint64
	PublishedOut atomic.Uint64

	policied atomic.Pointer[string] // the alternate exchange that policies name

	mu  sync.RWMutex // guards the type's bindings
	typ Type
}

// New makes an exchange without bindings, or says that there is no such type (ERR-23).
// A type that chooses at random takes its seed from entropy, once; the same seed makes the
// same choices.
func New(s Spec, entropy func() uint64) (*Exchange, error) {
	t, err := s.routing()
	if err != nil {
		return nil, err
	}
	return &Exchange{spec: s, once: t.once, byKey: t.byKey(&s), typ: t.make(&s, entropy), dedup: t.name == typeDeduplication}, nil
}

// Spec returns what the exchange was declared as.
func (x *Exchange) Spec() Spec { return x.spec }

// Name returns the exchange's name, "" for the default exchange.
func (x *Exchange) Name() string { return x.spec.Name }

// ByTopic reports whether the exchange is of type topic, for which there are permissions
// of routing keys (PERM-7).
func (x *Exchange) ByTopic() bool {
	_, ok := x.typ.(*topic)
	return ok
}

// AlternateExchange returns where messages go that lead nowhere from here, and whether
// there is such a name: the argument, or else what a policy says (EX-12).
func (x *Exchange) AlternateExchange() (name string, ok bool) {
	if name, ok = x.spec.AlternateExchange(); ok {
		return name, true
	}
	if p := x.policied.Load(); p != nil {
		return *p, true
	}
	return "", false
}

// SetPolicyAlternate says what policies name as alternate exchange, if they do.
func (x *Exchange) SetPolicyAlternate(name string, ok bool) {
	if !ok {
		x.policied.Store(nil)
		return
	}
	x.policied.Store(&name)
}

// Deduplicates tells whether a message whose value was seen before is kept out (EX-56).
func (x *Exchange) Deduplicates() bool { return x.dedup }

// ByKey tells whether the routing key alone decides where a message goes, as long as the
// bindings stay: the answer of Route may then be used again.
func (x *Exchange) ByKey() bool { return x.byKey }

// ValidateBinding says why b may not be made, as an *amqp.Error (ERR-24), or nil.
func (x *Exchange) ValidateBinding(b binding.Binding) error { return x.typ.ValidateBinding(b) }

// Bind lets messages that match b go to d from now on. b was validated, and a
// binding.Set has said that it is new: binding twice takes two Unbinds. It returns the
// exchange's history (EX-54), which is what it routed before and none of what it routes
// from now on.
func (x *Exchange) Bind(b binding.Binding, d *binding.Destination) (history []*message.Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.typ.Bind(b, d)
	return x.History()
}

// Unbind takes back a Bind. Of a binding that was never made it does nothing.
func (x *Exchange) Unbind(b binding.Binding, d *binding.Destination) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.typ.Unbind(b, d)
}

// Route appends to dst the destinations of m, by its routing key and those of its CC and
// BCC headers, each destination once (EX-37). What is in dst already is left alone and not
// compared with; a caller that follows several exchanges uses binding.Compact for that.
func (x *Exchange) Route(m *message.Message, dst []*binding.Destination) []*binding.Destination {
	start := len(dst)
	x.mu.RLock()
	dst = x.typ.Route(m, m.RoutingKey, dst)
	if m.More != nil && !x.once {
		first := len(dst)
		for _, key := range m.More.CC {
			dst = x.typ.Route(m, key, dst)
		}
		for _, key := range m.More.BCC {
			dst = x.typ.Route(m, key, dst)
		}
		if len(dst) > first {
			dst = binding.Compact(dst, start)
		}
	}
	x.mu.RUnlock()
	x.PublishedIn.Add(1)
	x.PublishedOut.Add(uint64(len(dst) - start))
	return dst
}

// CheckType refuses a type that there is none of (ERR-23). RabbitMQ closes the connection
// for it up to 3.10 and the channel since; this is the channel.
func CheckType(name string) error {
	_, err := typeNamed(name)
	return err
}

func typeNamed(name string) (typeEntry, error) {
	for _, t := range types {
		if t.name == name {
			return t, nil
		}
	}
	return typeEntry{}, amqp.PreconditionFailed("unknown exchange type '%s'", name)
}

// CheckArguments refuses arguments that the exchange's type cannot work with. It comes after
// all other checks of a declare (EX-5).
func (s *Spec) CheckArguments() error {
	t, err := s.routing()
	if err != nil || t.check == nil {
		return err
	}
	return t.check(s)
}

// typeEntry is a row of the table of types.
type typeEntry struct {
	name string
	make func(s *Spec, entropy func() uint64) Type
	// once is set for a type that looks at a message as a whole, and not at one routing key
	// after the other.
	once  bool
	byKey func(*Spec) bool
	check func(*Spec) error // of the arguments; nil when there are none
}

func always(*Spec) bool { return true }
func never(*Spec) bool  { return false }

// types is every exchange type, in the order they are listed to clients.
var types = [...]typeEntry{
	{name: "direct", make: func(*Spec, func() uint64) Type { return new(direct) }, byKey: always},
	{name: "fanout", make: func(*Spec, func() uint64) Type { return new(fanout) }, once: true, byKey: always},
	{name: "headers", make: func(*Spec, func() uint64) Type { return new(headers) }, once: true, byKey: never},
	{name: "topic", make: func(*Spec, func() uint64) Type { return new(topic) }, byKey: always},
	{name: "x-consistent-hash", make: func(s *Spec, _ func() uint64) Type { return newConsistentHash(s) },
		once: true, byKey: hashesKey, check: checkConsistentHash},
	{name: typeDeduplication, make: func(*Spec, func() uint64) Type { return new(fanout) },
		once: true, byKey: never, check: checkDeduplication},
	{name: typeLocalRandom, make: func(_ *Spec, entropy func() uint64) Type { return newLocalRandom(entropy()) }, once: true, byKey: never},
	{name: "x-modulus-hash", make: func(*Spec, func() uint64) Type { return new(modulusHash) }, once: true, byKey: always},
	{name: "x-random", make: func(_ *Spec, entropy func() uint64) Type { return newRandom(entropy()) }, once: true, byKey: never},
	{name: "x-recent-history", make: func(s *Spec, _ func() uint64) Type { return newRecentHistory(s) },
		once: true, byKey: never, check: checkRecentHistory},
	{name: delayedMessage}, // routes as another one
}

// Types returns the names of all exchange types.
func Types() []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.name
	}
	return names
}
