package management

import (
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
)

func (c *call) queues() error {
	vhosts, err := c.within()
	if err != nil {
		return err
	}
	describe := c.describeQueue
	if c.r.URL.Query().Get("disable_stats") == "true" {
		describe = c.declaredQueue
		if c.r.URL.Query().Get("enable_queue_totals") == "true" {
			describe = c.countedQueue
		}
	}
	items := []item{}
	for _, v := range vhosts {
		for _, q := range v.Queues() {
			items = append(items, item{q.Name(), func() object { return describe(v, q) }})
		}
	}
	return c.list(items)
}

// aQueue is the queue of the path.
func (c *call) aQueue() (*broker.VHost, *queue.Queue, error) {
	v, err := c.vhost()
	if err != nil {
		return nil, nil, err
	}
	q := v.FindQueue(c.args[1])
	if q == nil {
		return nil, nil, notFound
	}
	return v, q, nil
}

func (c *call) queue() error {
	v, q, err := c.aQueue()
	if err != nil {
		return err
	}
	o := c.describeQueue(v, q)
	o["consumer_details"] = c.consumersOf(q, func(broker.SubscriberInfo) bool { return true })
	o["incoming"], o["deliveries"] = []any{}, []any{}
	return c.one(o)
}

// declaredQueue is what a queue was declared as.
func (c *call) declaredQueue(v *broker.VHost, q *queue.Queue) object {
	s, node := q.Spec(), c.self().Name
	o := object{
		"name":        s.Name,
		"vhost":       s.VHost,
		"type":        q.Options().Type.String(),
		"durable":     s.Durable,
		"auto_delete": s.AutoDelete,
		"exclusive":   s.Exclusive,
		"arguments":   definitions.Value(s.Arguments),
		"node":        node,
		"state":       "running",
	}
	if o["type"] == queue.Quorum.String() {
		o["leader"], o["members"], o["online"] = node, []string{node}, []string{node}
	}
	applied, _ := v.QueuePolicies(s.Name)
	addPolicies(o, applied)
	return o
}

func addPolicies(o object, is policy.Applied) {
	o["policy"], o["operator_policy"] = nil, nil
	if is.Policy != nil {
		o["policy"] = is.Policy.Name
	}
	if is.Operator != nil {
		o["operator_policy"] = is.Operator.Name
	}
	o["effective_policy_definition"] = definitions.Value(is.Definition)
}

// countedQueue is declaredQueue with how many messages there are.
func (c *call) countedQueue(v *broker.VHost, q *queue.Queue) object {
	o, s := c.declaredQueue(v, q), q.Stats()
	o["messages"], o["messages_ready"], o["messages_unacknowledged"] = s.Ready+s.Unacknowledged, s.Ready, s.Unacknowledged
	return o
}

// describeQueue tells of a queue what RabbitMQ does, of what there is.
func (c *call) describeQueue(v *broker.VHost, q *queue.Queue) object {
	o, s := c.declaredQueue(v, q), q.Stats()
	o["consumers"] = s.Consumers
	o["exclusive_consumer_tag"], o["single_active_consumer_tag"] = nil, nil
	if s.Consumers > 0 {
		c.addTags(o, q)
	}
	o["memory"] = q.Memory()
	o["message_bytes"] = s.ReadyBytes + s.UnacknowledgedBytes
	o["message_bytes_ready"], o["message_bytes_unacknowledged"] = s.ReadyBytes, s.UnacknowledgedBytes
	c.count(o, ofLengths, queueKey{q.ID(), false}, lengths(s.Ready, s.Unacknowledged))
	o["message_stats"] = c.count(object{}, ofMessages, queueKey{q.ID(), true}, append(consuming(s.Totals), counter{"publish", s.Published}))
	return o
}

// queueKey is what the counters of a queue are remembered by.
type queueKey struct {
	id    queue.ID
	stats bool
}

func (c *call) addTags(o object, q *queue.Queue) {
	single := q.Options().SingleActiveConsumer
	for _, s := range q.Subscriptions() {
		k, ok := s.Consumer.(broker.Subscriber)
		switch {
		case !ok:
		case s.Exclusive:
			o["exclusive_consumer_tag"] = k.Subscription().Tag
		case single && s.Active:
			o["single_active_consumer_tag"] = k.Subscription().Tag
		}
	}
}

// consumersOf describes the consumers of a queue that which is true for.
func (c *call) consumersOf(q *queue.Queue, which func(broker.SubscriberInfo) bool) []object {
	all := []object{}
	single := q.Options().SingleActiveConsumer
	for _, s := range q.Subscriptions() {
		k, ok := s.Consumer.(broker.Subscriber)
		if !ok {
			continue
		}
		i := k.Subscription()
		if !which(i) {
			continue
		}
		activity := "up"
		switch {
		case single && s.Active:
			activity = "single_active"
		case single:
			activity = "waiting"
		}
		d := i.Session.Describe()
		channel := object{
			"name": channelName(d.Name, i.Channel), "number": i.Channel, "connection_name": d.Name, "node": c.self().Name, "user": d.User,
		}
		if d.Peer.IsValid() {
			channel["peer_host"], channel["peer_port"] = d.Peer.Addr().String(), d.Peer.Port()
		}
		all = append(all, object{
			"consumer_tag":    i.Tag,
			"queue":           object{"name": q.Name(), "vhost": q.Spec().VHost},
			"channel_details": channel,
			"ack_required":    i.AckRequired,
			"active":          s.Active,
			"activity_status": activity,
			"exclusive":       s.Exclusive,
			"prefetch_count":  i.Prefetch,
			"arguments":       definitions.Value(i.Arguments),
		})
	}
	return all
}

// declareQueue makes a queue, or finds it equivalent.
func (c *call) declareQueue() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	spec := queue.Spec{Name: c.args[1], By: c.by()}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := firstOf(f.boolean("durable", &spec.Durable), f.boolean("auto_delete", &spec.AutoDelete), f.arguments("arguments", &spec.Arguments)); err != nil {
		return err
	}
	there := v.FindQueue(spec.Name) != nil
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		_, commit, err := v.DeclareQueue(c.now, nil, spec, c.permit(v.Name()), out)
		return commit, err
	}); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deleteQueue() error {
	v, q, err := c.aQueue()
	if err != nil {
		return err
	}
	query := c.r.URL.Query()
	o := queue.DeleteOptions{IfUnused: query.Get("if-unused") == "true", IfEmpty: query.Get("if-empty") == "true"}
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		_, commit, err := v.DeleteQueue(c.now, nil, q.Name(), o, c.permit(v.Name()), out)
		return commit, err
	}); err != nil {
		return err
	}
	return c.gone()
}

func (c *call) purgeQueue() error {
	q, err := c.readable()
	if err != nil {
		return err
	}
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		q.Purge(c.now, out)
		return nil, nil
	}); err != nil {
		return err
	}
	return c.gone()
}

// readable is the queue of the path, which the caller has to be allowed to read, and whose
// record is on disk.
func (c *call) readable() (*queue.Queue, error) {
	v, q, err := c.aQueue()
	if err != nil {
		return nil, err
	}
	if permit := c.permit(v.Name()); permit != nil {
		if err := permit(broker.Access{Op: auth.Read, Kind: binding.Queue, Name: q.Name()}); err != nil {
			return nil, err
		}
	}
	q, commit, err := v.Queue(nil, q.Name())
	if err != nil {
		return nil, err
	}
	return q, wait(c.r.Context(), commit)
}
