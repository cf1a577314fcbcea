package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// canaries are passwords that nothing may tell, each with where it was said.
type canaries map[string]string

// sing makes the password that is said in one place.
func (c canaries) sing(where string) string {
	password := "canary-" + strings.ReplaceAll(where, " ", "-") + "-3141592653"
	c[where] = password
	return password
}

// forms are what a password may look like. A hash with salt, which has to be told in
// definitions, is none of them.
func forms(password string) []string {
	all := []string{password, strings.ToUpper(password), hex.EncodeToString([]byte(password))}
	// In base64 it has three, by what stands before it; the ends depend on what is beside it.
	for before := range 3 {
		text := base64.StdEncoding.EncodeToString(append(make([]byte, before), password...))
		all = append(all, text[4:len(text)-4])
	}
	unsalted := sha256.Sum256([]byte(password))
	return append(all, base64.StdEncoding.EncodeToString(unsalted[:]), hex.EncodeToString(unsalted[:]))
}

// search fails for each canary found in what was said somewhere.
func (c canaries) search(t *testing.T, place, said string) {
	t.Helper()
	for where, password := range c {
		for _, form := range forms(password) {
			if strings.Contains(said, form) {
				t.Errorf("the password of the %s is in the %s: %s", where, place, form)
			}
		}
	}
}

func (s *serving) addressOf(message string) string {
	s.t.Helper()
	for _, text := range s.log {
		var line struct{ Message, Address string }
		if err := json.Unmarshal([]byte(text), &line); err == nil && line.Message == message && line.Address != "" {
			return line.Address
		}
	}
	s.t.Fatalf("got no %s in\n%s", message, strings.Join(s.log, "\n"))
	return ""
}

// TestPasswordsAreToldNowhere says passwords in every place there is for one, and looks for them
// wherever the broker says something.
func TestPasswordsAreToldNowhere(t *testing.T) {
	c := canaries{}
	file := write(t, fmt.Sprintf(`
default_user: first
default_pass: %s
loopback_users: none
log: {level: trace, format: json}
topology:
  users:
    - {name: second, password: %s, tags: [administrator]}
    - {name: third, password: %s}
`, c.sing("default user"), c.sing("topology user"), c.sing("topology user without tags")))
	s := startServing(t, t.TempDir(), complete, "--config", file)
	api, metrics := "http://"+s.addressOf("listening for management"), "http://"+s.addressOf("listening for metrics")
	ask := func(user, password, method, path, body string) string {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, api+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth(user, password)
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Body.Close()
		b, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(a.Status, a.Header, string(b))
	}
	admin := func(method, path, body string) {
		t.Helper()
		c.search(t, "answer to "+method+" "+path, ask("second", c["topology user"], method, path, body))
	}

	// Said over HTTP: well, badly, and where it does not belong.
	admin("PUT", "/api/users/fourth", `{"password":"`+c.sing("user of the API")+`","tags":""}`)
	admin("PUT", "/api/users/fifth", `{"password":"`+c.sing("request that is no JSON")+`",`)
	admin("PUT", "/api/users/fifth", `{"password":"`+c.sing("request with wrong tags")+`","tags":5}`)
	admin("PUT", "/api/users/fifth", `{"password_hash":"`+c.sing("request with a wrong hash")+`","tags":""}`)
	admin("POST", "/api/definitions", `{"users":[{"name":"sixth","password":"`+c.sing("definitions")+`","tags":""}]}`)
	admin("POST", "/api/definitions", `{"users":[{"name":"seventh","password":"`+c.sing("definitions that are refused")+`","tags":""}],"queues":[{}]}`)
	admin("GET", "/api/overview?password="+c.sing("query of a path"), "")
	for _, user := range []string{"second", "nobody"} {
		c.search(t, "answer to a wrong login", ask(user, c.sing("wrong login of "+user), "GET", "/api/whoami", ""))
	}

	// Said over AMQP. Each refusal takes three seconds (C-9).
	var all sync.WaitGroup
	dial := func(user, password, vhost string) {
		all.Go(func() {
			conn, err := amqp.Dial("amqp://" + user + ":" + password + "@" + s.address() + "/" + vhost)
			if err != nil {
				c.search(t, "error of a client", err.Error())
				return
			}
			defer conn.Close()
			c.search(t, "connections", ask("second", c["topology user"], "GET", "/api/connections", ""))
		})
	}
	wrong := c.sing("wrong login over AMQP")
	plain, table := c.sing("malformed PLAIN"), c.sing("malformed AMQPLAIN")
	dial("first", c["default user"], "")
	dial("first", c["default user"], "nowhere")
	dial("third", c["topology user without tags"], "")
	dial("first", wrong, "")
	dial("nobody", wrong, "")
	all.Go(func() { saySASL(t, s.address(), "PLAIN", "somebody\x00first\x00"+plain) })
	all.Go(func() { saySASL(t, s.address(), "AMQPLAIN", "\x05LOGINS\x00\x00\x00\x05first\x08PASSWORDF"+table) })
	all.Wait()

	// Said to verbs.
	for _, args := range [][]string{
		{"users", "add", "eighth", "--password", c.sing("verb"), "--data-dir", s.dir},
		{"users", "add", "eighth", "--password", c.sing("verb that is refused"), "--tags", "a", "--no-password", "--data-dir", s.dir},
		{"users", "list", "--json", "--data-dir", s.dir},
		{"definitions", "export", "-", "--data-dir", s.dir},
		{"config", "print", "--config", file},
		{"config", "print", "--config", write(t, "default_pass: ["+c.sing("list in a file")+"]\n")},
		{"config", "print", "--config", write(t, "default_pass: '"+c.sing("file that breaks off"))},
		{"config", "print", "--config", write(t, "topology: {users: [{name: a, password: "+c.sing("user that is twice")+"}, {name: a, password: b}]}\n")},
		{"validate", "--config", file},
		{"bench", "--uri", "amqp://first:" + c.sing("URL of a bench") + "@127.0.0.1:1/"},
	} {
		out, complaint, _ := runProgram(t, args...)
		c.search(t, "output of "+strings.Join(args[:2], " "), out+complaint)
	}
	for _, path := range []string{"/api/users", "/api/users/first", "/api/definitions", "/api/overview", "/api/nodes", "/api/permissions", "/api/whoami"} {
		admin("GET", path, "")
	}
	for _, path := range []string{"/metrics", "/metrics/per-object"} {
		a, err := http.Get(metrics + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || !bytes.Contains(b, []byte("rabbitmq_identity_info")) {
			t.Fatalf("got %d bytes of metrics, %v", len(b), err)
		}
		c.search(t, "metrics", string(b))
	}

	s.signal(syscall.SIGHUP)
	s.signal(syscall.SIGTERM)
	s.end()
	log := strings.Join(s.log, "\n")
	c.search(t, "log", log)
	// It was the log of all that.
	for _, want := range []string{"login to the API refused", "wrong password for user", "malformed SASL response", "changed through the API", "Leveret starts"} {
		if !strings.Contains(log, want) {
			t.Errorf("got no %q in the log", want)
		}
	}
}
