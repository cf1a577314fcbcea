package server

import (
	"fmt"
	"net"
	"testing"

	"github.com/leveretmq/leveret/amqp"
)

// BenchmarkGrowth is what a message of 1 KiB costs from one client to another, over TCP and both
// ends in this process, while ever more clients are connected that do nothing.
func BenchmarkGrowth(b *testing.B) {
	for _, n := range []int{1, 1000, 4000} {
		b.Run(fmt.Sprintf("connections=%d", n), func(b *testing.B) {
			r := start(b)
			ch := r.channel()
			_, err := ch.QueueDeclare("q", false, false, false, false, nil)
			check(b, err)
			for range n {
				idle, err := net.Dial("tcp", r.address())
				check(b, err)
				b.Cleanup(func() { idle.Close() })
				_, err = idle.Write(amqp.AppendMethod(hello(0), 1, &amqp.ChannelOpen{}))
				check(b, err)
			}
			waitFor(b, func() bool { return len(r.b.Sessions()) == n+1 })
			throughLoopback(b, r, 1024)
		})
	}
}
