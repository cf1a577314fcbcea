package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// peer is a client of the worst kind: it sends what it is told, and tells what it hears.
type peer struct {
	t    *trial
	conn *net.TCPConn
	in   []byte // what was read and not taken yet
	text string // of the last close that was heard
}

// dialFrom connects from an address of this machine, "" for any, and says nothing.
func (t *trial) dialFrom(local string) (*peer, error) {
	d := net.Dialer{Timeout: t.patience}
	if local != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(local)}
	}
	nc, err := d.Dial("tcp", t.address)
	if err != nil {
		return nil, err
	}
	p := &peer{t: t, conn: nc.(*net.TCPConn)}
	t.mu.Lock()
	t.peers = append(t.peers, p)
	t.mu.Unlock()
	return p, nil
}

// dial connects and says nothing.
func (t *trial) dial() *peer {
	p, err := t.dialFrom("")
	t.must(err)
	return p
}

// greeted has sent a protocol header and read connection.start.
func (t *trial) greeted() *peer {
	p := t.dial()
	p.raw([]byte(amqp.ProtocolHeader))
	p.want("connection.start")
	return p
}

// tuned has logged in and read connection.tune.
func (t *trial) tuned() *peer {
	p := t.greeted()
	p.send(0, t.startOk("PLAIN", "\x00"+t.user+"\x00"+t.password))
	p.want("connection.tune")
	return p
}

func (t *trial) startOk(mechanism, response string) *amqp.ConnectionStartOk {
	return &amqp.ConnectionStartOk{
		ClientProperties: amqp.Table{{Name: "capabilities", Value: amqp.Table{
			{Name: "authentication_failure_close", Value: true},
			{Name: "connection.blocked", Value: true},
			{Name: "consumer_cancel_notify", Value: true},
		}}},
		Mechanism: mechanism, Response: response, Locale: "en_US",
	}
}

// connected has an open connection without channels.
func (t *trial) connected() *peer {
	p := t.tuned()
	p.open(frameMax, 2047, 0)
	return p
}

const frameMax = 131072

func (p *peer) open(frameMax uint32, channelMax, heartbeat uint16) {
	p.send(0, &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: channelMax, Heartbeat: heartbeat},
		&amqp.ConnectionOpen{VirtualHost: p.t.vhost})
	p.want("connection.open-ok")
}

// client has an open connection with channel 1.
func (t *trial) client() *peer {
	p := t.connected()
	p.call(1, &amqp.ChannelOpen{}, "channel.open-ok")
	return p
}

// try is client for when it may be refused.
func (t *trial) try() (p *peer, err error) { return t.tryFrom("") }

// tryFrom is try from an address of this machine.
func (t *trial) tryFrom(local string) (p *peer, err error) {
	if p, err = t.dialFrom(local); err != nil {
		return nil, err
	}
	buf := []byte(amqp.ProtocolHeader)
	buf = amqp.AppendMethod(buf, 0, t.startOk("PLAIN", "\x00"+t.user+"\x00"+t.password))
	buf = amqp.AppendMethod(buf, 0, &amqp.ConnectionTuneOk{FrameMax: frameMax, ChannelMax: 2047})
	buf = amqp.AppendMethod(buf, 0, &amqp.ConnectionOpen{VirtualHost: t.vhost})
	buf = amqp.AppendMethod(buf, 1, &amqp.ChannelOpen{})
	if err := p.write(buf); err != nil {
		return p, err
	}
	for _, want := range []string{"connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"} {
		if got := p.outcome(); got != want {
			return p, fmt.Errorf("got %s, want %s", got, want)
		}
	}
	return p, nil
}

// write sends bytes, which the broker may refuse to take.
func (p *peer) write(b []byte) error {
	if err := p.conn.SetWriteDeadline(time.Now().Add(p.t.patience)); err != nil {
		return err
	}
	_, err := p.conn.Write(b)
	return err
}

// raw sends bytes. That the other end does not want them any more is heard by reading.
func (p *peer) raw(b []byte) {
	if err := p.write(b); errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.failf("the broker reads nothing for %v", p.t.patience)
	}
}

// send sends methods on a channel, all at once.
func (p *peer) send(channel uint16, methods ...amqp.Method) {
	var buf []byte
	for _, m := range methods {
		buf = amqp.AppendMethod(buf, channel, m)
	}
	p.raw(buf)
}

// call sends a method and wants a method in return.
func (p *peer) call(channel uint16, m amqp.Method, want string) amqp.Method {
	p.send(channel, m)
	return p.want(want)
}

// publish sends a message on channel 1.
func (p *peer) publish(exchange, key string, properties *amqp.Properties, body []byte) {
	p.raw(content(nil, 1, exchange, key, properties, body))
}

// content appends the frames of a message that is published.
func content(dst []byte, channel uint16, exchange, key string, properties *amqp.Properties, body []byte) []byte {
	dst = amqp.AppendMethod(dst, channel, &amqp.BasicPublish{Exchange: exchange, RoutingKey: key})
	list := []byte{0, 0}
	if properties != nil {
		list = properties.Append(nil)
	}
	dst = amqp.AppendHeader(dst, channel, uint64(len(body)), list)
	return amqp.AppendBody(dst, channel, body, frameMax)
}

// errQuiet is that nothing was heard for as long as was waited.
var errQuiet = errors.New("quiet")

// frame reads the next frame that is no heartbeat.
func (p *peer) frame(wait time.Duration) (amqp.Frame, error) {
	until := time.Now().Add(wait)
	for {
		f, n, err := amqp.ParseFrame(p.in, 0)
		if err != nil {
			return f, err
		}
		if n > 0 {
			// What is handed out has to outlive what is read next.
			f.Payload = append([]byte(nil), f.Payload...)
			p.in = p.in[n:]
			if f.Type != amqp.FrameHeartbeat {
				return f, nil
			}
			continue
		}
		if err := p.fill(until); err != nil {
			return f, err
		}
	}
}

