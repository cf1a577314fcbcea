package management

import (
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/queue"
)

// Node is what the broker does not know of itself.
type Node struct {
	Name          string
	ClusterID     string
	Version       string // Leveret's own
	CompatVersion string // the version of RabbitMQ to pass for
	Started       time.Time
	Listeners     []Listener
	// CertificateEnds is when that of the listeners with TLS does; zero without TLS.
	CertificateEnds time.Time
	// MostConnections is how many may be open; 0 is any number.
	MostConnections int
	DataDir         string
	ConfigFiles     []string

	// Figures of the process, in bytes or numbers. Those that are not known are negative, and
	// limits that are not watched are 0.
	MemoryUsed, MemoryLimit int64
	DiskFree, DiskLimit     int64
	OpenFiles, MostFiles    int64
}

// Listener is where the node listens.
type Listener struct {
	Protocol string // as RabbitMQ calls it: amqp, amqp/ssl, http, https, http/prometheus
	Address  netip.AddrPort
}

// product is what the broker is called where RabbitMQ's name is not what is asked for.
const product = "Leveret"

// overview tells of everything at once.
func (c *call) overview() error {
	n := c.self()
	visible := c.visible()
	watches := c.user == nil || monitor.may(c.user)
	o := object{
		"management_version":        n.CompatVersion,
		"rabbitmq_version":          n.CompatVersion,
		"product_name":              product,
		"product_version":           n.Version,
		"erlang_version":            "",
		"erlang_full_version":       runtime.Version(),
		"cluster_name":              c.Broker.ClusterName(),
		"node":                      n.Name,
		"rates_mode":                "basic",
		"exchange_types":            exchangeTypes(),
		"statistics_db_event_queue": 0,
		"disable_stats":             c.r.URL.Query().Get("disable_stats") == "true",
		"enable_queue_totals":       false,
		"object_totals":             c.objectTotals(visible),
	}
	if c.r.URL.Query().Get("disable_stats") == "true" {
		return c.one(o)
	}
	key := struct{ of, user string }{"overview", c.userName()}
	var depth, counters []counter
	var totals broker.QueueTotals
	if watches {
		totals = c.Broker.QueueTotals()
		b := &c.Broker.Counters
		counters = publishing(b.MessagesReceived.Load(), b.MessagesConfirmed.Load(), b.MessagesUnroutableReturned.Load(), b.MessagesUnroutableDropped.Load())
		o["listeners"] = n.listeners()
		o["contexts"] = n.contexts()
		o["churn_rates"] = c.count(object{}, ofNothing, struct{ of string }{"churn"}, churn(b))
	} else {
		var sum [4]uint64
		for _, v := range visible {
			totals.Add(v.QueueTotals())
			for i, x := range []uint64{v.Counters.MessagesReceived.Load(), v.Counters.MessagesConfirmed.Load(), v.Counters.MessagesUnroutableReturned.Load(), v.Counters.MessagesUnroutableDropped.Load()} {
				sum[i] += x
			}
		}
		counters = publishing(sum[0], sum[1], sum[2], sum[3])
	}
	o["message_stats"] = c.count(object{}, ofMessages, key, append(counters, consuming(sumOf(totals))...))
	var ready, out int64
	for _, v := range visible {
		r, u := depthOf(v)
		ready, out = ready+r, out+u
	}
	depth = lengths(ready, out)
	key.of = "depth"
	o["queue_totals"] = c.count(object{}, ofLengths, key, depth)
	return c.one(o)
}

func (c *call) userName() string {
	if c.user == nil {
		return ""
	}
	return c.user.Name
}

func (c *call) objectTotals(vhosts []*broker.VHost) object {
	exchanges, queues, consumers := 0, 0, 0
	names := make(map[string]bool)
	for _, v := range vhosts {
		names[v.Name()] = true
		exchanges += len(v.Exchanges())
		for _, q := range v.Queues() {
			queues++
			_, n := q.Counts()
			consumers += n
		}
	}
	connections, channels := 0, 0
	for _, s := range c.Broker.Sessions() {
		if d := s.Describe(); names[d.VHost] {
			connections++
			channels += d.Channels
		}
	}
	return object{"connections": connections, "channels": channels, "exchanges": exchanges, "queues": queues, "consumers": consumers}
}

