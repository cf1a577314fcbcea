package config

import (
	"fmt"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// problem is one thing wrong with a configuration.
type problem struct{ key, text string }

// Validate tells everything that is wrong with c, one problem to a line, or nil. Load
// has done it already; it is for a Config made in code.
func (c Config) Validate() error { return asError(c.problems(), nil) }

func (c *Config) problems() []problem {
	var found []problem
	add := func(key, format string, args ...any) {
		found = append(found, problem{key, fmt.Sprintf(format, args...)})
	}
	for _, s := range settings() {
		for _, text := range s.check(c) {
			add(s.key, "%s", text)
		}
	}
	for _, of := range []struct {
		key       string
		addresses []string
	}{
		{"listen", c.Listen}, {"metrics_listen", c.MetricsListen}, {"management_listen", c.ManagementListen},
		{"tls.listen", c.TLS.Listen}, {"tls.management_listen", c.TLS.ManagementListen},
	} {
		for _, address := range of.addresses {
			if err := checkAddress(address); err != nil {
				add(of.key, "%s", err)
			}
		}
	}
	c.TLS.check(add)
	if c.AMQP.Heartbeat%time.Second != 0 {
		add("amqp.heartbeat", "%s is not a whole number of seconds, which is what is agreed with clients", c.AMQP.Heartbeat)
	}
	c.Topology.check(add)
	return found
}

// check finds files that are of no use without others.
func (t *TLS) check(add func(key, format string, args ...any)) {
	switch {
	case t.CertFile != "" && t.KeyFile == "":
		add("tls.key_file", "is empty, where tls.cert_file has a certificate")
	case t.CertFile == "" && t.KeyFile != "":
		add("tls.cert_file", "is empty, where tls.key_file has a key")
	}
	if t.CertFile == "" {
		for _, of := range []struct{ key, value, none string }{
			{"tls.ca_file", t.CAFile, ""}, {"tls.verify", t.Verify, "none"}, {"tls.management_verify", t.ManagementVerify, "none"},
		} {
			if of.value != of.none && t.KeyFile == "" {
				add(of.key, "is %s, and without tls.cert_file there is no TLS", of.value)
			}
		}
	}
	if t.CAFile == "" {
		for _, of := range []struct{ key, value string }{{"tls.verify", t.Verify}, {"tls.management_verify", t.ManagementVerify}} {
			if of.value == "optional" || of.value == "required" {
				add(of.key, "is %s, and tls.ca_file does not say whose certificates are good", of.value)
			}
		}
		if t.CRLFile != "" {
			add("tls.crl_file", "is set, and tls.ca_file does not say whose lists are good")
		}
	}
}

// check holds s against the limits in its tags.
func (s setting) check(c *Config) (problems []string) {
	v := s.value(c)
	switch v.Kind() {
	case reflect.String:
		// The node's name is filled in when it is empty; little else makes sense empty.
		if v.String() == "" && s.key != "node_name" && s.tag("optional") == "" {
			problems = append(problems, "is empty")
		}
		if words := strings.Fields(s.tag("oneof")); len(words) > 0 && v.String() != "" && !slices.Contains(words, v.String()) {
			problems = append(problems, fmt.Sprintf("%q is none of %s", v.String(), strings.Join(words, ", ")))
		}
	case reflect.Slice:
		words := strings.Fields(s.tag("oneof"))
		for _, item := range v.Interface().([]string) {
			if len(words) > 0 && !slices.Contains(words, item) {
				problems = append(problems, fmt.Sprintf("%q is none of %s", item, strings.Join(words, ", ")))
			}
		}
		if len(words) > 0 && v.Len() == 0 {
			problems = append(problems, "is empty")
		}
	case reflect.Int, reflect.Int64:
		if limit := s.tag("min"); limit != "" && v.Int() < s.limit(limit) {
			problems = append(problems, fmt.Sprintf("%v is below the minimum %s", s.show(c), limit))
		}
		if limit := s.tag("max"); limit != "" && v.Int() > s.limit(limit) {
			problems = append(problems, fmt.Sprintf("%v is above the maximum %s", s.show(c), limit))
		}
	}
	return problems
}

// limit is the number a min or max tag stands for.
func (s setting) limit(tag string) int64 {
	n, err := s.parseNumber(s.field.Type, tag)
	if err != nil {
		panic(fmt.Sprintf("config: limit of %s: %v", s.key, err))
	}
	return n
}

// normalise writes addresses given as a port alone as :port.
func (c *Config) normalise() {
	for _, list := range [][]string{c.Listen, c.MetricsListen, c.ManagementListen, c.TLS.Listen, c.TLS.ManagementListen} {
		for i, address := range list {
			if _, err := strconv.ParseUint(address, 10, 64); err == nil {
				list[i] = ":" + address
			}
		}
	}
}

func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not host:port, [ipv6]:port or :port", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: the port is not a number from 0 to 65535", address)
	}
	return nil
}

