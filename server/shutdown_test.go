package server

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestShutdownDoesNotWaitLongForClientsThatDoNotAnswer (DUR-8): a client that only publishes may
// never read that it was told to go (C-33), as Celery's workers have one. What stops a container
// kills it after 10 s, and the store has to be closed before.
func TestShutdownDoesNotWaitLongForClientsThatDoNotAnswer(t *testing.T) {
	withServer(t, func(s *Server, connect func() net.Conn, _ *lockedBuffer) {
		c := connect()
		go say(c, hello(0))
		told := make(chan string, 1)
		go readFrames(c, func(frame string, _ time.Duration) {
			if strings.Contains(frame, "CONNECTION_FORCED") {
				told <- frame
			}
		})
		synctest.Wait()
		asked := time.Now()
		s.Shutdown(context.Background())
		if took := time.Since(asked); took != 3*time.Second {
			t.Errorf("the shutdown took %v, want 3 s", took)
		}
		select {
		case <-told:
		default:
			t.Error("the client was not told to go")
		}
	})
}