// depthOf adds up the messages of a virtual host.
func depthOf(v *broker.VHost) (ready, unacknowledged int64) {
	for _, q := range v.Queues() {
		s := q.Stats()
		ready += s.Ready
		unacknowledged += s.Unacknowledged
	}
	return ready, unacknowledged
}

// publishing are the counters of what publishers sent.
func publishing(received, confirmed, returned, dropped uint64) []counter {
	return []counter{{"publish", received}, {"confirm", confirmed}, {"return_unroutable", returned}, {"drop_unroutable", dropped}}
}

// consuming are the counters of what queues handed out.
func consuming(t queue.Totals) []counter {
	return []counter{
		{"deliver", t.DeliveredAck},
		{"deliver_no_ack", t.DeliveredNoAck},
		{"get", t.GetAck},
		{"get_no_ack", t.GetNoAck},
		{"get_empty", t.GetEmpty},
		{"deliver_get", t.DeliveredAck + t.DeliveredNoAck + t.GetAck + t.GetNoAck},
		{"redeliver", t.Redelivered},
		{"ack", t.Acknowledged},
	}
}

func sumOf(t broker.QueueTotals) queue.Totals {
	var sum queue.Totals
	for i := range t {
		sum.Add(t[i])
	}
	return sum
}

// lengths are how many messages there are.
func lengths(ready, unacknowledged int64) []counter {
	return []counter{gauge("messages", ready+unacknowledged), gauge("messages_ready", ready), gauge("messages_unacknowledged", unacknowledged)}
}

func churn(b *broker.Counters) []counter {
	return []counter{
		{"connection_created", b.ConnectionsOpened.Load()},
		{"connection_closed", b.ConnectionsClosed.Load()},
		{"channel_created", b.ChannelsOpened.Load()},
		{"channel_closed", b.ChannelsClosed.Load()},
		{"queue_declared", b.QueuesDeclared.Load()},
		{"queue_created", b.QueuesCreated.Load()},
		{"queue_deleted", b.QueuesDeleted.Load()},
	}
}

func exchangeTypes() []object {
	var all []object
	for _, name := range exchange.Types() {
		all = append(all, object{"name": name, "description": "", "enabled": true})
	}
	return all
}

func (n *Node) listeners() []object {
	all := []object{}
	for _, l := range n.Listeners {
		all = append(all, object{"node": n.Name, "protocol": l.Protocol, "ip_address": l.Address.Addr().String(), "port": l.Address.Port()})
	}
	return all
}

// contexts are what is answered over HTTP.
func (n *Node) contexts() []object {
	all := []object{}
	for _, l := range n.Listeners {
		what, ok := map[string]string{"http": "RabbitMQ Management", "https": "RabbitMQ Management", "http/prometheus": "RabbitMQ Prometheus"}[l.Protocol]
		if ok {
			all = append(all, object{"node": n.Name, "description": what, "path": "/", "ip": l.Address.Addr().String(), "port": strconv.Itoa(int(l.Address.Port())), "ssl_opts": []any{}})
		}
	}
	return all
}

func (c *call) nodes() error {
	n := c.self()
	return c.list([]item{{n.Name, func() object { return c.describeNode(n) }}})
}

func (c *call) node() error {
	n := c.self()
	if c.args[0] != n.Name {
		return notFound
	}
	return c.one(c.describeNode(n))
}

