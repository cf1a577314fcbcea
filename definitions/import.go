package definitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// Error is why definitions are not taken.
type Error struct {
	Item string // such as queue 'q' in vhost '/'; empty when it is all of them
	Err  error
}

func (e *Error) Error() string {
	if e.Item == "" {
		return e.Err.Error()
	}
	return e.Item + ": " + reason(e.Err)
}

// Unwrap returns what is wrong with the item.
func (e *Error) Unwrap() error { return e.Err }

// reason is the text of an error without the word that a reply code begins with.
func reason(err error) string {
	var e *amqp.Error
	if errors.As(err, &e) {
		return e.Explanation()
	}
	return err.Error()
}

// Parse reads definitions. Members it does not know are passed over (DEF-1).
func Parse(b []byte) (Definitions, error) {
	var d Definitions
	var wrongType *json.UnmarshalTypeError
	switch err := json.Unmarshal(b, &d); {
	case errors.As(err, &wrongType) && wrongType.Field != "":
		return d, &Error{Err: fmt.Errorf("%s: %s is not what is wanted there", wrongType.Field, wrongType.Value)}
	case err != nil:
		return d, &Error{Err: fmt.Errorf("not the JSON of definitions: %w", err)}
	}
	return d, nil
}

// Result is what an import has come to.
type Result struct {
	// Commit is the last change on its way to the disk, nil when there is nothing to wait
	// for: when it has ended, so have all others.
	Commit *broker.Commit
}

// Import declares in b what d holds, unless there is something in it that cannot be: then
// it is an *Error, and nothing has been declared. Users, permissions and policies replace
// those of the same name; queues and exchanges that are there stay as they are; nothing is
// deleted (DEF-4). What that sets off is left in out. Should somebody delete what d needs
// meanwhile, the rest is left undone.
func Import(now time.Time, b *broker.Broker, d Definitions, out *queue.Effects) (Result, error) {
	return ImportAll(now, b, []Definitions{d}, out)
}

// ImportAll is Import for several, one after the other: what a later one needs may be in an
// earlier one. All are checked before the first is declared. The error begins with the origin
// of the one it is about (DEF-7).
func ImportAll(now time.Time, b *broker.Broker, all []Definitions, out *queue.Effects) (Result, error) {
	c := newChecker(b)
	found := make([]parameters, len(all))
	for k := range all {
		c.parameters = parameters{}
		if err := c.check(&all[k]); err != nil {
			return Result{}, all[k].named(err)
		}
		found[k] = c.parameters
	}
	i := importer{now: now, b: b, out: out}
	for k := range all {
		i.parameters = found[k]
		if err := i.apply(&all[k]); err != nil {
			return Result{Commit: i.last}, all[k].named(err)
		}
	}
	return Result{Commit: i.last}, nil
}

// named is err with where d comes from.
func (d *Definitions) named(err error) error {
	if d.Origin == "" {
		return err
	}
	return fmt.Errorf("%s: %w", d.Origin, err)
}

// ImportVHost is Import for the definitions of one virtual host, which has to be there.
// Users, virtual hosts and permissions are not taken (DEF-6).
func ImportVHost(now time.Time, v *broker.VHost, b *broker.Broker, d Definitions, out *queue.Effects) (Result, error) {
	name := v.Name()
	d.Users, d.VHosts, d.Permissions, d.TopicPermissions, d.GlobalParameters = nil, nil, nil, nil, nil
	for i := range d.Parameters {
		d.Parameters[i].VHost = name
	}
	for i := range d.Policies {
		d.Policies[i].VHost = name
	}
	for i := range d.Queues {
		d.Queues[i].VHost = name
	}
	for i := range d.Exchanges {
		d.Exchanges[i].VHost = name
	}
	for i := range d.Bindings {
		d.Bindings[i].VHost = name
	}
	return Import(now, b, d, out)
}

// importer declares what was checked.
type importer struct {
	now time.Time
	b   *broker.Broker
	out *queue.Effects
	parameters
	last *broker.Commit
}

// parameters are what of the parameters of one Definitions means something.
type parameters struct {
	operators []policy.Policy
	limits    []vhostLimits
}

// vhostLimits are the limits that the definitions have for a virtual host.
type vhostLimits struct {
	vhost  string
	limits auth.Limits
}

// done notes how one item went. Commits end in the order they were begun.
func (i *importer) done(item string, c *broker.Commit, err error) error {
	if c != nil {
		i.last = c
	}
	if err != nil {
		return &Error{Item: item, Err: fmt.Errorf("not declared, nor what follows it: %w", err)}
	}
	return nil
}

