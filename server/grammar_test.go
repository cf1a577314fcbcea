package server

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/leveretmq/leveret/amqp"
)

var (
	grammarRounds = flag.Int("grammar.rounds", 200, "conversations with something wrong in them")
	grammarSeed   = flag.Uint64("grammar.seed", 0, "the first of them; 0 chooses one")
)

// TestConversationsWithOneThingWrong has clients who know the protocol well and make one
// mistake: a frame is lost, comes twice, early or on another channel, its octets are damaged,
// a method comes that has no place. Whatever it is, the answers are those that a server may
// give, nothing is left of the client when it has gone, and others notice nothing.
//
// A failure prints the conversation; it belongs into testdata/grammar then.
func TestConversationsWithOneThingWrong(t *testing.T) {
	first := *grammarSeed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for i := range *grammarRounds {
		seed := first + uint64(i)
		g := grammar{r: rand.New(rand.NewPCG(seed, 7))}
		frames := g.conversation()
		what := g.mutate(&frames)
		b := slices.Concat(frames...)
		if converse(t, b); t.Failed() {
			t.Fatalf("seed %d, %s:\n%s", seed, what, hex.EncodeToString(b))
		}
	}
}

// TestConversationsThatWentWrong are those that once did, one to a file.
func TestConversationsThatWentWrong(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "grammar", "*.hex"))
	check(t, err)
	if len(files) == 0 {
		t.Error("there are none")
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			check(t, err)
			b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
			check(t, err)
			converse(t, b)
		})
	}
}

// converse says b to a server, as a client that reads what it is told, and goes.
func converse(t *testing.T, b []byte) {
	t.Helper()
	withServer(t, func(s *Server, connect func() net.Conn, log *lockedBuffer) {
		c := connect()
		var answers []byte
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				answers = append(answers, buf[:n]...)
				if err != nil {
					return
				}
			}
		}()
		neighbour := newGoodClient(connect())
		neighbour.round()
		go func() { _, _ = c.Write(b) }() // the server may not want all of it
		synctest.Wait()
		neighbour.round()
		time.Sleep(5 * time.Second) // in which whoever is silent is given up
		c.Close()
		<-done
		synctest.Wait()
		neighbour.round()
		if err := checkAnswers(answers); err != nil {
			t.Error(err)
		}
		if neighbour.err != nil {
			t.Errorf("the neighbour got %v", neighbour.err)
		}
		if strings.Contains(log.String(), "panic") {
			t.Errorf("the log says\n%s", log)
		}
		if n := len(s.b.Sessions()); n != 1 {
			t.Errorf("%d connections are left, want the neighbour's", n)
		}
		if n, _ := s.b.Unpublished(); n != 0 {
			t.Errorf("%d bytes are held by nobody", n)
		}
		for _, q := range s.b.VHost("/").Queues() {
			if _, consumers := q.Counts(); consumers > 0 || q.Spec().Exclusive && q.Name() != neighbour.queue {
				t.Errorf("queue %q is left, with %d consumers", q.Name(), consumers)
			}
		}
		neighbour.nc.Close()
		synctest.Wait()
		if n := s.buffered.Load(); n != 0 {
			t.Errorf("%d bytes are buffered for nobody", n)
		}
	})
}

