package compat

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

// patience is how long a side may take over what is bound to come.
const patience = 5 * time.Second

// side is one of the two brokers and the clients of one conversation with it.
type side struct {
	name, addr string
	operator   operator

	conns  map[string]*conn
	order  []string
	events chan event
	step   []heard  // since the step began
	names  []string // made by the server, in the order they came up
	alarms int      // that are on, so that a connection may not be read
}

// conn is a client's connection, seen from the goroutine that holds the conversation.
type conn struct {
	name     string
	socket   net.Conn
	channels map[uint16]*channel
	running  bool // connection.open-ok has come, and no connection.close since
	ending   bool // one side has said connection.close, or hung up
	ended    bool // the server has closed the socket
	heard    int  // frames
	beats    int  // heartbeats
}

// channel is what a client knows about a channel of its own.
type channel struct {
	open       bool
	dead       bool   // the server has closed it
	flows      []bool // channel.flow that were not answered, true for those of a barrier
	replies    []string
	confirming bool
	published  uint64
	unsettled  map[uint64]bool
}

// event is what a goroutine that reads tells.
type event struct {
	conn     *conn
	frame    amqp.Frame
	greeting []byte // eight octets that are no frame
	end      bool
}

// heard is a frame, or something else a client notices, as the answer to a step has it.
type heard struct {
	conn    string
	channel uint16
	frame   amqp.Frame
	text    string // in the place of a frame
	settled []uint64
}

func newSide(name, addr string, o operator) *side {
	return &side{name: name, addr: addr, operator: o, conns: make(map[string]*conn), events: make(chan event, 1000)}
}

func (s *side) dial(name string) (*conn, error) {
	socket, err := net.DialTimeout("tcp", s.addr, patience)
	if err != nil {
		return nil, err
	}
	k := &conn{name: name, socket: socket, channels: make(map[uint16]*channel)}
	s.conns[name] = k
	s.order = append(s.order, name)
	go read(k, s.events)
	return k, nil
}

// read passes on what k hears until the socket ends.
func read(k *conn, to chan<- event) {
	var buf []byte
	piece := make([]byte, 65536)
	for greeted := false; ; {
		n, err := k.socket.Read(piece)
		buf = append(buf, piece[:n]...)
		if !greeted && len(buf) >= 8 {
			greeted = true
			if bytes.HasPrefix(buf, []byte("AMQP")) {
				to <- event{conn: k, greeting: bytes.Clone(buf[:8])}
				buf = buf[8:]
			}
		}
		for {
			f, took, err := amqp.ParseFrame(buf, 0)
			if err != nil {
				to <- event{conn: k, greeting: bytes.Clone(buf)}
				buf = nil
			}
			if took == 0 {
				break
			}
			f.Payload = bytes.Clone(f.Payload)
			to <- event{conn: k, frame: f}
			buf = buf[took:]
		}
		if err != nil {
			to <- event{conn: k, end: true}
			return
		}
	}
}

// until takes in what comes until done, or reports false when patience runs out.
func (s *side) until(limit time.Duration, done func() bool) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	for !done() {
		select {
		case e := <-s.events:
			s.take(e)
		case <-timer.C:
			return false
		}
	}
	return true
}

// take notes an event.
func (s *side) take(e event) {
	k := e.conn
	switch {
	case e.end:
		if !k.ending {
			s.note(heard{conn: k.name, text: "ended"})
		}
		k.ended, k.ending, k.running = true, true, false
		return
	case e.greeting != nil:
		s.note(heard{conn: k.name, text: strconv.Quote(string(e.greeting))})
		k.heard++
		return
	case e.frame.Type == amqp.FrameHeartbeat:
		k.beats++
		return
	}
	h := heard{conn: k.name, channel: e.frame.Channel, frame: e.frame}
	if e.frame.Type == amqp.FrameMethod {
		if !s.takeMethod(k, &h) {
			return
		}
	}
	k.heard++
	s.note(h)
}

