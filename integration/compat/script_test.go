package compat

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A conversation is a paragraph of testdata/*.txt: a title after = and a step in each line.
// It has connections, queues and exchanges of its own, which are gone when it ends.
//
//	a open 1 2                      connection a shakes hands and opens channels 1 and 2;
//	                                user=u is another user, plain a client with no capabilities,
//	                                heartbeat=1 an interval
//	a dial                          connection a is only connected
//	a 1 queue.declare queue=q       a sends a method on channel 1
//	a 1 basic.publish routing_key=q body=hi delivery_mode=2
//	a header 1 size=2 flags=8000 …  a sends a content header by itself, or a body 1 "text"
//	a raw "AMQP" 0102               a sends octets, as text or hexadecimal
//	a hears [1s]                    a waits for a frame, or for so long
//	a ends                          a waits until the server has closed the connection
//	a drops                         a closes the socket without a word
//	a heartbeat                     a sends one
//	a heartbeats 2                  a waits until so many have come in this step
//	api PUT /api/policies/%2F/p {"pattern": …}
//	                                the operator calls the HTTP API; what it makes is deleted at the end
//	alarm memory on                 the operator raises an alarm, or lets it go
//	try queue.declare queue=q       on a channel of its own, which is closed again
//	wait 300ms                      time passes
//	await q messages=1 consumers=0  until a passive declare says so
//
// A step ends when everything it leads to has come: the reply to a synchronous method, the
// confirms of what was published, and whatever a channel.flow on each channel has let pass.
// After the last step the clients leave, and what they hear until then is a step called end.
// A line that begins with + does not wait for that; the next one does.
//
// Fields are written as amqp.Frame.String writes them, with what is zero left out. Names
// that the server has made are (1), (2) … in the order they came up: amq.gen-(1).
type conversation struct {
	file, title string
	steps       []step
}

// step is one line, or several of which all but the last begin with +.
type step struct {
	line  int
	text  string
	lines []string
}

// where is what differences.txt and the record call a conversation.
func (c conversation) where() string { return c.file + ": " + c.title }

// conversations reads testdata/*.txt.
func conversations(t *testing.T) []conversation {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no conversations: %v", err)
	}
	var all []conversation
	titles := make(map[string]bool)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".txt")
		var pending []string
		for i, line := range strings.Split(string(text), "\n") {
			line = strings.TrimSpace(line)
			title, isTitle := strings.CutPrefix(line, "= ")
			switch {
			case line == "" || line[0] == '#':
				continue
			case isTitle:
				if titles[name+": "+title] {
					t.Fatalf("%s:%d: there are two conversations called %s", file, i+1, title)
				}
				titles[name+": "+title] = true
				all = append(all, conversation{file: name, title: title})
				continue
			case len(all) == 0 || all[len(all)-1].file != name:
				t.Fatalf("%s:%d: a step before the first title", file, i+1)
			}
			sent, more := strings.CutPrefix(line, "+ ")
			pending = append(pending, sent)
			if !more {
				c := &all[len(all)-1]
				c.steps = append(c.steps, step{line: i + 1, text: sent, lines: pending})
				pending = nil
			}
		}
		if pending != nil {
			t.Fatalf("%s: nothing follows %q", file, pending)
		}
	}
	return all
}

// words splits at spaces that are not within quotation marks, braces or brackets.
func words(line string) []string {
	var all []string
	depth, quoted, start := 0, false, -1
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case quoted && c == '\\':
			i++
			continue
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
		space := c == ' ' && !quoted && depth == 0
		if space && start >= 0 {
			all = append(all, line[start:i])
			start = -1
		} else if !space && start < 0 {
			start = i
		}
	}
	if start >= 0 {
		all = append(all, line[start:])
	}
	return all
}
