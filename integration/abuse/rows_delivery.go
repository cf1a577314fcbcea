package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// deliveries are the rows about consuming, and about permissions and the management API.
func deliveries() []row {
	return []row{
		{id: "C18", input: "ack of tags unknown, repeated, 0, another channel's", want: "chan 406, nothing acknowledged", run: func(t *trial) {
			each(t, []func(p *peer, tag uint64){
				func(p *peer, tag uint64) { p.send(1, &amqp.BasicAck{DeliveryTag: tag + 1}) },
				func(p *peer, tag uint64) {
					p.send(1, &amqp.BasicReject{DeliveryTag: tag, Requeue: true}, &amqp.BasicAck{DeliveryTag: tag})
				},
				func(p *peer, _ uint64) { p.send(1, &amqp.BasicAck{}) },
				func(p *peer, tag uint64) {
					p.call(2, &amqp.ChannelOpen{}, "channel.open-ok")
					p.send(2, &amqp.BasicAck{DeliveryTag: tag})
				},
				func(p *peer, tag uint64) { p.send(1, &amqp.BasicNack{DeliveryTag: tag + 9, Multiple: true}) },
			}, func(t *trial, f func(*peer, uint64)) {
				p := t.client()
				q := fmt.Sprintf("abuse.c18.%p", t)
				p.call(1, &amqp.QueueDeclare{Queue: q}, "queue.declare-ok")
				p.publish("", q, nil, nil)
				p.send(1, &amqp.BasicGet{Queue: q})
				f(p, p.delivered().method.(*amqp.BasicGetOk).DeliveryTag)
				p.ends("chan 406")
				p.reset()
				t.returned(q, t.patience)
			})
		}},
		{id: "C19", input: "nack multiple of 300,000 deliveries", want: "at once, others undisturbed", kind: heavy, run: func(t *trial) { t.nackMany(300000) }},
		{id: "C19s", input: "nack multiple of 20,000 deliveries", want: "at once, others undisturbed", run: func(t *trial) { t.nackMany(20000) }},
		{id: "C33", input: "channel.flow active=false", want: "conn 540 (CH-8)", run: func(t *trial) {
			p := t.client()
			p.call(1, &amqp.ChannelFlow{Active: true}, "channel.flow-ok")
			p.send(1, &amqp.ChannelFlow{})
			p.ends("conn 540")
		}},
		{id: "C34", input: "basic.get of an empty queue, 8 connections, as fast as they can", want: "get-empty, others undisturbed", run: func(t *trial) {
			each(t, make([]int, 8), func(t *trial, _ int) {
				p := t.client()
				q := p.declare(nil)
				var buf []byte
				for range 50 {
					buf = amqp.AppendMethod(buf, 1, &amqp.BasicGet{Queue: q})
				}
				for began := time.Now(); time.Since(began) < time.Second; {
					p.raw(buf)
					for range 50 {
						p.want("basic.get-empty")
					}
				}
			})
			t.note("get-empty")
		}},
		{id: "C35", input: "qos 65535, then 0, each way global, in mid-stream", want: "holds for what comes next", run: func(t *trial) {
			p := t.client()
			q := p.declare(nil)
			p.fill1(q, 10, nil, nil)
			p.call(1, &amqp.BasicQos{PrefetchCount: 65535}, "basic.qos-ok")
			p.call(1, &amqp.BasicQos{PrefetchCount: 3, Global: true}, "basic.qos-ok")
			p.call(1, &amqp.BasicConsume{Queue: q}, "basic.consume-ok")
			for range 3 {
				p.delivered()
			}
			if got := p.outcomeWithin(100 * time.Millisecond); got != "open" {
				t.failf("got %s beyond the prefetch", got)
			}
			p.call(1, &amqp.BasicQos{PrefetchCount: 1, Global: true}, "basic.qos-ok")
			p.send(1, &amqp.BasicAck{DeliveryTag: 1}) // two are out, of one
			if got := p.outcomeWithin(100 * time.Millisecond); got != "open" {
				t.failf("got %s beyond the prefetch", got)
			}
			p.send(1, &amqp.BasicQos{Global: true})
			p.want("basic.qos-ok")
			for range 7 {
				p.delivered()
			}
			t.note("held")
		}},
		{id: "C41", input: "permissions with a catastrophic pattern", want: "linear time", run: func(t *trial) {
			t.withUser("c41", permission{Configure: "(a+)+$", Write: "^(a|aa)+$", Read: "(.*)*x"}, func(login *trial) {
				p := login.client()
				began := time.Now()
				p.send(1, &amqp.QueueDeclare{Queue: strings.Repeat("a", 254) + "!"})
				p.want("chan 403", "queue.declare-ok")
				if took := time.Since(began); took > time.Second {
					t.failf("took %v", took)
				}
				t.note("%v", time.Since(began).Round(time.Millisecond))
			})
		}},
		{id: "C42", input: "a permission is taken away, then the user", want: "refused; closed", run: func(t *trial) {
			t.withUser("c42", permission{".*", ".*", ".*"}, func(login *trial) {
				p := login.client()
				p.call(1, &amqp.QueueDeclare{Queue: "abuse.c42", Exclusive: true}, "queue.declare-ok")
				t.api("PUT", "/api/permissions/"+url.PathEscape(t.vhost)+"/c42", permission{"", "", ""}, 201, 204)
				p.call(2, &amqp.ChannelOpen{}, "channel.open-ok")
				p.send(2, &amqp.QueueDeclare{Queue: "abuse.c42b", Exclusive: true})
				p.ends("chan 403")
				t.api("DELETE", "/api/users/c42", nil, 204)
				p.ends("conn 320", "cut")
			})
		}},
		{id: "C43", input: "update-secret, a new password, worse rights; mechanisms whose credentials expire", want: "any secret will do (C-35), rights are those of now; there are none", run: secrets},
		{id: "C44", input: "HTTP: huge bodies and headers, slow bodies, deep JSON, wrong methods, ../", want: "4xx", kind: slow, run: abuseHTTP},
		{id: "C45", input: "definitions: half valid, circular, deep", want: "all or nothing, the item named", run: func(t *trial) {
			t.needManagement()
			half := `{"vhosts":[{"name":"/"}],"queues":[{"name":"abuse.c45","vhost":"/","durable":true,"auto_delete":false,"arguments":{}},` +
				`{"name":"abuse.bad","vhost":"/","durable":true,"auto_delete":false,"arguments":{"x-max-length":-1}}]}`
			status, body := t.http("POST", "/api/definitions", strings.NewReader(half))
			if status != 400 || !strings.Contains(body, "abuse.bad") {
				t.failf("got %d %s, want 400 that names abuse.bad", status, body)
			}
			if status, _ := t.http("GET", "/api/queues/%2F/abuse.c45", nil); status != 404 {
				t.failf("got %d for the valid half, want 404", status)
			}
			deep := strings.Repeat(`{"vhosts":[`, 20000)
			if status, _ := t.http("POST", "/api/definitions", strings.NewReader(deep)); status != 400 && status != 413 {
				t.failf("got %d for deep JSON, want 400", status)
			}
			t.note("400")
		}},
	}
}