// checkAnswers wants frames that a server may send, with reply codes that there are.
func checkAnswers(b []byte) error {
	if strings.HasPrefix(string(b), "AMQP") {
		return nil // the header was wrong
	}
	for len(b) > 0 {
		f, n, err := amqp.ParseFrame(b, 0)
		if err != nil {
			return fmt.Errorf("the server sent what is no frame: %w", err)
		}
		if n == 0 {
			return nil // cut in the middle
		}
		b = b[n:]
		if f.Type != amqp.FrameMethod {
			continue
		}
		class, id := f.MethodID()
		m := amqp.NewMethod(class, id)
		if m == nil {
			return fmt.Errorf("the server sent method %d.%d", class, id)
		}
		if err := m.Decode(f.Payload[4:]); err != nil {
			return fmt.Errorf("the server sent a %s that cannot be read: %w: %q", m.Name(), err, f.Payload)
		}
		switch m := m.(type) {
		case *amqp.ConnectionClose:
			err = checkCode(m.ReplyCode, m.ReplyText)
		case *amqp.ChannelClose:
			if err = checkCode(m.ReplyCode, m.ReplyText); f.Channel == 0 {
				err = errors.New("channel.close on channel 0")
			}
		default:
			if name := m.Name(); !strings.HasSuffix(name, "-ok") && !slices.Contains(fromServers, name) {
				err = fmt.Errorf("the server sent %s", name)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fromServers are the methods that servers send of themselves.
var fromServers = []string{
	"connection.start", "connection.tune", "connection.blocked", "connection.unblocked", "basic.deliver", "basic.return",
	"basic.ack", "basic.nack", "basic.cancel", "basic.get-empty",
}

func checkCode(code uint16, text string) error {
	name := amqp.ReplyName(code)
	switch {
	case name == "" || !strings.HasPrefix(text, name):
		return fmt.Errorf("the server closes with %d %q", code, text)
	case code == amqp.ReplyInternalError:
		return fmt.Errorf("the server takes the mistake for its own: %q", text)
	}
	return nil
}

// goodClient publishes and gets what it has published. What goes wrong is kept until the end,
// so that nobody is left waiting for it.
type goodClient struct {
	nc    net.Conn
	in    []byte
	queue string
	err   error
}

func newGoodClient(nc net.Conn) *goodClient {
	g := &goodClient{nc: nc, queue: "good"}
	b := amqp.AppendMethod(hello(0), 1, &amqp.ChannelOpen{})
	g.say(amqp.AppendMethod(b, 1, &amqp.QueueDeclare{Queue: g.queue, Exclusive: true}))
	g.until("queue.declare-ok")
	return g
}

func (g *goodClient) say(b []byte) {
	go func() { _, _ = g.nc.Write(b) }() // that it failed is seen by what is read
}

func (g *goodClient) until(text string) {
	buf := make([]byte, 4096)
	for g.err == nil {
		f, n, err := amqp.ParseFrame(g.in, 0)
		switch {
		case err != nil:
			g.err = err
		case n == 0:
			n, err := g.nc.Read(buf)
			g.in = append(g.in, buf[:n]...)
			g.err = err
		default:
			got := f.String()
			g.in = g.in[n:]
			if strings.Contains(got, text) {
				return
			}
			if strings.Contains(got, ".close{") {
				g.err = errors.New(got)
			}
		}
	}
}

func (g *goodClient) round() {
	b := amqp.AppendMethod(nil, 1, &amqp.BasicPublish{RoutingKey: g.queue})
	b = amqp.AppendBody(amqp.AppendHeader(b, 1, 4, []byte{0, 0}), 1, []byte("good"), 0)
	g.say(amqp.AppendMethod(b, 1, &amqp.BasicGet{Queue: g.queue, NoAck: true}))
	g.until(`BODY "good"`)
}

// grammar makes conversations.
type grammar struct {
	r      *rand.Rand
	frames [][]byte
}

func (g *grammar) pick(n int) int { return g.r.IntN(n) }

func (g *grammar) one(words ...string) string { return words[g.pick(len(words))] }

func (g *grammar) add(channel uint16, m amqp.Method) {
	g.frames = append(g.frames, amqp.AppendMethod(nil, channel, m))
}

// conversation is a legal one, as frames; the first is the protocol header.
func (g *grammar) conversation() [][]byte {
	g.frames = [][]byte{[]byte(amqp.ProtocolHeader)}
	g.add(0, &amqp.ConnectionStartOk{ClientProperties: g.table(2), Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"})
	g.add(0, &amqp.ConnectionTuneOk{ChannelMax: uint16(2 + g.pick(100)), FrameMax: uint32(4096 + g.pick(100000)), Heartbeat: uint16(g.pick(3))})
	g.add(0, &amqp.ConnectionOpen{VirtualHost: "/"})
	channels := uint16(1 + g.pick(2))
	for ch := uint16(1); ch <= channels; ch++ {
		g.add(ch, &amqp.ChannelOpen{})
		g.add(ch, &amqp.QueueDeclare{Queue: fmt.Sprintf("q%d", ch), Exclusive: true, Arguments: g.table(1)})
		switch g.pick(4) {
		case 0:
			g.add(ch, &amqp.ConfirmSelect{})
		case 1:
			g.add(ch, &amqp.TxSelect{})
		case 2:
			g.add(ch, &amqp.BasicConsume{Queue: fmt.Sprintf("q%d", ch), NoAck: g.pick(2) == 0})
		}
	}
	for range 3 + g.pick(15) {
		ch := uint16(1 + g.pick(int(channels)))
		g.step(ch, fmt.Sprintf("q%d", ch))
	}
	if g.pick(2) == 0 {
		g.add(1, &amqp.ChannelClose{ReplyCode: 200})
	}
	if g.pick(2) == 0 {
		g.add(0, &amqp.ConnectionClose{ReplyCode: 200})
	}
	return g.frames
}

// step is something a client may do at any time.
func (g *grammar) step(ch uint16, queue string) {
	switch g.pick(12) {
	case 0:
		g.add(ch, &amqp.ExchangeDeclare{Exchange: "x", Type: g.one("fanout", "topic", "direct", "headers"), AutoDelete: true, Passive: false})
	case 1:
		g.add(ch, &amqp.QueueBind{Queue: queue, Exchange: g.one("amq.topic", "amq.headers", "amq.fanout"), RoutingKey: g.one("#", "a.*", ""), Arguments: g.table(2)})
	case 2:
		g.add(ch, &amqp.BasicQos{PrefetchCount: uint16(g.pick(4)), Global: g.pick(2) == 0})
	case 3:
		g.add(ch, &amqp.BasicGet{Queue: queue, NoAck: g.pick(2) == 0})
	case 4:
		g.add(ch, &amqp.QueueUnbind{Queue: queue, Exchange: "amq.topic", RoutingKey: "#"})
	case 5:
		g.add(ch, &amqp.BasicRecover{Requeue: true})
	case 6:
		g.add(ch, &amqp.BasicAck{Multiple: true})
	case 7:
		g.add(ch, &amqp.QueuePurge{Queue: queue})
	case 8:
		g.frames = append(g.frames, amqp.AppendHeartbeat(nil))
	default:
		properties := amqp.Properties{Headers: g.table(3), Flags: amqp.FlagHeaders, DeliveryMode: uint8(1 + g.pick(2))}
		if g.pick(2) == 0 {
			properties.Flags |= amqp.FlagDeliveryMode
		}
		body := make([]byte, g.pick(3)*g.pick(3000))
		g.add(ch, &amqp.BasicPublish{Exchange: g.one("", "amq.topic", "amq.headers"), RoutingKey: g.one(queue, "a.b", ""), Mandatory: g.pick(2) == 0})
		g.frames = append(g.frames, amqp.AppendHeader(nil, ch, uint64(len(body)), properties.Append(nil)))
		for len(body) > 0 {
			n := 1 + g.pick(len(body))
			g.frames = append(g.frames, amqp.AppendFrame(nil, amqp.Frame{Type: amqp.FrameBody, Channel: ch, Payload: body[:n]}))
			body = body[n:]
		}
	}
}

// table is a table of a few fields, which mean something to nobody or to somebody.
func (g *grammar) table(depth int) amqp.Table {
	var t amqp.Table
	for range g.pick(3) {
		var v any
		switch g.pick(7) {
		case 0:
			v = "text"
		case 1:
			v = int32(g.pick(1000))
		case 2:
			v = g.pick(2) == 0
		case 3:
			v = amqp.Array{"a", int64(1), nil}
		case 4:
			v = []byte{0xff, 0}
		case 5:
			v = amqp.Timestamp(g.r.Uint64())
		case 6:
			if depth > 0 {
				v = g.table(depth - 1)
			}
		}
		t = append(t, amqp.Field{Name: g.one("k", "CC", "x-delay", "x-death", "x-match", "connection_name", ""), Value: v})
	}
	return t
}

// mutate does one thing wrong, and says what.
func (g *grammar) mutate(frames *[][]byte) string {
	all := *frames
	i := g.pick(len(all))
	f := slices.Clone(all[i])
	all = slices.Clone(all)
	defer func() { *frames = all }()
	switch g.pick(12) {
	case 0:
		all = slices.Delete(all, i, i+1)
		return fmt.Sprintf("frame %d is lost", i)
	case 1:
		all = slices.Insert(all, i, f)
		return fmt.Sprintf("frame %d comes twice", i)
	case 2:
		j := g.pick(len(all))
		all[i], all[j] = all[j], all[i]
		return fmt.Sprintf("frames %d and %d change places", i, j)
	case 3:
		binary.BigEndian.PutUint16(f[1:], uint16(g.pick(4)))
		all[i] = f
		return fmt.Sprintf("frame %d is on another channel", i)
	case 4:
		f[0] = byte(g.pick(10))
		all[i] = f
		return fmt.Sprintf("frame %d has another type", i)
	case 5:
		f[g.pick(len(f))] ^= 1 << g.pick(8)
		all[i] = f
		return fmt.Sprintf("a bit of frame %d is wrong", i)
	case 6:
		at := g.pick(len(f))
		f[at] = [...]byte{0, 1, 0x7f, 0x80, 0xff}[g.pick(5)]
		all[i] = f
		return fmt.Sprintf("octet %d of frame %d is wrong", at, i)
	case 7:
		all[i] = f[:g.pick(len(f))]
		return fmt.Sprintf("frame %d is cut off", i)
	case 8:
		all = all[:i]
		return fmt.Sprintf("it ends before frame %d", i)
	case 9:
		m := g.anyMethod()
		all = slices.Insert(all, i, amqp.AppendMethod(nil, uint16(g.pick(3)), m))
		return fmt.Sprintf("a %s comes before frame %d", m.Name(), i)
	case 10:
		garbage := make([]byte, 1+g.pick(40))
		for k := range garbage {
			garbage[k] = byte(g.r.Uint32())
		}
		all = slices.Insert(all, i, amqp.AppendFrame(nil, amqp.Frame{Type: uint8(1 + g.pick(3)), Channel: uint16(g.pick(3)), Payload: garbage}))
		return fmt.Sprintf("a frame of garbage comes before frame %d", i)
	default:
		if len(f) > 12 { // the arguments end early or late, and the frame is whole
			payload := f[7 : len(f)-1]
			if g.pick(2) == 0 {
				payload = payload[:4+g.pick(len(payload)-4)]
			} else {
				payload = append(slices.Clone(payload), byte(g.pick(256)))
			}
			all[i] = amqp.AppendFrame(nil, amqp.Frame{Type: f[0], Channel: binary.BigEndian.Uint16(f[1:]), Payload: payload})
		}
		return fmt.Sprintf("the payload of frame %d is shorter or longer", i)
	}
}

// anyMethod is any method there is, with arguments of nothing or of something.
func (g *grammar) anyMethod() amqp.Method {
	for {
		m := amqp.NewMethod(uint16(10*(1+g.pick(9))), uint16(10*g.pick(13)+g.pick(2)))
		if g.pick(10) == 0 {
			m = amqp.NewMethod(85, uint16(10+g.pick(2)))
		}
		if m != nil {
			return m
		}
	}
}
