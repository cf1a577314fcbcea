package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

const (
	// channel is the only one a connection here opens.
	channel = 1
	// frameMax is the largest frame asked for, where the broker has no smaller limit.
	frameMax = 131072
	// readBytes is the size of a connection's read buffer: a frame of frameMax, and room
	// for a large read besides.
	readBytes = 2 * frameMax
	// littleBytes is what a read has to find so that the next need not linger.
	littleBytes = 16 << 10
	// replyTimeout is how long the broker may take to answer a method.
	replyTimeout = 30 * time.Second
)

// address is where a broker is and as whom to speak to it.
type address struct {
	host     string // with its port
	user     string
	password string
	vhost    string
}

// parseURI reads amqp://user:password@host:port/vhost. What is left out is guest, guest,
// localhost, 5672 and /.
func parseURI(uri string) (address, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return address{}, fmt.Errorf("read the URI: %w", errors.Unwrap(err)) // not the URI itself, which has the password
	}
	if u.Scheme != "amqp" {
		return address{}, fmt.Errorf("read the URI: scheme %q: only amqp is spoken", u.Scheme)
	}
	a := address{host: u.Host, user: "guest", password: "guest", vhost: "/"}
	host, port := u.Hostname(), u.Port()
	if host == "" {
		host = "localhost"
	}
	if port == "" {
		port = "5672"
	}
	a.host = net.JoinHostPort(host, port)
	if u.User != nil {
		a.user = u.User.Username()
		a.password, _ = u.User.Password() // none is the empty one
	}
	// A lone slash is the default virtual host too: so do most clients read it.
	if name := strings.TrimPrefix(u.Path, "/"); name != "" {
		a.vhost = name
	}
	return a, nil
}

// redacted is the URI a result is labelled with.
func (a address) redacted() string {
	return "amqp://" + a.host + "/" + url.PathEscape(a.vhost)
}

// conn is a connection with one channel open on it. buf[r:w] has been read from the
// socket but not yet used. It belongs to one goroutine at a time.
type conn struct {
	socket   net.Conn
	frameMax uint32 // as agreed on
	linger   time.Duration
	buf      []byte
	r, w     int
	out      []byte
	little   bool // the last read found little
}

// dial connects to a, shakes hands with heartbeats off and opens the channel.
func dial(ctx context.Context, a address) (c *conn, err error) {
	var d net.Dialer
	socket, err := d.DialContext(ctx, "tcp", a.host)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c = &conn{socket: socket, buf: make([]byte, readBytes)}
	defer func() {
		if err != nil {
			_ = socket.Close() // the first error is the one that tells
		}
	}()
	if err := c.handshake(a); err != nil {
		return nil, fmt.Errorf("open a connection to %s: %w", a.redacted(), err)
	}
	if err := c.call(&amqp.ChannelOpen{}, &amqp.ChannelOpenOk{}); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *conn) handshake(a address) error {
	if err := c.socket.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if _, err := io.WriteString(c.socket, amqp.ProtocolHeader); err != nil {
		return err
	}
	if err := c.expect(&amqp.ConnectionStart{}); err != nil {
		return err
	}
	startOk := &amqp.ConnectionStartOk{
		ClientProperties: amqp.Table{
			{Name: "product", Value: "leveret bench"},
			{Name: "platform", Value: "Go"},
			{Name: "capabilities", Value: amqp.Table{
				{Name: "publisher_confirms", Value: true},
				{Name: "consumer_cancel_notify", Value: true},
				{Name: "authentication_failure_close", Value: true},
			}},
		},
		Mechanism: "PLAIN",
		Response:  "\x00" + a.user + "\x00" + a.password,
		Locale:    "en_US",
	}
	var tune amqp.ConnectionTune
	if err := c.ask(0, startOk, &tune); err != nil {
		return err
	}
	tuneOk := &amqp.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: min(tune.FrameMax, frameMax)}
	if tuneOk.FrameMax == 0 {
		tuneOk.FrameMax = frameMax
	}
	c.frameMax = tuneOk.FrameMax
	c.out = amqp.AppendMethod(c.out[:0], 0, tuneOk)
	if _, err := c.socket.Write(c.out); err != nil {
		return err
	}
	if err := c.ask(0, &amqp.ConnectionOpen{VirtualHost: a.vhost}, &amqp.ConnectionOpenOk{}); err != nil {
		return err
	}
	return c.socket.SetDeadline(time.Time{})
}