// secrets tells what there is of credentials that change while a client is connected. Those
// that expire by themselves are tokens, and no mechanism that is offered takes one: the users
// are the broker's own, or names in certificates, which are looked at when a client comes.
func secrets(t *trial) {
	t.withUser("c43", permission{".*", ".*", ".*"}, func(login *trial) {
		p := login.dial()
		p.raw([]byte(amqp.ProtocolHeader))
		for _, m := range strings.Fields(p.want("connection.start").(*amqp.ConnectionStart).Mechanisms) {
			if m != "PLAIN" && m != "AMQPLAIN" && m != "EXTERNAL" {
				t.failf("the mechanism %s is offered, and this row does not know whether its credentials expire", m)
			}
		}
		c := login.client()
		c.call(1, &amqp.QueueDeclare{Queue: "abuse.c43", Exclusive: true}, "queue.declare-ok")
		for _, secret := range []string{"abuse", "another", "", strings.Repeat("s", 100000)} {
			c.call(0, &amqp.ConnectionUpdateSecret{NewSecret: secret, Reason: "row C43"}, "connection.update-secret-ok")
		}
		c.publish("", "abuse.c43", nil, []byte("goes"))
		if n := c.count("abuse.c43"); n != 1 {
			t.failf("%d messages after update-secret, want 1", n)
		}
		// Whoever is in stays when the password is another, and the old one lets nobody in.
		t.api("PUT", "/api/users/c43", map[string]string{"password": "changed", "tags": ""}, 204)
		c.alive()
		old := login.greeted()
		old.send(0, login.startOk("PLAIN", "\x00c43\x00abuse"))
		old.want("conn 403")
		// Worse rights are those of the next operation, whatever secret is given again.
		t.api("PUT", "/api/permissions/"+url.PathEscape(t.vhost)+"/c43", permission{".*", "", ""}, 201, 204)
		c.call(0, &amqp.ConnectionUpdateSecret{NewSecret: "changed", Reason: "row C43"}, "connection.update-secret-ok")
		c.publish("", "abuse.c43", nil, []byte("does not"))
		c.ends("chan 403")
		c.send(1, &amqp.ChannelCloseOk{})
		c.call(2, &amqp.ChannelOpen{}, "channel.open-ok")
		c.send(2, &amqp.BasicConsume{Queue: "abuse.c43"})
		c.ends("chan 403")
		c.alive()
		// Before there is a user nothing of it is known.
		early := login.greeted()
		early.send(0, &amqp.ConnectionUpdateSecret{NewSecret: "abuse", Reason: "row C43"})
		if got := early.outcomeWithin(200 * time.Millisecond); got == "connection.update-secret-ok" {
			t.failf("got %s before login", got)
		}
		login.note("update-secret-ok; none of the mechanisms has credentials that expire")
	})
}

