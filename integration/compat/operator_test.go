package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"time"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/brokertest"
)

// operator is someone who is in charge of a broker: the HTTP API, and its alarms.
type operator struct {
	api   string // of which /api is below
	alarm func(which string, on bool) error
}

// leveretOperator raises alarms as the watch of a full disk would.
func leveretOperator(s *brokertest.Server) operator {
	return operator{s.ManagementURL(), func(which string, on bool) error {
		alarms := map[string]broker.Alarm{"memory": broker.MemoryAlarm, "disk": broker.DiskAlarm}
		if _, ok := alarms[which]; !ok {
			return fmt.Errorf("no alarm %s", which)
		}
		s.SetAlarm(alarms[which], on)
		return nil
	}}
}

// rabbitOperator has a RabbitMQ believe that it has hardly any memory, or that it needs more
// disk than there is, with ctl, which is rabbitmqctl or a program that calls it.
func rabbitOperator(api, ctl string) operator {
	return operator{api, func(which string, on bool) error {
		var args []string
		switch fmt.Sprint(which, " ", on) {
		case "memory true":
			args = []string{"set_vm_memory_high_watermark", "absolute", "1000"}
		case "memory false":
			args = []string{"set_vm_memory_high_watermark", "absolute", "4GB"}
		case "disk true":
			args = []string{"set_disk_free_limit", "1000000GB"}
		case "disk false":
			args = []string{"set_disk_free_limit", "1MB"}
		default:
			return fmt.Errorf("no alarm %s", which)
		}
		out, err := exec.Command(ctl, args...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%s %s: %w\n%s", ctl, args, err, out)
		}
		return nil
	}}
}

// volatile are fields of the API's answers that are not the same, and those that only one of
// the two has.
var volatile = regexp.MustCompile(`^(cluster_state|description|metadata|tags|default_queue_type|user_who_performed_action|messages.*|protected_from_deletion|recv_oct.*|send_oct.*|message_stats|password_hash)$`)

// ask calls the HTTP API and returns what it answered, as a client would hear it.
func (o operator) ask(method, path, body string) (string, error) {
	if o.api == "" {
		return "", fmt.Errorf("%s %s: the HTTP API of this broker is not known", method, path)
	}
	r, err := http.NewRequest(method, o.api+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	r.SetBasicAuth("guest", "guest")
	r.Header.Set("Content-Type", "application/json")
	client := http.Client{Timeout: patience}
	answer, err := client.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return "", err
	}
	text := fmt.Sprintf("%s %s: %d", method, path, answer.StatusCode)
	var v any
	if json.Unmarshal(b, &v) == nil {
		var out bytes.Buffer
		e := json.NewEncoder(&out) // which sorts
		e.SetEscapeHTML(false)
		if err := e.Encode(withoutVolatile(v)); err != nil {
			return "", err
		}
		text += " " + strings.TrimSpace(out.String())
	}
	return text, nil
}

func withoutVolatile(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name := range v {
			if volatile.MatchString(name) {
				delete(v, name)
				continue
			}
			v[name] = withoutVolatile(v[name])
		}
	case []any:
		for i := range v {
			v[i] = withoutVolatile(v[i])
		}
	}
	return v
}

// runOperator does a line that begins with api or alarm.
func (s *side) runOperator(w []string) error {
	switch {
	case w[0] == "api" && len(w) >= 3:
		body := ""
		if len(w) > 3 {
			body = w[3]
		}
		text, err := s.operator.ask(w[1], w[2], body)
		if err == nil {
			s.note(heard{conn: "api", text: text})
		}
		return err
	case w[0] == "alarm" && len(w) == 3:
		err := s.operator.alarm(w[1], w[2] == "on")
		if w[2] == "on" {
			s.alarms++
		} else {
			s.alarms--
		}
		// Whoever is concerned hears of it a moment later.
		s.until(300*time.Millisecond, func() bool { return false })
		return err
	}
	return fmt.Errorf("not understood: %q", w)
}

// made are the paths of what a conversation makes through the API, the last first.
func made(conv conversation) (paths []string) {
	for _, st := range conv.steps {
		for _, line := range st.lines {
			if w := words(line); w[0] == "api" && w[1] == "PUT" && !strings.Contains(w[2], "cluster-name") {
				paths = append([]string{w[2]}, paths...)
			}
		}
	}
	return paths
}

// alarmed are the alarms that a conversation raises.
func alarmed(conv conversation) (alarms []string) {
	for _, st := range conv.steps {
		for _, line := range st.lines {
			if w := words(line); w[0] == "alarm" && w[2] == "on" {
				alarms = append(alarms, w[1])
			}
		}
	}
	return alarms
}
