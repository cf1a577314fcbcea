package main

import (
	"bytes"
	"testing"

	// What is started is built from this, and the test is not to be taken for passed when it
	// has changed.
	_ "github.com/leveretmq/leveret/node"
)

// TestShortSoak runs the whole of it for some seconds, which say nothing of slopes, but all of what
// clients are promised and of what is left when they have gone.
func TestShortSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the broker and runs it as a process")
	}
	var out bytes.Buffer
	err := command([]string{"-for", "3s", "-every", "500ms"}, &out)
	t.Logf("\n%s", &out)
	if err != nil {
		t.Error(err)
	}
}
