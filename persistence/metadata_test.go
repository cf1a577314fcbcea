package persistence

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

func someArguments() amqp.Table {
	return amqp.Table{
		{Name: "x-max-length", Value: int32(10)},
		{Name: "x-dead-letter-exchange", Value: "dlx"},
		{Name: "nested", Value: amqp.Table{{Name: "a", Value: amqp.Array{true, int64(-1), nil, 1.5}}}},
		{Name: "x-max-length", Value: "twice"},
	}
}

func everything() []topology.Record {
	return []topology.Record{
		topology.VHost{Name: "/"},
		topology.VHost{Name: ""},
		topology.VHost{Name: "v", Description: "a house", Tags: []string{"a", "b"}, DefaultQueueType: "quorum",
			Tracing: true, Protected: true, Limits: auth.Limits{{Name: "max-connections", Value: -1}, {Name: "max-queues", Value: 1 << 40}}},
		topology.User{User: auth.User{Name: "limited", Limits: auth.Limits{{Name: "max-channels", Value: 0}}}},
		topology.TopicPermission{TopicPermission: auth.TopicPermission{User: "guest", VHost: "/", Exchange: "amq.topic", Write: "^{username}", Read: ""}},
		topology.Policy{Policy: policy.Policy{VHost: "/", Name: "p", Pattern: "^a", ApplyTo: policy.Queues, Priority: -3, Definition: someArguments()}},
		topology.Policy{Policy: policy.Policy{VHost: "/", Name: "p", ApplyTo: policy.All}, Operator: true},
		topology.GlobalParameter{Name: "p", Value: `{"a":[1,null]}`},
		topology.User{User: auth.User{Name: "guest", PasswordHash: "aGFzaA==", Algorithm: "sha", Tags: []string{"administrator", ""}}},
		topology.Permission{Permission: auth.Permission{User: "guest", VHost: "/", Configure: ".*", Write: "", Read: "^a"}},
		topology.Exchange{ID: 3, Spec: exchange.Spec{VHost: "/", Name: "x", Type: "topic", Durable: true, Internal: true, Arguments: someArguments()}},
		topology.Queue{ID: 1 << 40, Spec: queue.Spec{VHost: "/", Name: "q", Durable: true, AutoDelete: true, Arguments: someArguments()}},
		topology.Queue{ID: 5, Spec: queue.Spec{VHost: "/", Name: "plain", Durable: true, By: "guest"}},
		topology.Binding{VHost: "/", SourceID: 3, DestinationID: 5, Binding: binding.Binding{
			Source: "x", Destination: "plain", Kind: binding.Queue, RoutingKey: "a.*", Arguments: someArguments(), By: "guest"}},
	}
}

func TestDeclarationComesBackAsDeclared(t *testing.T) {
	for _, r := range everything() {
		b := appendMetadata(nil, r)
		b = appendTag(b, 77, "a tag from the future")
		got, err := decodeMetadata(appendMetadataKey(nil, r)[1], b)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("got %+v, %v, want %+v", got, err, r)
		}
	}
}

func TestKeysOfDifferentThingsDiffer(t *testing.T) {
	seen := make(map[string]topology.Record)
	records := append(everything(),
		topology.Permission{Permission: auth.Permission{User: "gues", VHost: "t/"}},
		topology.Binding{SourceID: 3, DestinationID: 5, Binding: binding.Binding{Source: "x", Destination: "plain", RoutingKey: "b"}},
		topology.Binding{SourceID: 3, DestinationID: 6, Binding: binding.Binding{Source: "x", Destination: "plain", RoutingKey: "b"}},
	)
	for _, r := range records {
		key := string(appendMetadataKey(nil, r))
		if other, there := seen[key]; there {
			t.Errorf("%+v and %+v have one key", r, other)
		}
		seen[key] = r
	}
}