// takeMethod keeps the state of connection and channel up to date. It is false for what
// answers a barrier.
func (s *side) takeMethod(k *conn, h *heard) bool {
	m := decode(h.frame)
	name := amqp.MethodName(h.frame.MethodID())
	ch := k.channel(h.channel)
	switch m := m.(type) {
	case *amqp.ConnectionOpenOk:
		k.running = true
	case *amqp.ConnectionClose, *amqp.ConnectionCloseOk:
		k.running, k.ending = false, true
	case *amqp.ChannelOpenOk:
		*ch = channel{open: true, replies: ch.replies, unsettled: make(map[uint64]bool)}
	case *amqp.ChannelClose:
		ch.open, ch.dead = false, true
	case *amqp.ChannelCloseOk:
		ch.open = false
	case *amqp.ConfirmSelectOk:
		ch.confirming = true
	case *amqp.ChannelFlowOk:
		if len(ch.flows) > 0 {
			barrier := ch.flows[0]
			ch.flows = ch.flows[1:]
			if barrier {
				return false
			}
		}
	case *amqp.BasicAck:
		h.settled = ch.settle(m.DeliveryTag, m.Multiple)
	case *amqp.BasicNack:
		h.settled = ch.settle(m.DeliveryTag, m.Multiple)
	}
	ch.replies = append(ch.replies, name)
	return true
}

// decode is nil for a method that nobody knows.
func decode(f amqp.Frame) amqp.Method {
	m := amqp.NewMethod(f.MethodID())
	if m == nil || m.Decode(f.Payload[4:]) != nil {
		return nil
	}
	return m
}

// settle takes what a confirm settles out of what is unsettled.
func (ch *channel) settle(tag uint64, multiple bool) (settled []uint64) {
	if !multiple {
		delete(ch.unsettled, tag)
		return []uint64{tag}
	}
	for n := uint64(1); n <= ch.published && (n <= tag || tag == 0); n++ {
		if ch.unsettled[n] {
			delete(ch.unsettled, n)
			settled = append(settled, n)
		}
	}
	return settled
}

func (s *side) note(h heard) {
	for _, made := range namesMade.FindAllString(string(h.frame.Payload), -1) {
		if !contains(s.names, made) {
			s.names = append(s.names, made)
		}
	}
	s.step = append(s.step, h)
}

func contains(all []string, one string) bool {
	for _, each := range all {
		if each == one {
			return true
		}
	}
	return false
}

func (k *conn) channel(id uint16) *channel {
	ch := k.channels[id]
	if ch == nil {
		ch = &channel{unsettled: make(map[uint64]bool)}
		k.channels[id] = ch
	}
	return ch
}

func (k *conn) send(b []byte) {
	// A server may have hung up already; then the answer says so.
	_ = k.socket.SetWriteDeadline(time.Now().Add(patience))
	_, _ = k.socket.Write(b)
}

// do does the lines of a step.
func (s *side) do(st step) error {
	s.step = nil
	for i, line := range st.lines {
		if err := s.run(line, i < len(st.lines)-1); err != nil {
			return fmt.Errorf("%s: %s: %w", s.name, line, err)
		}
	}
	s.settle()
	return nil
}

// run does one line. The reply to a synchronous method is waited for; what else it leads
// to is settle's business.
func (s *side) run(line string, goesOn bool) error {
	w := words(line)
	switch w[0] {
	case "wait":
		d, err := time.ParseDuration(w[1])
		time.Sleep(d)
		return err
	case "await":
		return s.await(w[1], w[2:])
	case "try":
		return s.try(w[1:])
	case "api", "alarm":
		return s.runOperator(w)
	}
	if w[1] == "dial" || w[1] == "open" {
		k, err := s.dial(w[0])
		if err == nil && w[1] == "open" {
			err = s.shake(k, w[2:])
		}
		return err
	}
	k := s.conns[w[0]]
	if k == nil {
		return fmt.Errorf("no connection %s", w[0])
	}
	switch w[1] {
	case "raw":
		b, err := octets(w[2:])
		k.send(b)
		return err
	case "hears":
		limit, before := patience, k.heard
		if len(w) > 2 {
			var err error
			if limit, err = time.ParseDuration(w[2]); err != nil {
				return err
			}
		}
		s.until(limit, func() bool { return k.heard > before || k.ended })
		return nil
	case "ends":
		if !s.until(2*patience, func() bool { return k.ended }) {
			s.note(heard{conn: k.name, text: "goes on"})
		} else if n := len(s.step); n == 0 || s.step[n-1].text != "ended" {
			s.note(heard{conn: k.name, text: "ended"})
		}
		return nil
	case "heartbeat":
		k.send(amqp.AppendFrame(nil, amqp.Frame{Type: amqp.FrameHeartbeat}))
		return nil
	case "heartbeats":
		n, err := strconv.Atoi(w[2])
		before := k.beats
		text := w[2] + " heartbeats"
		if !s.until(patience, func() bool { return k.beats >= before+n || k.ended }) || k.ended {
			text = "no " + text
		}
		s.note(heard{conn: k.name, text: text})
		return err
	case "drops":
		k.ending, k.running = true, false
		return k.socket.Close()
	case "header", "body":
		return s.content(k, w[1], w[2:])
	}
	return s.method(k, w[1], w[2], w[3:], goesOn)
}

