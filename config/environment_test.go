package config

import (
	"reflect"
	"strings"
	"testing"
)

func TestFirstUserComesFromEitherPrefix(t *testing.T) {
	secret := write(t, "secret", "from file\n")
	f := func(want string, environ ...string) {
		t.Helper()
		c, err := Load(Sources{Environ: environ})
		if err != nil || c.DefaultPass != want {
			t.Errorf("%q: got %q, %v, want %q", environ, c.DefaultPass, err, want)
		}
	}
	f("guest")
	f("guest", "LEVERET_DEFAULT_PASS=")
	f("a", "LEVERET_DEFAULT_PASS=a")
	f("b", "RABBITMQ_DEFAULT_PASS=b")
	f("a", "RABBITMQ_DEFAULT_PASS=b", "LEVERET_DEFAULT_PASS=a")
	f("from file", "LEVERET_DEFAULT_PASS_FILE="+secret)
	f("from file", "RABBITMQ_DEFAULT_PASS_FILE="+secret)
	f("from file", "RABBITMQ_DEFAULT_PASS=b", "LEVERET_DEFAULT_PASS_FILE="+secret)
	f("a=b", "LEVERET_DEFAULT_PASS=a=b")

	c, err := Load(Sources{Environ: []string{
		"RABBITMQ_DEFAULT_USER=u", "RABBITMQ_DEFAULT_VHOST=v", "RABBITMQ_NODENAME=rabbit@there"}})
	if err != nil || c.DefaultUser != "u" || c.DefaultVHost != "v" {
		t.Errorf("got user %q vhost %q, %v, want u and v", c.DefaultUser, c.DefaultVHost, err)
	}
}

func TestSecretFileIsTakenWithoutItsLastNewline(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		c, err := Load(Sources{Environ: []string{"LEVERET_DEFAULT_PASS_FILE=" + write(t, "s", text)}})
		if err != nil || c.DefaultPass != want {
			t.Errorf("%q: got %q, %v, want %q", text, c.DefaultPass, err, want)
		}
	}
	f("a", "a")
	f("a\n", "a")
	f("a\r\n", "a")
	f(" a \n\n", " a \n")
}

func TestSecretFileThatCannotBeUsedIsRefused(t *testing.T) {
	f := func(want string, environ ...string) {
		t.Helper()
		_, err := Load(Sources{Environ: environ})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", environ, err, want)
		}
	}
	f("both set", "LEVERET_DEFAULT_PASS=a", "LEVERET_DEFAULT_PASS_FILE=/b")
	f("no such file", "LEVERET_DEFAULT_PASS_FILE=/no/such/file")
	f("is empty", "LEVERET_DEFAULT_PASS_FILE="+write(t, "s", ""))
}

func TestUnknownVariableIsRefusedWhenItLooksLikeASetting(t *testing.T) {
	f := func(name, near string) {
		t.Helper()
		_, err := Load(Sources{Environ: []string{name + "=x"}})
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), near) {
			t.Errorf("%s: got %v, want an error that names %s", name, err, near)
		}
	}
	f("LEVERET_AMQP_FRAME_MX", "LEVERET_AMQP_FRAME_MAX")
	f("LEVERET_DATADIR", "LEVERET_DATA_DIR")
	f("LEVERET_LISTENS", "LEVERET_LISTEN")
	f("LEVERET_STORE_ENGINE", "LEVERET_STORE_")
	f("LEVERET_TOPOLOGY_QUEUES", "topology")
}

func TestVariablesOfOthersAreIgnoredAndTold(t *testing.T) {
	c, err := Load(Sources{Environ: []string{
		"LEVERET_SERVICE_HOST=10.0.0.1", "LEVERET_SERVICE_PORT_AMQP=5672", "LEVERET_PORT=tcp://10.0.0.1:5672",
		"LEVERET_PORT_5672_TCP_ADDR=10.0.0.1", "LEVERET_AMQP_PORT_5672_TCP=x", "LEVERET_BIN=/bin/leveret", "LEVERETTE=1", "HOME=/"}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"LEVERET_AMQP_PORT_5672_TCP", "LEVERET_BIN", "LEVERET_PORT", "LEVERET_PORT_5672_TCP_ADDR",
		"LEVERET_SERVICE_HOST", "LEVERET_SERVICE_PORT_AMQP"}
	if !reflect.DeepEqual(c.Ignored, want) {
		t.Errorf("got ignored %q, want %q", c.Ignored, want)
	}
}
