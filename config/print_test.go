package config

import (
	"bytes"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite docs/leveret.yaml")

// everything is a configuration with no setting at its default.
func everything() Config {
	return Config{
		NodeName: "node: 1", DataDir: "/var/lib/lev eret", Listen: []string{"127.0.0.1:1", "[::1]:2"},
		MetricsListen: []string{}, ManagementListen: []string{}, DefaultUser: "007", DefaultPass: "#secret: true", DefaultVHost: "off",
		LoopbackUsers: []string{}, ShutdownTimeout: 1500 * time.Millisecond, DelayedDefaultExchange: true,
		DiskFreeLimit: 50e6, MemoryLimit: 3 * GiB,
		AMQP: AMQP{
			FrameMax: 5000, ChannelMax: 1, Heartbeat: 0, HandshakeTimeout: time.Minute, MaxMessageSize: 3 * MiB,
			MaxConsumersPerChannel: 2, MaxTransactionSize: 1 * MiB, WriteTimeout: time.Minute, MaxConnections: 3, MaxChannels: 4, MaxQueues: 5, MaxExchanges: 6, ConsumerTimeout: time.Hour, ConsumerTimeoutAction: "channel", OutboundHighWater: 65537, CompatProduct: "Leveret", CompatVersion: "4.10",
			AuthMechanisms: []string{"EXTERNAL"}, MaxWrongLogins: 3, MaxUnauthenticated: 5, MaxUnauthenticatedPerAddress: 6,
		},
		TLS: TLS{
			Listen: []string{"[::1]:1"}, ManagementListen: []string{}, CertFile: "a", KeyFile: "b", CAFile: "c", CRLFile: "d",
			Verify: "optional", ManagementVerify: "required", LoginFrom: "subject_alternative_name", LoginSANType: "ip", LoginSANIndex: 1,
			MinVersion: "1.3", HandshakeTimeout: time.Second, ReloadInterval: 0,
		},
		LoadDefinitions: "/etc/leveret/definitions of all", Definitions: Definitions{SkipIfUnchanged: true},
		Store: Store{Backend: "memory", MaxUnstored: 1e6, QueueMemory: 5e6, JournalMax: 20e6, Readahead: "system", Ballast: 0, EncryptionKeyFile: "/run/secrets/a key"},
		Log:   Log{Level: "trace", Format: "json"},
		Topology: Topology{
			VHosts: []VHost{{Name: "A"}},
			Users: []User{
				{Name: "u", Password: "p1-secret", Tags: []string{"administrator", "x"}, Permissions: []Permission{{VHost: "A", Read: ".*"}}},
				{Name: "h", PasswordHash: "aGFzaC1zZWNyZXQ="},
			},
			Exchanges: []Exchange{{VHost: "A", Name: "X", Type: "headers", Internal: true, AutoDelete: true}},
			Queues: []Queue{{VHost: "A", Name: "Q", Arguments: Arguments{
				"One": 1.0, "big": 1e21, "half": 0.5, "int": int64(5), "text": "5", "t": "true", "b": true,
				"L": []any{int64(1), 2.0, "x"}, "M": map[string]any{"Z": 3.0, "A": map[string]any{"b": "C"}},
			}}},
			Bindings: []Binding{{VHost: "A", Exchange: "X", DestinationExchange: "Y", RoutingKey: "#", Arguments: Arguments{"k": "v"}}},
		},
	}
}

func TestPrintedConfigurationIsReadBackTheSame(t *testing.T) {
	want := everything()
	var b bytes.Buffer
	if err := want.print(&b, ""); err != nil {
		t.Fatal(err)
	}
	got := load(t, b.String())
	got.Files = nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v\nfrom\n%s", got, want, &b)
	}
}

func TestEverythingDiffersFromTheDefault(t *testing.T) {
	a, b := Default(), everything()
	for _, s := range settings() {
		if reflect.DeepEqual(s.show(&a), s.show(&b)) {
			t.Errorf("%s is the default, so that the round trip proves nothing of it", s.key)
		}
	}
}

func TestPrintMasksSecretsAndLoadRefusesTheMask(t *testing.T) {
	var b strings.Builder
	if err := everything().Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"#secret: true", "p1-secret", "aGFzaC1zZWNyZXQ="} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("secret %q is printed", secret)
		}
	}
	refused(t, b.String(), "default_pass", masked)
	refused(t, "topology: {users: [{name: a, password: "+masked+"}]}", "topology.users[0]", masked)
}

func TestEverySettingIsDocumentedAndPrintedBelowItsComment(t *testing.T) {
	var b strings.Builder
	if err := Default().Print(&b); err != nil {
		t.Fatal(err)
	}
	for _, s := range settings() {
		text := comments()[s.owner.Name()+"."+s.field.Name]
		if !strings.HasSuffix(text, ".") {
			t.Errorf("%s: the comment %q is not a sentence", s.key, text)
		}
		lines := strings.Split(s.comment(), "\n")
		if want := "# " + lines[len(lines)-1] + "\n"; !strings.Contains(b.String(), want) {
			t.Errorf("%s: got no %q in print", s.key, want)
		}
	}
}

func TestSampleInDocumentationIsTheDefault(t *testing.T) {
	const path = "../docs/leveret.yaml"
	var b bytes.Buffer
	if err := Default().Print(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	sample, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(sample, b.Bytes()) {
		t.Errorf("%s is not what the defaults print; go test ./config -update rewrites it", path)
	}
}