func (s *side) content(k *conn, what string, w []string) error {
	id, err := strconv.ParseUint(w[0], 10, 16)
	if err != nil {
		return err
	}
	var b []byte
	if what == "header" {
		b, err = header(uint16(id), w[1:])
	} else {
		b = amqp.AppendFrame(nil, amqp.Frame{Type: amqp.FrameBody, Channel: uint16(id), Payload: []byte(text(w[1]))})
	}
	k.send(b)
	return err
}

func (s *side) method(k *conn, channel, name string, args []string, goesOn bool) error {
	id, err := strconv.ParseUint(channel, 10, 16)
	if err != nil {
		return err
	}
	for i := range args {
		args[i] = s.unmask(args[i])
	}
	say, err := method(uint16(id), name, args)
	if err != nil {
		return err
	}
	ch := k.channel(uint16(id))
	before := len(ch.replies)
	switch m := say.method.(type) {
	case *amqp.ChannelFlow:
		ch.flows = append(ch.flows, false)
	case *amqp.BasicPublish:
		if ch.confirming && ch.open {
			ch.published++
			ch.unsettled[ch.published] = true
		}
	case *amqp.ConfirmSelect:
		ch.confirming = ch.confirming || m.NoWait
	case *amqp.ConnectionClose:
		defer func() { k.running, k.ending = false, true }()
	}
	// A channel that the server has closed answers nothing but close and open.
	deaf := ch.dead && id != 0
	if _, again := say.method.(*amqp.ChannelOpen); again {
		deaf = false
	}
	k.send(say.frames)
	if want := reply(say.method); want != nil && !goesOn && !deaf && !(k.ending && id != 0) {
		s.until(patience, func() bool {
			for _, r := range ch.replies[before:] {
				if contains(want, r) || r == "channel.close" {
					return true
				}
			}
			return k.ending && k.channel(0).closed() || k.ended
		})
	}
	return nil
}

// closed reports whether the server has said, on channel 0, that the connection ends.
func (ch *channel) closed() bool {
	return contains(ch.replies, "connection.close") || contains(ch.replies, "connection.close-ok")
}

// reply is what answers a method, or nil if nothing has to.
func reply(m amqp.Method) []string {
	noWait := false
	switch m := m.(type) {
	case *amqp.BasicPublish, *amqp.BasicAck, *amqp.BasicNack, *amqp.BasicReject, *amqp.BasicRecoverAsync, *amqp.ConnectionTuneOk:
		return nil
	case *amqp.BasicGet:
		return []string{"basic.get-ok", "basic.get-empty"}
	case *amqp.ConnectionStartOk:
		return []string{"connection.tune", "connection.secure"}
	case *amqp.ExchangeDeclare:
		noWait = m.NoWait
	case *amqp.ExchangeDelete:
		noWait = m.NoWait
	case *amqp.ExchangeBind:
		noWait = m.NoWait
	case *amqp.ExchangeUnbind:
		noWait = m.NoWait
	case *amqp.QueueDeclare:
		noWait = m.NoWait
	case *amqp.QueueDelete:
		noWait = m.NoWait
	case *amqp.QueueBind:
		noWait = m.NoWait
	case *amqp.QueuePurge:
		noWait = m.NoWait
	case *amqp.BasicConsume:
		noWait = m.NoWait
	case *amqp.BasicCancel:
		noWait = m.NoWait
	case *amqp.ConfirmSelect:
		noWait = m.NoWait
	}
	name := m.Name() + "-ok"
	if noWait || methodNamed(name) == nil {
		return nil
	}
	return []string{name}
}

// bound is how long what is bound to come may take. A connection that is blocked answers
// nothing, and the client need not have been told.
func (s *side) bound() time.Duration {
	if s.alarms > 0 {
		return 200 * time.Millisecond
	}
	return patience
}

// settle waits until what was published is confirmed and everything that was sent before
// has been worked off by the channels.
func (s *side) settle() {
	s.until(s.bound(), func() bool {
		for _, k := range s.conns {
			for _, ch := range k.channels {
				if k.running && ch.open && len(ch.unsettled) > 0 {
					return false
				}
			}
		}
		return true
	})
	s.barrier()
}