func (c *call) describeNode(n *Node) object {
	alarms := c.Broker.Alarms()
	o := object{
		"name":                     n.Name,
		"type":                     "disc",
		"running":                  true,
		"being_drained":            false,
		"partitions":               []any{},
		"cluster_links":            []any{},
		"os_pid":                   strconv.Itoa(os.Getpid()),
		"uptime":                   c.now.Sub(n.Started).Milliseconds(),
		"run_queue":                0,
		"processors":               runtime.GOMAXPROCS(0),
		"proc_total":               1 << 20,
		"rates_mode":               "basic",
		"mem_limit":                n.MemoryLimit,
		"mem_alarm":                alarms.Has(broker.MemoryAlarm),
		"disk_free_limit":          n.DiskLimit,
		"disk_free_alarm":          alarms.Has(broker.DiskAlarm),
		"fd_total":                 max(n.MostFiles, 0),
		"sockets_total":            max(n.MostFiles, 0),
		"mem_calculation_strategy": "rss",
		"db_dir":                   n.DataDir,
		"config_files":             append([]string{}, n.ConfigFiles...),
		"log_files":                []string{"<stdout>"},
		"net_ticktime":             60,
		"exchange_types":           exchangeTypes(),
		"auth_mechanisms":          c.mechanisms(),
		"applications":             []object{{"name": "rabbit", "description": "RabbitMQ", "version": n.CompatVersion}, {"name": "leveret", "description": product, "version": n.Version}},
		"enabled_plugins":          []string{"rabbitmq_management", "rabbitmq_prometheus"},
		"contexts":                 n.contexts(),
		"rabbitmq_version":         n.CompatVersion,
	}
	figures := []counter{gauge("proc_used", int64(runtime.NumGoroutine())), gauge("sockets_used", int64(len(c.Broker.Sessions())))}
	for _, f := range []struct {
		name  string
		value int64
	}{{"mem_used", n.MemoryUsed}, {"disk_free", n.DiskFree}, {"fd_used", n.OpenFiles}} {
		if f.value >= 0 {
			figures = append(figures, gauge(f.name, f.value))
		}
	}
	return c.count(o, ofNodes, struct{ of string }{"node"}, append(figures, churn(&c.Broker.Counters)...))
}

