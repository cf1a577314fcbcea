//go:build !linux

package brokertest

// port is nothing where a port cannot be kept while nobody listens.
type port struct{}

func reserve() (port, string, error) { return port{}, "127.0.0.1:0", nil }

func (port) release() {}