// barrier makes a round trip on every channel.
func (s *side) barrier() {
	for _, name := range s.order {
		k := s.conns[name]
		for id, ch := range k.channels {
			if k.running && ch.open {
				ch.flows = append(ch.flows, true)
				k.send(amqp.AppendMethod(nil, id, &amqp.ChannelFlow{Active: true}))
			}
		}
	}
	s.until(s.bound(), func() bool {
		for _, k := range s.conns {
			for _, ch := range k.channels {
				if k.running && ch.open && len(ch.flows) > 0 {
					return false
				}
			}
		}
		return true
	})
}

// shake opens a connection and channels in it. What the client hears on the way is no part
// of the conversation, unless it fails.
func (s *side) shake(k *conn, w []string) error {
	o := handshake{user: "guest", vhost: "/", frameMax: 131072, capabilities: true}
	var channels []uint16
	for _, each := range w {
		key, value, _ := strings.Cut(each, "=")
		switch key {
		case "user":
			o.user = value
		case "vhost":
			o.vhost = value
		case "frame_max":
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return err
			}
			o.frameMax = uint32(n)
		case "heartbeat":
			n, err := strconv.ParseUint(value, 10, 16)
			if err != nil {
				return err
			}
			o.heartbeat = uint16(n)
		case "plain":
			o.capabilities = false
		default:
			id, err := strconv.ParseUint(each, 10, 16)
			if err != nil {
				return err
			}
			channels = append(channels, uint16(id))
		}
	}
	before := len(s.step)
	b := []byte(amqp.ProtocolHeader)
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionStartOk{
		ClientProperties: o.properties(), Mechanism: "PLAIN", Response: "\x00" + o.user + "\x00" + o.user, Locale: "en_US",
	})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionTuneOk{ChannelMax: 2047, FrameMax: o.frameMax, Heartbeat: o.heartbeat})
	b = amqp.AppendMethod(b, 0, &amqp.ConnectionOpen{VirtualHost: o.vhost})
	k.send(b)
	s.until(patience, func() bool { return k.running || k.ending })
	if !k.running {
		return nil
	}
	for _, id := range channels {
		k.send(amqp.AppendMethod(nil, id, &amqp.ChannelOpen{}))
	}
	opened := s.until(patience, func() bool {
		for _, id := range channels {
			if !k.channel(id).open {
				return k.ending
			}
		}
		return true
	})
	if opened && !k.ending {
		s.step = s.step[:before]
	}
	return nil
}

type handshake struct {
	user, vhost  string
	frameMax     uint32
	heartbeat    uint16
	capabilities bool
}

func (o handshake) properties() amqp.Table {
	if !o.capabilities {
		return amqp.Table{}
	}
	return amqp.Table{{Name: "capabilities", Value: amqp.Table{
		{Name: "consumer_cancel_notify", Value: true},
		{Name: "connection.blocked", Value: true},
		{Name: "authentication_failure_close", Value: true},
	}}}
}

// try says a method on a channel of its own, in a connection that is there for this alone.
func (s *side) try(w []string) error {
	k := s.conns["try"]
	if k == nil || !k.running {
		if k != nil {
			k.socket.Close()
			s.order = s.order[:len(s.order)-1]
		}
		var err error
		if k, err = s.dial("try"); err != nil {
			return err
		}
		if err = s.shake(k, []string{"1"}); err != nil || !k.running {
			return errors.Join(err, errors.New("no connection to try on"))
		}
	} else {
		s.quietly(k, &amqp.ChannelOpen{}, "channel.open-ok")
	}
	if err := s.method(k, "1", w[0], w[1:], false); err != nil {
		return err
	}
	s.settle()
	if !k.running {
		return nil
	}
	if k.channel(1).open {
		s.quietly(k, &amqp.ChannelClose{ReplyCode: 200}, "channel.close-ok")
	} else {
		k.send(amqp.AppendMethod(nil, 1, &amqp.ChannelCloseOk{}))
	}
	return nil
}

// quietly makes a round trip on channel 1 that is no part of the conversation.
func (s *side) quietly(k *conn, m amqp.Method, answer string) {
	ch := k.channel(1)
	seen := len(ch.replies)
	k.send(amqp.AppendMethod(nil, 1, m))
	s.until(patience, func() bool {
		return contains(k.channel(1).replies[min(seen, len(k.channel(1).replies)):], answer) || answer == "channel.open-ok" && k.channel(1).open || k.ending
	})
	for i := len(s.step) - 1; i >= 0; i-- {
		if h := s.step[i]; h.conn == k.name && h.frame.Type == amqp.FrameMethod && amqp.MethodName(h.frame.MethodID()) == answer {
			s.step = append(s.step[:i], s.step[i+1:]...)
			break
		}
	}
}

