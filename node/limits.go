package node

import "github.com/leveretmq/leveret/config"

const (
	// keptFiles are the open files that are not for connections: those of the store, of
	// listeners, of the management API.
	keptFiles = 512
	// leastNewcomers may be there however few files may be open.
	leastNewcomers = 16
	// unknownNewcomers may be there where nobody knows how many connections may be.
	unknownNewcomers = 1000
)

// mostNewcomers is how many connections may be open that have not logged in (A22). mostFiles is
// how many files may be open, negative when that is not known.
func mostNewcomers(c config.AMQP, mostFiles int64) int {
	switch {
	case c.MaxUnauthenticated > 0:
		return c.MaxUnauthenticated
	case c.MaxConnections > 0:
		return max(c.MaxConnections/4, 1)
	case mostFiles >= 0:
		return max(int(min(mostFiles-keptFiles, 1<<30)/4), leastNewcomers)
	}
	return unknownNewcomers
}