// nodeMemory tells what the memory of the node is used for, as far as that is known.
func (c *call) nodeMemory() error {
	n := c.self()
	if c.args[0] != n.Name {
		return notFound
	}
	var queues int64
	for _, v := range c.Broker.VHosts() {
		for _, q := range v.Queues() {
			queues += q.Memory()
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return c.one(object{"memory": object{
		"queue_procs":      queues,
		"other_system":     max(n.MemoryUsed-queues, 0),
		"allocated_unused": int64(m.HeapIdle - m.HeapReleased),
		"strategy":         "rss",
		"total":            object{"rss": max(n.MemoryUsed, 0), "allocated": int64(m.Sys), "erlang": int64(m.HeapAlloc)},
	}})
}

func (c *call) none() error { return c.ok([]any{}) }

// auth tells how one may log in, beside with a name and a password.
func (c *call) auth() error { return c.ok(object{"oauth_enabled": false}) }

func (c *call) whoami() error {
	if c.user == nil {
		return c.ok(object{"name": "", "tags": []string{"administrator"}})
	}
	return c.ok(object{"name": c.user.Name, "tags": append([]string{}, c.user.Tags...)})
}

// featureFlags are what tools look for before they use a feature of RabbitMQ. Those that
// could be switched off there are always on here.
var featureFlags = []string{
	"classic_mirrored_queue_version", "drop_unroutable_metric", "empty_basic_get_metric", "implicit_default_bindings",
	"maintenance_mode_status", "quorum_queue", "stream_queue", "user_limits", "virtual_host_metadata",
}

func (c *call) featureFlags() error {
	all := []object{}
	for _, name := range featureFlags {
		all = append(all, object{"name": name, "desc": "", "doc_url": "", "state": "enabled", "stability": "stable", "provided_by": "rabbit"})
	}
	return c.ok(all)
}

// enableFeatureFlag finds the flag on already.
func (c *call) enableFeatureFlag() error {
	if !slices.Contains(featureFlags, c.args[0]) {
		return badRequest("unsupported")
	}
	return c.gone()
}

func (c *call) authAttempts() error {
	b := &c.Broker.Counters
	accepted, refused := b.AuthenticationAccepted.Load(), b.AuthenticationRefused.Load()
	return c.ok([]object{{"protocol": "amqp091", "auth_attempts": accepted + refused, "auth_attempts_succeeded": accepted, "auth_attempts_failed": refused}})
}

func (c *call) hashPassword() error { return c.ok(object{"ok": c.Broker.HashPassword(c.args[0])}) }

// rebalance has nothing to do on one node.
func (c *call) rebalance() error {
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// fine is the answer of a check that cannot fail while there is somebody to answer it.
func (c *call) fine() error { return c.ok(object{"status": "ok"}) }

// alone is the answer to whether others depend on this node: there are none.
func (c *call) alone() error { return c.ok(object{"status": "ok", "reason": "single node cluster"}) }

// failed is the answer of a check that has failed.
func (c *call) failed(reason string, more object) error {
	more["status"], more["reason"] = "failed", reason
	return c.write(http.StatusServiceUnavailable, more)
}

func (c *call) alarmCheck() error {
	var on []object
	for _, a := range c.Broker.Alarms().All() {
		on = append(on, object{"node": c.self().Name, "resource": a.String()})
	}
	if on == nil {
		return c.fine()
	}
	return c.failed("resource alarm(s) in effect", object{"alarms": on})
}

func (c *call) portCheck() error {
	port, err := strconv.ParseUint(c.args[0], 10, 16)
	if err != nil {
		return badRequest("Invalid port number.")
	}
	ports := []uint16{}
	for _, l := range c.self().Listeners {
		ports = append(ports, l.Address.Port())
	}
	if slices.Contains(ports, uint16(port)) {
		return c.ok(object{"status": "ok", "port": port})
	}
	return c.failed("No active listener", object{"missing": port, "ports": ports})
}

func (c *call) protocolCheck() error {
	protocols := []string{}
	for _, l := range c.self().Listeners {
		if !slices.Contains(protocols, l.Protocol) {
			protocols = append(protocols, l.Protocol)
		}
	}
	asked := c.args[0]
	if asked == "amqp091" {
		asked = "amqp"
	}
	if slices.Contains(protocols, asked) {
		return c.ok(object{"status": "ok", "protocol": c.args[0]})
	}
	return c.failed("No active listener", object{"missing": c.args[0], "protocols": protocols})
}

// certificateCheck fails when a certificate ends within a time.
func (c *call) certificateCheck() error {
	within, err := strconv.ParseUint(c.args[0], 10, 16)
	if err != nil {
		return badRequest("Invalid expiration value.")
	}
	n, until := int(within), c.now
	switch c.args[1] {
	case "days":
		until = until.AddDate(0, 0, n)
	case "weeks":
		until = until.AddDate(0, 0, 7*n)
	case "months":
		until = until.AddDate(0, n, 0)
	case "years":
		until = until.AddDate(n, 0, 0)
	default:
		return badRequest("Time unit not recognised. Use: days, weeks, months, years.")
	}
	ends := c.self().CertificateEnds
	if ends.IsZero() || ends.After(until) {
		return c.fine()
	}
	expired := []object{}
	for _, l := range c.self().Listeners {
		if l.Protocol == "amqp/ssl" || l.Protocol == "https" {
			expired = append(expired, object{
				"node": c.self().Name, "protocol": l.Protocol, "interface": l.Address.Addr().String(), "port": l.Address.Port(),
				"certfile_expires_on": []string{ends.UTC().Format(time.DateTime)},
			})
		}
	}
	return c.failed("Certificates expiring", object{"expired": expired})
}

// connectionCheck fails when no more connections are let in.
func (c *call) connectionCheck() error {
	limit, current := c.self().MostConnections, len(c.Broker.Sessions())
	if limit == 0 || current < limit {
		return c.fine()
	}
	return c.failed("node connection limit is reached", object{"current": current, "limit": limit})
}

// mechanisms are those of SASL that clients may log in with.
func (c *call) mechanisms() []object {
	all := []object{}
	for _, name := range c.Broker.Mechanisms(!c.self().CertificateEnds.IsZero()) {
		all = append(all, object{"name": name, "enabled": true, "description": map[string]string{
			auth.Plain:    "SASL PLAIN authentication mechanism",
			auth.AMQPlain: "QPid AMQPLAIN mechanism",
			auth.External: "TLS peer verification using client x509 certificate authentication mechanism",
		}[name]})
	}
	return all
}
