package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

// write makes a file with text and returns its path.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// load reads a single file and fails the test when that does not work.
func load(t *testing.T, text string) Config {
	t.Helper()
	c, err := Load(Sources{File: write(t, "leveret.yaml", text), Hostname: "warren"})
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return c
}

// refused reads a single file and wants an error with each of want in it.
func refused(t *testing.T, text string, want ...string) {
	t.Helper()
	_, err := Load(Sources{File: write(t, "leveret.yaml", text)})
	if err == nil {
		t.Fatalf("got no error from\n%s\nwant one with %q", text, want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got error %q, want %q in it", err, w)
		}
	}
}

func parsed(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("leveret", pflag.ContinueOnError)
	Flags(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestNothingGivenIsTheDefault(t *testing.T) {
	got, err := Load(Sources{Hostname: "warren", Flags: parsed(t)})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.NodeName = "leveret@warren"
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestDefaultIsValid(t *testing.T) {
	if err := Default().Validate(); err != nil {
		t.Error(err)
	}
}

func TestEachLayerWinsOverTheOneBelow(t *testing.T) {
	etc := write(t, "etc.yaml", "data_dir: etc\n")
	here := write(t, "here.yaml", "data_dir: here\n")
	named := write(t, "named.yaml", "data_dir: named\n")
	src := Sources{Search: []string{here + ".missing", etc}}
	want := func(want string) {
		t.Helper()
		c, err := Load(src)
		if err != nil {
			t.Fatal(err)
		}
		if c.DataDir != want {
			t.Errorf("got data_dir %q, want %q", c.DataDir, want)
		}
	}
	want("etc")
	src.Search[0] = here
	want("here")
	src.File = named
	want("named")
	src.Environ = []string{"LEVERET_DATA_DIR=environment"}
	want("environment")
	src.Flags = parsed(t, "--data-dir", "flag")
	want("flag")
	src.Set = map[string]string{"data_dir": "set"}
	want("set")
}

func TestLayerLeavesWhatItDoesNotSetToTheNext(t *testing.T) {
	low := write(t, "low.yaml", `
amqp: {frame_max: 8192, channel_max: 10, heartbeat: 5s}
topology:
  queues: [{name: low}]
  exchanges: [{name: low}]
`)
	high := write(t, "high.yaml", `
amqp: {frame_max: 16KiB}
topology:
  queues: [{name: high}]
`)
	c, err := Load(Sources{Search: []string{high, low}, Environ: []string{"LEVERET_AMQP_HEARTBEAT=7"}})
	if err != nil {
		t.Fatal(err)
	}
	if c.AMQP.FrameMax != 16*KiB || c.AMQP.ChannelMax != 10 || c.AMQP.Heartbeat != 7*time.Second {
		t.Errorf("got frame_max %v channel_max %d heartbeat %v, want 16KiB, 10 and 7s",
			c.AMQP.FrameMax, c.AMQP.ChannelMax, c.AMQP.Heartbeat)
	}
	if len(c.Topology.Queues) != 1 || c.Topology.Queues[0].Name != "high" {
		t.Errorf("got queues %v, want those of the higher layer alone", c.Topology.Queues)
	}
	if len(c.Topology.Exchanges) != 1 || c.Topology.Exchanges[0].Name != "low" {
		t.Errorf("got exchanges %v, want those of the lower layer", c.Topology.Exchanges)
	}
	if want := []string{high, low}; !reflect.DeepEqual(c.Files, want) {
		t.Errorf("got files %v, want %v", c.Files, want)
	}
}

func TestNamedFileMustExistAndFlagNamesItFirst(t *testing.T) {
	a, b, c := write(t, "a.yaml", "data_dir: a"), write(t, "b.yaml", "data_dir: b"), write(t, "c.yaml", "data_dir: c")
	f := func(src Sources, want string) {
		t.Helper()
		got, err := Load(src)
		if err != nil || got.DataDir != want {
			t.Errorf("got %q, %v, want %q", got.DataDir, err, want)
		}
	}
	f(Sources{File: a}, "a")
	f(Sources{File: a, Environ: []string{"LEVERET_CONFIG=" + b}}, "b")
	f(Sources{File: a, Environ: []string{"LEVERET_CONFIG=" + b}, Flags: parsed(t, "--config", c)}, "c")

	if _, err := Load(Sources{File: a + ".missing"}); err == nil || !strings.Contains(err.Error(), ".missing") {
		t.Errorf("got %v for a named file that is missing, want an error with its name", err)
	}
}

func TestFlagsGiveTheirSettings(t *testing.T) {
	c, err := Load(Sources{Flags: parsed(t,
		"--listen", "127.0.0.1:0,[::1]:5673", "--listen", "5674", "--metrics-listen=off", "--log-level=debug")})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"127.0.0.1:0", "[::1]:5673", ":5674"}; !reflect.DeepEqual(c.Listen, want) {
		t.Errorf("got listen %q, want %q", c.Listen, want)
	}
	if len(c.MetricsListen) != 0 || c.Log.Level != "debug" {
		t.Errorf("got metrics_listen %q and log.level %q, want none and debug", c.MetricsListen, c.Log.Level)
	}
}

func TestFlagThatWasNotGivenYieldsToTheFile(t *testing.T) {
	c, err := Load(Sources{File: write(t, "l.yaml", "listen: 1.2.3.4:5"), Flags: parsed(t)})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"1.2.3.4:5"}; !reflect.DeepEqual(c.Listen, want) {
		t.Errorf("got listen %q, want %q", c.Listen, want)
	}
}

func TestEverySettingCanComeFromTheEnvironment(t *testing.T) {
	for _, s := range settings() {
		c := Default()
		c.NodeName = "n"
		value := s.show(&c)
		if list, ok := value.([]string); ok {
			value = strings.Join(list, ",")
		}
		_, err := Load(Sources{Environ: []string{s.variable() + "=" + value.(string)}})
		if err != nil {
			t.Errorf("%s=%s: %v", s.variable(), value, err)
		}
		_, err = Load(Sources{Environ: []string{s.variable() + "=" + masked}})
		if s.tag("secret") != "" && (err == nil || !strings.Contains(err.Error(), s.variable())) {
			t.Errorf("%s: got %v for a masked secret, want an error that names the variable", s.variable(), err)
		}
	}
}

func TestUnknownKeyIsRefusedWithItsLineAndTheNearest(t *testing.T) {
	refused(t, "amqp:\n  frame_mx: 8192\n", "leveret.yaml:2", "unknown key amqp.frame_mx", "amqp.frame_max")
	refused(t, "frame_max: 8192\n", "leveret.yaml:1", "unknown key frame_max", "amqp.frame_max")
	refused(t, "dataDir: x\n", "unknown key dataDir", "data_dir")
	refused(t, "Listen: x\n", "unknown key Listen", "listen")
	refused(t, "queues: []\n", "unknown key queues", "topology.queues")
	refused(t, "topology:\n  queue: []\n", "leveret.yaml:2", "topology.queue", "queues")
	refused(t, "topology:\n  queues:\n    - name: a\n    - {name: b, durabel: true}\n",
		"leveret.yaml:4", "topology.queues[1].durabel", "durable")
	refused(t, "topology:\n  users: [{name: a, password: b, permissions: [{vhots: /}]}]\n", "permissions[0].vhots", "vhost")
	refused(t, "nodename: a\nloglevel: info\n", "leveret.yaml:1", "node_name", "leveret.yaml:2", "log.level")
}

func TestMergedAndAliasedKeysAreCheckedToo(t *testing.T) {
	refused(t, "amqp: &a {frame_mx: 1}\nstore: {<<: *a}\n", "store.frame_mx")
	refused(t, "amqp: &a\n  <<: *a\n", "leveret.yaml")
	c := load(t, "topology:\n  queues:\n    - &q {name: a, arguments: {x-max-length: 1}}\n    - {<<: *q, name: b}\n")
	if q := c.Topology.Queues; len(q) != 2 || q[1].Name != "b" || q[1].Arguments["x-max-length"] != int64(1) {
		t.Errorf("got %v, want b with the arguments of a", q)
	}
}

func TestFileThatIsNotASettingsMapIsRefused(t *testing.T) {
	refused(t, "- a\n", "the file holds settings")
	refused(t, "amqp: 5\n", "amqp holds settings")
	refused(t, "data_dir: [a]\n", "data_dir", "one value")
	refused(t, "data_dir: {a: b}\n", "data_dir", "a map")
	refused(t, "data_dir: a\ndata_dir: b\n", "data_dir", "already defined")
	refused(t, "data_dir: a\n---\ndata_dir: b\n", "more than one document")
	refused(t, "data_dir: 'a\n", "leveret.yaml")
	refused(t, "topology: [a]\n", "a map such as")
	refused(t, "topology: {queues: {a: b}}\n", "a list belongs here")
}

func TestEmptySectionsAndValuesSetNothing(t *testing.T) {
	want := Default()
	want.NodeName = "leveret@warren"
	for _, text := range []string{"", "# only a comment\n", "amqp:\ndata_dir:\ntopology:\n", "amqp:\n  # frame_max: 1\n"} {
		got := load(t, text)
		got.Files = nil
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, want the default", text, got)
		}
	}
}

