package node

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
)

// defined is a configuration whose data is in a directory of its own and whose definitions are
// in another, in the files that are given as names and texts.
func defined(t *testing.T, files ...string) config.Config {
	t.Helper()
	c := config.Default()
	c.DataDir, c.LoadDefinitions = t.TempDir(), t.TempDir()
	c.Listen, c.ManagementListen, c.MetricsListen = []string{"127.0.0.1:0"}, nil, nil
	c.DiskFreeLimit, c.Store.Ballast = config.MiB, 0
	for i := 0; i < len(files); i += 2 {
		write(t, filepath.Join(c.LoadDefinitions, files[i]), files[i+1])
	}
	return c
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// during starts a node, looks at its broker and stops it.
func during(t *testing.T, c config.Config, look func(*broker.Broker)) {
	t.Helper()
	n, err := Start(c, Options{Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	look(n.Broker())
	if err := n.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// refusesToStart wants a start that fails, saying so.
func refusesToStart(t *testing.T, c config.Config, want string) {
	t.Helper()
	n, err := Start(c, Options{Log: zerolog.Nop()})
	if err == nil {
		t.Errorf("got a broker, want %q", want)
		if err := n.Stop(context.Background()); err != nil {
			t.Error(err)
		}
		return
	}
	if !strings.Contains(err.Error(), "load_definitions: ") || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

// TestRabbitMQsDefinitionsAreThereAtStart: what 3.10.8 exported, unchanged, makes the new broker
// what that was, without a default user or virtual host of its own, however often (DEF-7).
func TestRabbitMQsDefinitionsAreThereAtStart(t *testing.T) {
	c := defined(t)
	c.LoadDefinitions = "../definitions/testdata/rabbitmq-3.10.8.json"
	c.DefaultUser, c.DefaultVHost = "default", "default"
	var queues int
	for start := range 2 {
		during(t, c, func(b *broker.Broker) {
			if err := b.CheckPassword("def-u", "secret", true); err != nil {
				t.Error(err)
			}
			if b.VHost("default") != nil || b.CheckPassword("default", "guest", true) == nil {
				t.Error("got the defaults as well")
			}
			var found, transient int
			for _, v := range b.VHosts() {
				for _, q := range v.Queues() {
					found++
					if !q.Spec().Durable {
						transient++
					}
				}
			}
			if found == 0 || start > 0 && found != queues {
				t.Errorf("got %d queues, before that %d", found, queues)
			}
			queues = found
			if made := b.Counters.QueuesCreated.Load(); start > 0 && made != uint64(transient) {
				t.Errorf("got %d queues made again, want the %d that were gone", made, transient)
			}
		})
	}
}

// TestDefinitionsOfADirectoryAreTakenByName, with nothing else that is in it (DEF-7).
func TestDefinitionsOfADirectoryAreTakenByName(t *testing.T) {
	c := defined(t,
		"20.json", `{"queues":[{"name":"q","vhost":"v","durable":true}]}`,
		"10.json", `{"vhosts":[{"name":"v"}]}`,
		"15.json.old", `{"vhosts":[{"name":"old"}]}`,
		"README", `not JSON`)
	c.Topology.Queues = []config.Queue{{VHost: "v", Name: "of the topology"}}
	during(t, c, func(b *broker.Broker) {
		v := b.VHost("v")
		if v == nil || len(b.VHosts()) != 1 || len(v.Queues()) != 2 {
			t.Fatalf("got virtual hosts %v, want one with the queue of a file and that of the topology", b.VHosts())
		}
	})
}

// TestBadDefinitionsRefuseToStart, name the file and the item, and leave a data directory that
// is still new (DEF-7, C45).
func TestBadDefinitionsRefuseToStart(t *testing.T) {
	c := defined(t,
		"a.json", `{"vhosts":[{"name":"v"}]}`,
		"b.json", `{"queues":[{"name":"good","vhost":"v"},{"name":"bad","vhost":"v","arguments":{"x-max-length":-1}}]}`)
	refusesToStart(t, c, "b.json: queue 'bad' in vhost 'v': invalid arg 'x-max-length'")
	if err := CheckTopology(c); err == nil || !strings.Contains(err.Error(), "queue 'bad' in vhost 'v'") {
		t.Errorf("got %v from the check before a start", err)
	}
	write(t, filepath.Join(c.LoadDefinitions, "b.json"), `{"queues":{}}`)
	refusesToStart(t, c, "b.json: queues: object is not what is wanted there")
	write(t, filepath.Join(c.LoadDefinitions, "b.json"), `{"queues":[`)
	refusesToStart(t, c, "b.json: not the JSON of definitions")

	missing := c
	missing.LoadDefinitions = filepath.Join(c.LoadDefinitions, "none.json")
	refusesToStart(t, missing, "none.json: no such file")
	missing.LoadDefinitions = t.TempDir()
	refusesToStart(t, missing, "there is no file *.json")

	c.LoadDefinitions = ""
	during(t, c, func(b *broker.Broker) {
		if b.VHost("v") != nil || b.VHost("/") == nil {
			t.Error("got what was refused, or no default virtual host")
		}
	})
}

// TestUnchangedDefinitionsAreSkipped if that is wanted: what was done to the broker since then
// stays, until they change (DEF-7).
func TestUnchangedDefinitionsAreSkipped(t *testing.T) {
	c := defined(t, "a.json", `{"vhosts":[{"name":"v"}],"users":[{"name":"u","password":"as written"}]}`)
	set := func(password string) func(b *broker.Broker) {
		return func(b *broker.Broker) {
			u, _ := b.User("u")
			u.PasswordHash = b.HashPassword(password)
			if _, err := b.PutUser(u); err != nil {
				t.Fatal(err)
			}
		}
	}
	is := func(password string) func(b *broker.Broker) {
		return func(b *broker.Broker) {
			t.Helper()
			if err := b.CheckPassword("u", password, true); err != nil {
				t.Error(err)
			}
		}
	}
	during(t, c, set("changed"))
	c.Definitions.SkipIfUnchanged = true
	during(t, c, is("changed"))
	c.Definitions.SkipIfUnchanged = false
	during(t, c, func(b *broker.Broker) { is("as written")(b); set("changed")(b) })
	c.Definitions.SkipIfUnchanged = true
	write(t, filepath.Join(c.LoadDefinitions, "b.json"), `{}`)
	during(t, c, func(b *broker.Broker) { is("as written")(b); set("changed")(b) })
	during(t, c, is("changed"))
}