// await asks until a queue has what it is to have.
func (s *side) await(queue string, wants []string) error {
	w, err := newWatch(s.addr)
	if err != nil {
		return err
	}
	defer w.close()
	deadline := time.Now().Add(patience)
	for {
		ok, err := w.declarePassive(s.unmask(queue))
		if err != nil {
			return fmt.Errorf("await %s: %w", queue, err)
		}
		met := true
		for _, want := range wants {
			switch want {
			case fmt.Sprintf("messages=%d", ok.MessageCount), fmt.Sprintf("consumers=%d", ok.ConsumerCount):
			default:
				met = false
			}
		}
		if met {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s has %d messages and %d consumers, want %s", queue, ok.MessageCount, ok.ConsumerCount, wants)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// leave closes all connections in good order, so that what is theirs is gone. Whatever
// was still on its way is heard before.
func (s *side) leave() {
	for _, name := range s.order {
		k := s.conns[name]
		switch {
		case k.ended:
		case k.running:
			k.send(amqp.AppendMethod(nil, 0, &amqp.ConnectionClose{ReplyCode: 200}))
			s.until(patience, func() bool { return k.ended || k.channel(0).closed() })
			k.running, k.ending = false, true
		case k.ending:
			k.send(amqp.AppendMethod(nil, 0, &amqp.ConnectionCloseOk{}))
		}
	}
}

// finish ends what is left of the connections.
func (s *side) finish() {
	s.leave()
	for _, name := range s.order {
		s.conns[name].socket.Close()
	}
	// The readers end, and may have something to say before.
	for _, name := range s.order {
		k := s.conns[name]
		s.until(patience, func() bool { return k.ended })
	}
}

// watch is a connection aside from the conversation.
type watch struct {
	side *side
	conn *conn
}

func newWatch(addr string) (*watch, error) {
	s := newSide("", addr, operator{})
	k, err := s.dial("watch")
	if err != nil {
		return nil, err
	}
	if err := s.shake(k, []string{"1"}); err != nil {
		return nil, err
	}
	if !k.running {
		return nil, fmt.Errorf("%s refuses a connection: %s", addr, s.answer())
	}
	return &watch{s, k}, nil
}

// ask makes a round trip; an answer that closes the channel is an error, and the channel
// is opened again.
func (w *watch) ask(m amqp.Method) (amqp.Method, error) {
	w.side.step = nil
	w.conn.send(amqp.AppendMethod(nil, 1, m))
	w.side.until(patience, func() bool { return len(w.side.step) > 0 })
	if len(w.side.step) == 0 {
		return nil, io.ErrUnexpectedEOF
	}
	h := w.side.step[0]
	if h.text != "" {
		return nil, errors.New(h.text)
	}
	answer := decode(h.frame)
	if c, ok := answer.(*amqp.ChannelClose); ok {
		b := amqp.AppendMethod(nil, 1, &amqp.ChannelCloseOk{})
		w.conn.send(amqp.AppendMethod(b, 1, &amqp.ChannelOpen{}))
		w.side.until(patience, func() bool { return w.conn.channel(1).open || w.conn.ended })
		return nil, errors.New(c.ReplyText)
	}
	return answer, nil
}

func (w *watch) declarePassive(queue string) (*amqp.QueueDeclareOk, error) {
	m, err := w.ask(&amqp.QueueDeclare{Queue: queue, Passive: true})
	if err != nil {
		return nil, err
	}
	ok, is := m.(*amqp.QueueDeclareOk)
	if !is {
		return nil, fmt.Errorf("%s answers a passive declare", m.Name())
	}
	return ok, nil
}

func (w *watch) close() {
	w.side.finish()
}

// sweep deletes queues and exchanges. One whose owner is about to be gone is asked for
// again.
func (w *watch) sweep(queues, exchanges []string) error {
	for _, q := range queues {
		deadline := time.Now().Add(patience)
		for {
			_, err := w.ask(&amqp.QueueDelete{Queue: q})
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				return err
			}
		}
	}
	for _, x := range exchanges {
		if _, err := w.ask(&amqp.ExchangeDelete{Exchange: x}); err != nil {
			return err
		}
	}
	return nil
}
