package amqp

import "testing"

func BenchmarkDecodePublish(b *testing.B) {
	args := (&BasicPublish{Exchange: "amq.topic", RoutingKey: "orders.europe.new", Mandatory: true}).Append(nil)[4:]
	var m BasicPublish
	b.ReportAllocs()
	for b.Loop() {
		if m.Decode(args) != nil {
			b.Fatal("not decoded")
		}
	}
	if m.RoutingKey != "orders.europe.new" || !m.Mandatory {
		b.Fatalf("got %+v", m)
	}
}

func BenchmarkDecodeAck(b *testing.B) {
	args := (&BasicAck{DeliveryTag: 77, Multiple: true}).Append(nil)[4:]
	var m BasicAck
	b.ReportAllocs()
	for b.Loop() {
		if m.Decode(args) != nil {
			b.Fatal("not decoded")
		}
	}
	if m.DeliveryTag != 77 || !m.Multiple {
		b.Fatalf("got %+v", m)
	}
}

func BenchmarkAppendDeliver(b *testing.B) {
	m := BasicDeliver{ConsumerTag: "ctag-1", DeliveryTag: 77, Exchange: "amq.topic", RoutingKey: "orders.europe.new"}
	dst := make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = BeginFrame(dst[:0], FrameMethod, 1)
		dst = EndFrame(m.Append(dst), 0)
	}
	if f, n, err := ParseFrame(dst, 4096); n != len(dst) || err != nil {
		b.Fatalf("got %v, n=%d, err=%v", f, n, err)
	}
}

func BenchmarkParseFrame(b *testing.B) {
	frame := AppendMethod(nil, 1, &BasicPublish{Exchange: "amq.topic", RoutingKey: "orders.europe.new"})
	b.ReportAllocs()
	for b.Loop() {
		if _, n, err := ParseFrame(frame, 131072); n != len(frame) || err != nil {
			b.Fatalf("got n=%d, err=%v", n, err)
		}
	}
}

func BenchmarkScanProperties(b *testing.B) {
	f := func(name string, p Properties) {
		list := p.Append(nil)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v, err := ScanProperties(list)
				if err != nil || v.Flags != p.Flags || v.DeliveryMode != p.DeliveryMode {
					b.Fatalf("got %+v, err=%v", v, err)
				}
			}
		})
	}
	f("none", Properties{})
	f("persistent", Properties{Flags: FlagDeliveryMode, DeliveryMode: 2})
	f("usual", Properties{
		Flags:       FlagContentType | FlagDeliveryMode | FlagMessageID | FlagTimestamp,
		ContentType: "application/json", DeliveryMode: 2, MessageID: "8c1b2f", Timestamp: 1700000000,
	})
	f("headers=5", Properties{
		Flags: FlagHeaders | FlagDeliveryMode,
		Headers: Table{
			{"tenant", "acme"}, {"attempt", int64(3)}, {"traced", true}, {"region", "eu-west-1"}, {"at", Timestamp(1700000000)},
		},
		DeliveryMode: 2,
	})
}

func BenchmarkDecodeTable(b *testing.B) {
	table := AppendTable(nil, Table{
		{"x-message-ttl", int64(60000)}, {"x-dead-letter-exchange", "dlx"}, {"x-max-length", int64(100000)},
	})
	b.ReportAllocs()
	for b.Loop() {
		if t, _, err := DecodeTable(table); len(t) != 3 || err != nil {
			b.Fatalf("got %v, err=%v", t, err)
		}
	}
}
