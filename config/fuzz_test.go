package config

import (
	"bytes"
	"testing"
)

// FuzzFile wants every file to be either refused or read, and what is read to be printed
// in a way that is read as the same.
func FuzzFile(f *testing.F) {
	f.Add("listen: off\namqp: {frame_max: 64KiB, heartbeat: 5}\n")
	f.Add("topology: {queues: [{name: a, arguments: {x: [1, 2.0, {y: z}]}}]}\n")
	f.Add("a: &a {<<: *a}\n? [b]\n: c\n<<: 5\n")
	f.Add("default_pass: \"\\n \\t'#: \\x01\"\ndata_dir: |2\n   a\n  b\n\nnode_name: '*a'\nshutdown_timeout: 1.0005s\nlisten: [\"[::1]:1\"]")
	f.Add("topology: {exchanges: [{name: '<<', arguments: {'': .nan, '<<': -.inf, b: 1e300, n: '~', '5': 0x10}}], users: [{name: \"\\u2028\", password: 1, tags: []}]}")
	f.Fuzz(func(t *testing.T, text string) {
		c, ok := readText(text)
		if !ok {
			return
		}
		var b bytes.Buffer
		if err := c.print(&b, ""); err != nil {
			t.Fatal(err)
		}
		again, ok := readText(b.String())
		if !ok {
			t.Fatalf("what was printed is refused:\n%s", &b)
		}
		var twice bytes.Buffer
		if err := again.print(&twice, ""); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(twice.Bytes(), b.Bytes()) {
			t.Errorf("got\n%s\nwant\n%s", &twice, &b)
		}
	})
}

// readText reads text as the only file there is, or tells that it is refused.
func readText(text string) (Config, bool) {
	c := Default()
	l, err := parseFile("fuzz.yaml", []byte(text))
	if err != nil {
		return c, false
	}
	for _, s := range settings() {
		if value, set := l.values[s.key]; set && s.assign(&c, value) != nil {
			return c, false
		}
	}
	if l.topology != nil && l.topology.Decode(&c.Topology) != nil {
		return c, false
	}
	c.normalise()
	return c, c.Validate() == nil
}