func (t *trial) nackMany(n int) {
	p := t.client()
	q := p.declare(nil)
	p.fill1(q, n, nil, nil)
	p.call(1, &amqp.BasicConsume{Queue: q}, "basic.consume-ok")
	for range n {
		p.delivered()
	}
	p.call(1, &amqp.BasicCancel{}, "basic.cancel-ok")
	p.call(2, &amqp.ChannelOpen{}, "channel.open-ok")
	began := time.Now()
	p.send(1, &amqp.BasicNack{Multiple: true, Requeue: false})
	p.send(1, &amqp.BasicQos{})
	for {
		if m := p.want("basic.qos-ok", "basic.deliver"); m.Name() == "basic.qos-ok" {
			break
		}
	}
	t.note("%v", time.Since(began).Round(time.Millisecond))
}

// permission is as the management API wants it.
type permission struct {
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// withUser runs f as a user of its own.
func (t *trial) withUser(name string, may permission, f func(login *trial)) {
	t.needManagement()
	t.api("PUT", "/api/users/"+name, map[string]string{"password": "abuse", "tags": ""}, 201, 204)
	t.api("PUT", "/api/permissions/"+url.PathEscape(t.vhost)+"/"+name, may, 201, 204)
	defer func() {
		status, body := t.http("DELETE", "/api/users/"+name, nil)
		if status != 204 && status != 404 {
			t.failf("delete user %s: %d %s", name, status, body)
		}
	}()
	login := &trial{target: t.target, patience: t.patience}
	login.user, login.password = name, "abuse"
	f(login)
	t.got = append(t.got, login.got...)
	for _, p := range login.peers {
		p.reset()
	}
}

func (t *trial) needManagement() {
	if t.management == "" {
		t.failf("there is no management API to ask")
	}
}

// api calls the management API and wants one of some statuses.
func (t *trial) api(method, path string, body any, want ...int) {
	var b bytes.Buffer
	if body != nil {
		t.must(json.NewEncoder(&b).Encode(body))
	}
	status, text := t.http(method, path, &b)
	for _, w := range want {
		if status == w {
			return
		}
	}
	t.failf("%s %s: %d %s", method, path, status, text)
}

func (t *trial) http(method, path string, body io.Reader) (status int, text string) {
	r, err := http.NewRequest(method, t.management+path, body)
	t.must(err)
	r.SetBasicAuth(t.user, t.password)
	r.Header.Set("Content-Type", "application/json")
	c := http.Client{Timeout: 20 * time.Second}
	defer c.CloseIdleConnections()
	answer, err := c.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return answer.StatusCode, err.Error()
	}
	return answer.StatusCode, string(b)
}

// endless is a body that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// abuseHTTP is what a management API has to put up with.
func abuseHTTP(t *trial) {
	t.needManagement()
	expect := func(what string, got int, want ...int) {
		for _, w := range want {
			if got == w {
				t.note("%d", got)
				return
			}
		}
		t.failf("%s: got %d, want %v", what, got, want)
	}
	// A body of 1 GiB: what counts is that it is not kept.
	status, _ := t.http("PUT", "/api/queues/%2F/abuse.c44", io.LimitReader(endless{}, 1<<30))
	expect("a body of 1 GiB", status, 413, 400, 0)
	status, _ = t.http("POST", "/api/definitions", io.LimitReader(endless{}, 1<<30))
	expect("definitions of 1 GiB", status, 413, 400, 0)
	r, err := http.NewRequest("GET", t.management+"/api/overview", nil)
	t.must(err)
	r.Header.Set("X-Long", strings.Repeat("h", 2<<20))
	c := http.Client{Timeout: 10 * time.Second}
	if answer, err := c.Do(r); err == nil {
		answer.Body.Close()
		expect("a header of 2 MiB", answer.StatusCode, 431)
	}
	c.CloseIdleConnections()
	status, _ = t.http("PATCH", "/api/queues", nil)
	expect("a wrong method", status, 405, 404)
	for _, path := range []string{"/api/../../etc/passwd", "/api/queues/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd"} {
		status, _ = t.http("GET", path, nil)
		expect(path, status, 404, 400, 301, 307)
	}
	status, _ = t.http("PUT", "/api/policies/%2F/abuse", strings.NewReader(strings.Repeat(`{"a":`, 10000)))
	expect("JSON 10,000 deep", status, 400, 413)

	// A body that comes an octet at a time has to end some time: the connection is cut, or
	// costs no more than itself.
	u, err := url.Parse(t.management)
	t.must(err)
	nc, err := net.Dial("tcp", u.Host)
	t.must(err)
	defer nc.Close()
	_, err = fmt.Fprintf(nc, "GET /api/overview HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	t.must(err)
	t.must(nc.SetReadDeadline(time.Now().Add(40 * time.Second)))
	began := time.Now()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			if _, err := nc.Write([]byte("x")); err != nil {
				return
			}
		}
	})
	_, err = bufio.NewReader(nc).ReadString('\n')
	close(stop)
	wg.Wait()
	if took := time.Since(began); took > 35*time.Second {
		t.failf("a slow header is waited for after %v (%v)", took, err)
	}
	t.note("slow header ended after %.0f s", time.Since(began).Seconds())
}