// send writes methods that have no reply, in one go.
func (c *conn) send(methods ...amqp.Method) error {
	c.out = c.out[:0]
	for _, m := range methods {
		c.out = amqp.AppendMethod(c.out, channel, m)
	}
	_, err := c.socket.Write(c.out)
	return err
}

// call sends m on the channel and reads until its reply, which it decodes. What else
// comes before it is passed over, as deliveries under way are when a connection closes.
func (c *conn) call(m, reply amqp.Method) error {
	if err := c.socket.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return err
	}
	if err := c.ask(channel, m, reply); err != nil {
		return fmt.Errorf("%s: %w", m.Name(), err)
	}
	return c.socket.SetDeadline(time.Time{})
}

// close ends the connection in the way the protocol asks for.
func (c *conn) close() error {
	if err := c.socket.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return errors.Join(err, c.socket.Close())
	}
	err := c.ask(0, &amqp.ConnectionClose{ReplyCode: amqp.ReplySuccess, ReplyText: "done"}, &amqp.ConnectionCloseOk{})
	return errors.Join(err, c.socket.Close())
}

func (c *conn) ask(number uint16, m, reply amqp.Method) error {
	c.out = amqp.AppendMethod(c.out[:0], number, m)
	if _, err := c.socket.Write(c.out); err != nil {
		return err
	}
	return c.expect(reply)
}

// expect reads until reply and decodes it.
func (c *conn) expect(reply amqp.Method) error {
	class, method := reply.ID()
	for {
		f, err := c.frame()
		if err != nil {
			return err
		}
		if f.Type != amqp.FrameMethod {
			continue
		}
		if k, m := f.MethodID(); k == class && m == method {
			return reply.Decode(f.Payload[4:])
		}
		if err := unasked(f.Payload); err != nil {
			return err
		}
	}
}

// frame reads the next whole frame. Its payload is valid until the next read.
func (c *conn) frame() (amqp.Frame, error) {
	for {
		f, n, err := amqp.ParseFrame(c.buf[c.r:c.w], readBytes)
		if err != nil || n > 0 {
			c.r += n
			return f, err
		}
		if err := c.fill(); err != nil {
			return amqp.Frame{}, err
		}
	}
}

// fill reads once from the socket, after moving the beginning of a frame that is not
// whole yet to the front.
func (c *conn) fill() error {
	if c.r > 0 {
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	if c.w == len(c.buf) {
		return fmt.Errorf("the broker sent a frame of more than %d octets", len(c.buf))
	}
	if c.little && c.linger > 0 {
		time.Sleep(c.linger)
	}
	n, err := c.socket.Read(c.buf[c.w:])
	c.w += n
	c.little = n < littleBytes
	if n > 0 {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fmt.Errorf("the broker closed the socket: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// unasked returns the error that a method means which nobody waits for, given the
// payload of its frame, and nil where it means none, such as connection.blocked.
func unasked(payload []byte) error {
	if len(payload) < 4 {
		return errors.New("the broker sent a method frame without a method")
	}
	f := amqp.Frame{Type: amqp.FrameMethod, Payload: payload}
	class, method := f.MethodID()
	m := amqp.NewMethod(class, method)
	if m == nil {
		return fmt.Errorf("the broker sent an unknown method %d.%d", class, method)
	}
	if err := m.Decode(payload[4:]); err != nil {
		return fmt.Errorf("read the broker's %s: %w", m.Name(), err)
	}
	switch m := m.(type) {
	case *amqp.ConnectionClose:
		return fmt.Errorf("the broker closed the connection: %d %s", m.ReplyCode, m.ReplyText)
	case *amqp.ChannelClose:
		return fmt.Errorf("the broker closed the channel: %d %s", m.ReplyCode, m.ReplyText)
	case *amqp.BasicCancel:
		return fmt.Errorf("the broker cancelled consumer %q", m.ConsumerTag)
	}
	return nil
}

// countQueue asks how many messages are ready in a queue that is there.
func (c *conn) countQueue(name string) (int64, error) {
	var ok amqp.QueueDeclareOk
	if err := c.call(&amqp.QueueDeclare{Queue: name, Passive: true}, &ok); err != nil {
		return 0, err
	}
	return int64(ok.MessageCount), nil
}
