// Package brokertest runs a real broker inside a Go test: the one that is run in
// production, with its sockets and its store, on a free port of the loopback interface
// and in a directory that goes with the test.
//
//	func TestOrdersAreShipped(t *testing.T) {
//		s := brokertest.Start(t)
//		conn, err := amqp.Dial(s.URL())
//		…
//	}
//
// Starting one takes some ten milliseconds, so each test can have its own, and tests that
// do may run in parallel. Durable queues and their persistent messages survive Restart as
// they survive the restart of a server. InMemory leaves out the disk, and with it what
// survives.
//
// A broker that all tests of a package share is started with New, in TestMain:
//
//	func TestMain(m *testing.M) {
//		shared = brokertest.New()
//		code := m.Run()
//		shared.Close()
//		os.Exit(code)
//	}
//
// The broker's warnings are in the output of the test that fails.
package brokertest