func (p *peer) fill(until time.Time) error {
	if err := p.conn.SetReadDeadline(until); err != nil {
		return err
	}
	buf := make([]byte, 16<<10)
	n, err := p.conn.Read(buf)
	p.in = append(p.in, buf[:n]...)
	switch {
	case n > 0:
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errQuiet
	}
	return err
}

// outcome is what the broker has to say next: the name of a method, "conn 501" or "chan
// 404" for a close, "header" for eight octets that are one, "cut" for the end, or "open"
// for nothing.
func (p *peer) outcome() string { return p.outcomeWithin(p.t.patience) }

func (p *peer) outcomeWithin(wait time.Duration) string {
	name, _ := p.hear(wait)
	return name
}

func (p *peer) hear(wait time.Duration) (string, amqp.Method) {
	for {
		if strings.HasPrefix(string(p.in), "AMQP") && len(p.in) >= 8 {
			p.in = p.in[8:]
			return "header", nil
		}
		f, err := p.frame(wait)
		switch {
		case errors.Is(err, errQuiet):
			return "open", nil
		case err != nil && strings.HasPrefix(string(p.in), "AMQP") && len(p.in) >= 8:
			continue
		case err != nil:
			p.in = nil
			return "cut", nil
		case f.Type != amqp.FrameMethod:
			return fmt.Sprintf("frame of type %d", f.Type), nil
		}
		class, id := f.MethodID()
		m := amqp.NewMethod(class, id)
		if m == nil {
			return fmt.Sprintf("method %d.%d", class, id), nil
		}
		if err := m.Decode(f.Payload[4:]); err != nil {
			return "unreadable " + m.Name(), nil
		}
		switch m := m.(type) {
		case *amqp.ConnectionClose:
			p.text = m.ReplyText
			return fmt.Sprintf("conn %d", m.ReplyCode), m
		case *amqp.ChannelClose:
			p.text = m.ReplyText
			return fmt.Sprintf("chan %d", m.ReplyCode), m
		}
		return m.Name(), m
	}
}

// want fails unless the next thing heard is one of those wanted.
func (p *peer) want(want ...string) amqp.Method {
	got, m := p.hear(p.t.patience)
	for _, w := range want {
		if got == w {
			return m
		}
	}
	if p.text != "" {
		got += " (" + p.text + ")"
	}
	p.t.failf("got %s, want %s", got, strings.Join(want, " or "))
	return nil
}

// ends wants the broker to close the conversation for a reason, without being answered.
func (p *peer) ends(want ...string) {
	p.want(want...)
	p.t.note("%s", want[0])
}

// delivery is a message that came.
type delivery struct {
	method amqp.Method
	header amqp.ContentHeader
	body   []byte
}

// content reads the content that follows a method.
func (p *peer) content(m amqp.Method) (d delivery, err error) {
	d.method = m
	f, err := p.frame(p.t.patience)
	if err != nil || f.Type != amqp.FrameHeader {
		return d, fmt.Errorf("no content header: %w", err)
	}
	d.header = f.ContentHeader()
	for uint64(len(d.body)) < d.header.BodySize {
		if f, err = p.frame(p.t.patience); err != nil || f.Type != amqp.FrameBody {
			return d, fmt.Errorf("no content body: %w", err)
		}
		d.body = append(d.body, f.Payload...)
	}
	return d, nil
}

// delivered wants a delivery, or what basic.get brings.
func (p *peer) delivered() delivery {
	d, err := p.content(p.want("basic.deliver", "basic.get-ok"))
	p.t.must(err)
	return d
}

// alive wants the connection to answer still: a channel of its own can be opened.
func (p *peer) alive() {
	const spare = 60000
	p.send(spare, &amqp.ChannelOpen{}, &amqp.ChannelClose{})
	for {
		got := p.outcome()
		switch got {
		case "channel.close-ok":
			return
		case "cut", "open":
			p.t.failf("the connection is %s, want it alive", got)
		}
		if strings.HasPrefix(got, "conn ") {
			p.t.failf("got %s (%s), want the connection alive", got, p.text)
		}
	}
}

// closed is whether the broker has closed the socket, within a time. What it says before is
// passed over.
func (p *peer) closed(wait time.Duration) bool {
	if p.conn.SetReadDeadline(time.Now().Add(wait)) != nil {
		return true
	}
	_, err := io.Copy(io.Discard, p.conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// reset ends the connection without a word, and without waiting for anything.
func (p *peer) reset() {
	_ = p.conn.SetLinger(0) // of a socket that is closed already it makes no difference
	_ = p.conn.Close()
}

// declare makes a queue that goes with the connection, and returns its name.
func (p *peer) declare(arguments amqp.Table) string {
	m := p.call(1, &amqp.QueueDeclare{Exclusive: true, Arguments: arguments}, "queue.declare-ok")
	return m.(*amqp.QueueDeclareOk).Queue
}

// frameOf is a frame of channel 0 of any kind with any end.
func frameOf(typ uint8, size uint32, payload []byte, end byte) []byte {
	b := amqp.AppendFrameHeader(nil, typ, 0, size)
	return append(append(b, payload...), end)
}

// nested is a table with tables in it, so deep.
func nested(depth int) []byte {
	var inner []byte
	for range depth {
		next := []byte{1, 'k', 'F'}
		next = binary.BigEndian.AppendUint32(next, uint32(len(inner)))
		inner = append(next, inner...)
		if len(inner) > 120<<10 {
			break
		}
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(inner))), inner...)
}