func TestCatalogIsThereAfterReopening(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	write(t, s, topology.Unit{Puts: everything()})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	c := s.Catalog()
	var got []topology.Record
	for _, v := range c.VHosts {
		got = append(got, v)
	}
	for _, v := range c.Users {
		got = append(got, v)
	}
	for _, v := range c.Permissions {
		got = append(got, v)
	}
	for _, v := range c.TopicPermissions {
		got = append(got, v)
	}
	for _, v := range c.Policies {
		got = append(got, v)
	}
	for _, v := range c.GlobalParameters {
		got = append(got, v)
	}
	for _, v := range c.Exchanges {
		got = append(got, v)
	}
	for _, v := range c.Queues {
		got = append(got, v)
	}
	for _, v := range c.Bindings {
		got = append(got, v)
	}
	want := everything()
	if len(got) != len(want) {
		t.Fatalf("got %d records, want %d: %+v", len(got), len(want), got)
	}
	for _, w := range want {
		found := false
		for _, g := range got {
			found = found || reflect.DeepEqual(g, w)
		}
		if !found {
			t.Errorf("%+v is missing", w)
		}
	}
}

// S-15: nothing but batch records reaches the value log, so a long record is in parts.
func TestLongDeclarationIsKeptInPartsThatGoWithIt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	long := func(n int) topology.Queue {
		return topology.Queue{ID: 9, Spec: queue.Spec{VHost: "/", Name: "q", Durable: true,
			Arguments: amqp.Table{{Name: "x-note", Value: strings.Repeat("n", n)}}}}
	}
	parts := func(s *Store) int { return len(keys(t, s, keyMetadata)) }
	for _, c := range []struct{ length, parts int }{{20_000, 6}, {100, 1}, {9000, 3}} {
		write(t, s, topology.Unit{Puts: []topology.Record{long(c.length)}})
		if got := parts(s); got != c.parts {
			t.Errorf("%d bytes: got %d parts, want %d", c.length, got, c.parts)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	if got := s.Catalog().Queues; len(got) != 1 || !reflect.DeepEqual(got[0], long(9000)) {
		t.Errorf("got %d queues, or another one", len(got))
	}
	s.Start()
	write(t, s, topology.Unit{Deletes: []topology.Record{topology.Queue{ID: 9}}})
	if got := parts(s); got != 0 {
		t.Errorf("after the delete: got %d parts, want none", got)
	}
}

// S-5: a binding whose ids are not those of the things it names is garbage.
func TestBindingOfAPredecessorIsDropped(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start()
	bind := func(source, destination uint64, key string) topology.Binding {
		return topology.Binding{VHost: "/", SourceID: source, DestinationID: destination,
			Binding: binding.Binding{Source: "x", Destination: "q", RoutingKey: key}}
	}
	write(t, s, topology.Unit{Puts: []topology.Record{
		topology.Exchange{ID: 10, Spec: exchange.Spec{VHost: "/", Name: "x", Type: "direct", Durable: true}},
		topology.Queue{ID: 11, Spec: queue.Spec{VHost: "/", Name: "q", Durable: true}},
		topology.Exchange{ID: 12, Spec: exchange.Spec{VHost: "/", Name: "other", Type: "direct", Durable: true}},
		bind(10, 11, "good"), bind(3, 11, "old source"), bind(10, 4, "old queue"), bind(12, 11, "wrong name"),
	}})
	crashed := copyDir(t, dir)
	s = open(t, crashed)
	var found []string
	for _, b := range s.Catalog().Bindings {
		found = append(found, b.Binding.RoutingKey)
	}
	equal(t, "bindings", found, []string{"good"})
	s.Start()
	write(t, s, topology.Unit{Puts: []topology.Record{topology.VHost{Name: "/"}}})
	n := 0
	for _, k := range keys(t, s, keyMetadata) {
		if k[1] == kindBinding {
			n++
		}
	}
	if n != 1 {
		t.Errorf("got %d bindings on disk, want the garbage gone", n)
	}
}

func FuzzMetadata(f *testing.F) {
	for _, r := range everything() {
		f.Add(appendMetadataKey(nil, r)[1], appendMetadata(nil, r))
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		r, err := decodeMetadata(kind, b)
		if err != nil {
			return
		}
		again, err := decodeMetadata(kind, appendMetadata(nil, r))
		if err != nil {
			t.Fatalf("a record that was read cannot be read again: %v", err)
		}
		if !bytes.Equal(appendMetadata(nil, again), appendMetadata(nil, r)) {
			t.Fatalf("%+v became %+v", r, again)
		}
	})
}
