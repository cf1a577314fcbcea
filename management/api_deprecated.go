package management

import (
	"slices"

	"github.com/leveretmq/leveret/broker"
)

// deprecated is something that RabbitMQ means to take away one day. Here it works and goes on
// working; whoever asks wants to know what of it a client would miss there.
type deprecated struct {
	name, about string
	used        func(c *call) bool // nil when that cannot be told, as with RabbitMQ
}

// deprecatedFeatures are those of RabbitMQ's that there are here, by name.
var deprecatedFeatures = []deprecated{
	{"global_qos", "a prefetch count shared by all consumers of a channel (basic.qos with global)", (*call).sharesPrefetch},
	{"management_metrics_collection", "statistics over the management API; the metrics for Prometheus have them too", nil},
	{"transient_nonexcl_queues", "queues that are neither durable nor exclusive", (*call).hasTransientQueues},
}

func (c *call) deprecatedFeatures() error {
	return c.listDeprecated(func(deprecated) bool { return true })
}

func (c *call) usedDeprecatedFeatures() error {
	return c.listDeprecated(func(d deprecated) bool { return d.used != nil && d.used(c) })
}

func (c *call) listDeprecated(shown func(deprecated) bool) error {
	items := []item{}
	for _, d := range deprecatedFeatures {
		if !shown(d) {
			continue
		}
		items = append(items, item{d.name, func() object {
			return object{"name": d.name, "desc": d.about, "deprecation_phase": "permitted_by_default",
				"doc_url": "https://www.rabbitmq.com/release-information/deprecated-features-list", "provided_by": "rabbit"}
		}})
	}
	return c.list(items)
}

func (c *call) hasTransientQueues() bool {
	return slices.ContainsFunc(c.Broker.VHosts(), func(v *broker.VHost) bool {
		for _, q := range v.Queues() {
			if spec := q.Spec(); !spec.Durable && !spec.Exclusive {
				return true
			}
		}
		return false
	})
}

func (c *call) sharesPrefetch() bool {
	return slices.ContainsFunc(c.Broker.Sessions(), func(s broker.Session) bool {
		return slices.ContainsFunc(s.Channels(), func(ch broker.ChannelInfo) bool { return ch.GlobalPrefetch > 0 })
	})
}