// apply declares everything in the order of DEF-4, in which nothing is needed before it is
// there.
func (i *importer) apply(d *Definitions) error {
	for _, f := range []func(*Definitions) error{i.users, i.vhosts, i.permissions, i.globals, i.exchanges, i.policies, i.queues, i.bindings} {
		if err := f(d); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) users(d *Definitions) error {
	for _, u := range d.Users {
		have, there := i.b.User(u.Name)
		want := u.user(func(password string) string {
			// A new salt for the same password would be a change at every import.
			if there && have.Algorithm == auth.SHA256 && have.Verify(password) {
				return have.PasswordHash
			}
			return i.b.HashPassword(password)
		})
		c, err := i.b.PutUser(want)
		if err := i.done(u.item(), c, err); err != nil {
			return err
		}
	}
	return nil
}

// user is what u stands for.
func (u User) user(hash func(password string) string) auth.User {
	out := auth.User{Name: u.Name, Algorithm: u.Algorithm, Tags: u.Tags, Limits: auth.Limits(u.Limits)}
	switch {
	case u.PasswordHash != nil:
		out.PasswordHash = *u.PasswordHash
	case u.Password != nil:
		out.PasswordHash, out.Algorithm = hash(*u.Password), auth.SHA256
	}
	return out
}

func (i *importer) vhosts(d *Definitions) error {
	for _, v := range d.VHosts {
		var was topology.VHost
		if there := i.b.VHost(v.Name); there != nil {
			was = there.Settings()
		}
		c, err := i.b.SetVHost(v.over(was))
		if err := i.done(v.item(), c, err); err != nil {
			return err
		}
	}
	for _, l := range i.limits {
		for _, x := range l.limits {
			c, err := i.b.SetVHostLimit(l.vhost, x.Name, x.Value)
			if err := i.done(item("limits", "", l.vhost), c, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// over is was with what v says of it.
func (v VHost) over(was topology.VHost) topology.VHost {
	was.Name = v.Name
	m := VHostMetadata{}
	if v.Metadata != nil {
		m = *v.Metadata
	}
	if s := first(v.Description, m.Description); s != nil {
		was.Description = *s
	}
	if t := first(v.Tags, m.Tags); t != nil {
		was.Tags = *t
	}
	// "undefined" is what RabbitMQ wrote for none.
	if s := first(v.DefaultQueueType, m.DefaultQueueType); s != nil && *s != "undefined" {
		was.DefaultQueueType = *s
	}
	if v.Tracing != nil {
		was.Tracing = *v.Tracing
	}
	return was
}

func first[T any](a, b *T) *T {
	if a != nil {
		return a
	}
	return b
}

// globals are the global parameters, but for those of the node they come from.
func (i *importer) globals(d *Definitions) error {
	for _, g := range d.GlobalParameters {
		if ofNode(g.Name) {
			continue
		}
		c, err := i.b.SetGlobalParameter(g.record())
		if err := i.done(g.item(), c, err); err != nil {
			return err
		}
	}
	return nil
}

// ofNode tells whether a global parameter is about the node it was set on: any other has one of
// its own.
func ofNode(name string) bool { return name == broker.ClusterID || name == broker.DefinitionsHash }

func (g GlobalParameter) record() topology.GlobalParameter {
	return topology.GlobalParameter{Name: g.Name, Value: string(g.Value)}
}

func (i *importer) permissions(d *Definitions) error {
	for _, p := range d.Permissions {
		c, err := i.b.PutPermission(auth.Permission(p))
		if err := i.done(p.item(), c, err); err != nil {
			return err
		}
	}
	for _, p := range d.TopicPermissions {
		c, err := i.b.PutTopicPermission(auth.TopicPermission(p))
		if err := i.done(p.item(), c, err); err != nil {
			return err
		}
	}
	return nil
}

// errVHostGone is why the rest of an import was not done.
var errVHostGone = errors.New("its virtual host has been deleted meanwhile")

func (i *importer) exchanges(d *Definitions) error {
	for _, x := range d.Exchanges {
		v, err := i.b.VHost(x.VHost), errVHostGone
		var c *broker.Commit
		if v != nil {
			c, err = v.AddExchange(x.Spec())
		}
		if err := i.done(x.item(), c, err); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) policies(d *Definitions) error {
	for _, p := range d.Policies {
		c, err := i.b.SetPolicy(i.now, p.Policy(), i.out)
		if err := i.done(p.item(), c, err); err != nil {
			return err
		}
	}
	for _, p := range i.operators {
		c, err := i.b.SetOperatorPolicy(i.now, p, i.out)
		if err := i.done(item("operator policy", p.Name, p.VHost), c, err); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) queues(d *Definitions) error {
	for _, q := range d.Queues {
		v, err := i.b.VHost(q.VHost), errVHostGone
		var c *broker.Commit
		if v != nil {
			c, err = v.AddQueue(i.now, q.Spec(), i.out)
		}
		if err := i.done(q.item(), c, err); err != nil {
			return err
		}
	}
	return nil
}

func (i *importer) bindings(d *Definitions) error {
	for _, b := range d.Bindings {
		if b.isImplied() {
			continue
		}
		v, err := i.b.VHost(b.VHost), errVHostGone
		var c *broker.Commit
		if v != nil {
			made, wrong := b.Binding()
			if err = wrong; err == nil {
				c, err = v.Bind(nil, made, nil)
			}
		}
		if err := i.done(b.item(), c, err); err != nil {
			return err
		}
	}
	return nil
}

// isImplied tells whether b is the binding of a queue to the default exchange, which is
// always there (EX-24).
func (b Binding) isImplied() bool {
	return b.Source == "" && b.DestinationType == "queue" && b.RoutingKey == b.Destination
}