// check finds what no broker could declare. Whether an exchange type or an argument is
// known is for the broker to say.
func (t *Topology) check(add func(key, format string, args ...any)) {
	unique := map[string]string{}
	// once reports names that are empty, too long for the wire or given twice.
	once := func(key, kind, vhost, name string) {
		switch id := kind + "\x00" + vhost + "\x00" + name; {
		case name == "":
			add(key, "has no name")
		case len(name) > 255:
			add(key, "a name of %d bytes, where AMQP allows 255", len(name))
		case unique[id] != "":
			add(key, "%s %q was given before, as %s", kind, name, unique[id])
		default:
			unique[id] = key
		}
	}
	at := func(list string, i int) string { return fmt.Sprintf("%s.%s[%d]", topologyKey, list, i) }
	for i, v := range t.VHosts {
		once(at("vhosts", i), "virtual host", "", v.Name)
	}
	for i, u := range t.Users {
		key := at("users", i)
		once(key, "user", "", u.Name)
		switch {
		case u.Password == masked || u.PasswordHash == masked:
			add(key, "%s", errMasked)
		case u.Password != "" && u.PasswordHash != "":
			add(key, "has both password and password_hash")
		case u.Password == "" && u.PasswordHash == "":
			add(key, "has neither password nor password_hash")
		}
		vhosts := map[string]bool{}
		for j, p := range u.Permissions {
			if vhosts[p.VHost] {
				add(fmt.Sprintf("%s.permissions[%d]", key, j), "permissions in %q were given before", p.VHost)
			}
			vhosts[p.VHost] = true
		}
		topics := map[[2]string]bool{}
		for j, p := range u.TopicPermissions {
			if topics[[2]string{p.VHost, p.Exchange}] {
				add(fmt.Sprintf("%s.topic_permissions[%d]", key, j), "topic permissions for %q in %q were given before", p.Exchange, p.VHost)
			}
			topics[[2]string{p.VHost, p.Exchange}] = true
		}
	}
	for i, p := range t.Policies {
		once(at("policies", i), "policy", p.VHost, p.Name)
	}
	for i, p := range t.OperatorPolicies {
		once(at("operator_policies", i), "operator policy", p.VHost, p.Name)
	}
	for i, x := range t.Exchanges {
		once(at("exchanges", i), "exchange", x.VHost, x.Name)
		if x.Type == "" {
			add(at("exchanges", i), "has no type")
		}
	}
	for i, q := range t.Queues {
		once(at("queues", i), "queue", q.VHost, q.Name)
	}
	for i, b := range t.Bindings {
		key := at("bindings", i)
		if b.Exchange == "" {
			add(key, "has no exchange; queues are bound to the default exchange already")
		}
		if (b.Queue == "") == (b.DestinationExchange == "") {
			add(key, "has to have one of queue and destination_exchange")
		}
		if len(b.RoutingKey) > 255 {
			add(key, "a routing key of %d bytes, where AMQP allows 255", len(b.RoutingKey))
		}
	}
}
