package management_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"strings"
	"testing"
)

var rabbitMQ = flag.String("rabbitmq", "", "write down what the RabbitMQ at this URL answers")

// TestConversationIsThatWithRabbitMQ: the same requests get the same answers, except where
// the script says why not (API-2).
func TestConversationIsThatWithRabbitMQ(t *testing.T) {
	const name = "testdata/conversation.txt"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(strings.TrimSpace(string(text)), "\n\n")
	if *rabbitMQ != "" {
		record(t, name, blocks)
		return
	}
	_, c := newClient(t)
	for _, block := range blocks[1:] {
		request, recorded, ok := strings.Cut(block, "\n")
		want, ours, _ := strings.Cut(recorded, "\n= ")
		if ours != "" {
			want, _, _ = strings.Cut(ours, " # ")
		}
		if got := answer(c, request); !ok || !alike(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", request, got, want)
		}
	}
}

// answer is the status, the Location if there is one, and the body.
func answer(c *client, request string) string {
	f := strings.SplitN(request, " ", 3)
	body := ""
	if len(f) > 2 {
		body = f[2]
	}
	a, text := c.do(f[0], f[1], body)
	got := fmt.Sprint(a.StatusCode)
	if l := a.Header.Get("Location"); l != "" {
		got += " Location:" + l
	}
	return strings.TrimSpace(got + " " + text)
}

// alike tells whether two answers say the same: JSON whatever the order of its members.
func alike(got, want string) bool {
	g, gBody, _ := strings.Cut(got, " ")
	w, wBody, _ := strings.Cut(want, " ")
	var x, y any
	if json.Unmarshal([]byte(gBody), &x) != nil || json.Unmarshal([]byte(wBody), &y) != nil {
		return got == want
	}
	return g == w && reflect.DeepEqual(x, y)
}

// record writes down what a RabbitMQ answers, and keeps what is answered here instead.
func record(t *testing.T, name string, blocks []string) {
	u, err := url.Parse(*rabbitMQ)
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	c := &client{t, "http://" + u.Host + "/api", u.User.Username(), password}
	for i := range blocks[1:] {
		block := &blocks[i+1]
		request, recorded, _ := strings.Cut(*block, "\n")
		_, ours, differs := strings.Cut(recorded, "\n= ")
		*block = request + "\n" + answer(c, request)
		if differs {
			*block += "\n= " + ours
		}
	}
	if err := os.WriteFile(name, []byte(strings.Join(blocks, "\n\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