func TestErrorsAreAllToldAtOnce(t *testing.T) {
	refused(t, "log: {level: loud}\namqp:\n  frame_max: 12x\n  channel_max: many\n", "12x", "many")
	refused(t, "log: {level: loud}\namqp:\n  frame_max: 12\n", "loud", "below")
}

func TestFilesOfTLSBelongTogether(t *testing.T) {
	refused(t, "tls: {cert_file: a}", "tls.key_file", "is empty")
	refused(t, "tls: {key_file: a}", "tls.cert_file", "is empty")
	refused(t, "tls: {cert_file: a, key_file: b, verify: required}", "tls.verify", "tls.ca_file")
	refused(t, "tls: {cert_file: a, key_file: b, management_verify: optional}", "tls.management_verify", "tls.ca_file")
	refused(t, "tls: {cert_file: a, key_file: b, crl_file: c}", "tls.crl_file", "tls.ca_file")
	refused(t, "tls: {ca_file: a}", "tls.ca_file", "without tls.cert_file")
	refused(t, "tls: {ca_file: a, verify: required}", "tls.verify", "without tls.cert_file")
	refused(t, "tls: {certfile: a}", "tls.cert_file") // as RabbitMQ has it
	refused(t, "tls: {listen: x}", "tls.listen", "host:port")
	refused(t, "tls: {min_version: 1.1}", "tls.min_version", "1.1")
	refused(t, "amqp: {auth_mechanisms: [PLAIN, GSSAPI]}", "amqp.auth_mechanisms", "GSSAPI")
	c := load(t, "tls: {cert_file: a, key_file: b, ca_file: c, verify: required, listen: 5671, min_version: 1.3}")
	if !c.TLS.Enabled() || !reflect.DeepEqual(c.TLS.Listen, []string{":5671"}) || c.TLS.MinVersion != "1.3" {
		t.Errorf("got %+v", c.TLS)
	}
	if Default().TLS.Enabled() {
		t.Error("got TLS without a certificate")
	}
}
