package definitions

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

var versions = Versions{Compat: "3.10.8", Product: "RabbitMQ", Version: "3.10.8"}

// export returns the definitions of b as text.
func export(t testing.TB, b *broker.Broker) string {
	t.Helper()
	text, err := json.MarshalIndent(Export(b, versions), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// generic is JSON without order of lists, and without what our exports have and those of
// RabbitMQ 3.10 have not.
func generic(t *testing.T, text string) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	for key, v := range d {
		list, ok := v.([]any)
		if !ok {
			continue
		}
		for _, item := range list {
			if key == "vhosts" {
				for _, ours := range []string{"description", "tags", "metadata"} {
					delete(item.(map[string]any), ours)
				}
			}
		}
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return d
}

// TestRabbitMQsDefinitionsComeBackAsTheyWere: what RabbitMQ 3.10.8 exported is imported, and
// exported again as it exported it (DEF-1 to DEF-5).
func TestRabbitMQsDefinitionsComeBackAsTheyWere(t *testing.T) {
	text, err := os.ReadFile("testdata/rabbitmq-3.10.8.json")
	if err != nil {
		t.Fatal(err)
	}
	b := newBroker(t)
	if _, err := load(b, string(text)); err != nil {
		t.Fatal(err)
	}
	got, want := generic(t, export(t, b)), generic(t, string(text))
	for key := range want {
		if !reflect.DeepEqual(got[key], want[key]) {
			t.Errorf("%s: got\n%v\nwant\n%v", key, got[key], want[key])
		}
	}
	if err := b.CheckPassword("def-u", "secret", true); err != nil {
		t.Error(err)
	}
	if b.CheckPassword("def-n", "", true) == nil {
		t.Error("a user without a password has logged in")
	}
	// Once more it changes nothing.
	before := export(t, b)
	if _, err := load(b, before); err != nil {
		t.Fatal(err)
	}
	if after := export(t, b); after != before {
		t.Errorf("got other definitions after importing the same\n%s", after)
	}
}

// TestSeveralAreTakenTogether: a later one may need what an earlier one has, and when one cannot
// be declared, which the error names, none is (DEF-7, C45).
func TestSeveralAreTakenTogether(t *testing.T) {
	const (
		first  = `{"users":[{"name":"u","password":"x"}],"vhosts":[{"name":"v"}],"exchanges":[{"name":"x","vhost":"v","type":"direct"}]}`
		second = `{"permissions":[{"user":"u","vhost":"v","configure":"","write":"","read":""}],"queues":[{"name":"q","vhost":"v"}],
			"parameters":[{"vhost":"v","component":"vhost-limits","name":"limits","value":{"max-queues":1}}]}`
		third = `{"bindings":[{"source":"x","vhost":"v","destination":"q","destination_type":"queue","routing_key":"k"}]}`
		full  = `{"queues":[{"name":"too-many","vhost":"v"}]}`
	)
	all := func(b *broker.Broker, texts ...string) error {
		t.Helper()
		var parsed []Definitions
		for i, text := range texts {
			d, err := Parse([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			d.Origin = fmt.Sprint("file ", i+1)
			parsed = append(parsed, d)
		}
		var out queue.Effects
		defer b.Flush(now, &out)
		_, err := ImportAll(now, b, parsed, &out)
		return err
	}
	refused := func(want string, texts ...string) {
		t.Helper()
		b := newBroker(t)
		before := export(t, b)
		var e *Error
		if err := all(b, texts...); err == nil || !errors.As(err, &e) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if after := export(t, b); after != before {
			t.Errorf("got\n%s\nwant nothing declared", after)
		}
	}
	refused("file 1: permission of user 'u' in vhost 'v': there is no user 'u'", second, first)
	refused("file 2: binding from exchange 'x' to queue 'q'", first, third, second)
	refused("file 4: queue 'too-many' in vhost 'v': the virtual host may not have more than 1 queues", first, second, third, full)

	b := newBroker(t)
	for range 2 {
		if err := all(b, first, second, third); err != nil {
			t.Fatal(err)
		}
		if v := b.VHost("v"); len(v.Queues()) != 1 || len(v.Bindings()) != 1 || len(v.Settings().Limits) != 1 {
			t.Errorf("got %d queues, %d bindings and limits %v, want one of each", len(v.Queues()), len(v.Bindings()), v.Settings().Limits)
		}
	}
}

// TestSamePasswordKeepsItsHash, so that importing again changes nothing (DEF-4).
func TestSamePasswordKeepsItsHash(t *testing.T) {
	b := newBroker(t)
	hash := func(password string) string {
		t.Helper()
		if _, err := load(b, `{"users":[{"name":"u","password":"`+password+`"}]}`); err != nil {
			t.Fatal(err)
		}
		if err := b.CheckPassword("u", password, true); err != nil {
			t.Error(err)
		}
		u, _ := b.User("u")
		return u.PasswordHash
	}
	first := hash("one")
	if again := hash("one"); again != first {
		t.Errorf("got %s for the same password, want %s", again, first)
	}
	if other := hash("two"); other == first {
		t.Errorf("got %s for another password, too", other)
	}
}

// TestWhatIsOfTheNodeDoesNotTravel: the hash of what was imported at start (DEF-7).
func TestWhatIsOfTheNodeDoesNotTravel(t *testing.T) {
	b := newBroker(t)
	const text = `{"global_parameters":[{"name":"imported_definition_hash_value","value":"h"},{"name":"other","value":1}]}`
	if _, err := load(b, text); err != nil {
		t.Fatal(err)
	}
	if value, ok := b.GlobalParameter(broker.DefinitionsHash); ok {
		t.Errorf("got %s imported", value)
	}
	if _, err := b.SetGlobalParameter(topology.GlobalParameter{Name: broker.DefinitionsHash, Value: `"h"`}); err != nil {
		t.Fatal(err)
	}
	if got := export(t, b); strings.Contains(got, broker.DefinitionsHash) || !strings.Contains(got, `"other"`) {
		t.Errorf("got\n%s", got)
	}
}

func TestOrderOfAnExportIsThatOfNames(t *testing.T) {
	one, other := newBroker(t), newBroker(t)
	queues := func(names ...string) string {
		var items, bindings []string
		for _, n := range names {
			items = append(items, fmt.Sprintf(`{"name":%q,"vhost":"/","durable":true,"auto_delete":false,"arguments":{}}`, n))
			bindings = append(bindings, fmt.Sprintf(`{"source":"amq.direct","vhost":"/","destination":%q,"destination_type":"queue","routing_key":"k","arguments":{}}`, n))
		}
		return `{"queues":[` + strings.Join(items, ",") + `],"bindings":[` + strings.Join(bindings, ",") + `]}`
	}
	for b, text := range map[*broker.Broker]string{one: queues("a", "b", "c"), other: queues("c", "a", "b")} {
		if _, err := load(b, text); err != nil {
			t.Fatal(err)
		}
	}
	text := func(b *broker.Broker) string {
		d := Export(b, versions)
		d.Users = nil // salts differ
		j, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return string(j)
	}
	if text(one) != text(other) {
		t.Errorf("got\n%s\nand\n%s", text(one), text(other))
	}
}

// TestWhatCannotBeDeclaredLeavesEverythingAsItWas and the error says what it is (C45).
func TestWhatCannotBeDeclaredLeavesEverythingAsItWas(t *testing.T) {
	const good = `"users":[{"name":"good","password":"x","tags":"management"}],"vhosts":[{"name":"good"}],` +
		`"exchanges":[{"name":"x","vhost":"good","type":"direct","durable":true,"auto_delete":false,"internal":false,"arguments":{}}]`
	f := func(rest, want string) {
		t.Helper()
		b := newBroker(t)
		before := export(t, b)
		_, err := load(b, "{"+good+","+rest+"}")
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
		if after := export(t, b); after != before {
			t.Errorf("after %v got\n%s\nwant\n%s", err, after, before)
		}
	}
	const local = `"exchanges":[{"name":"x","vhost":"good","type":"x-local-random"}],"bindings":[{"source":"x","vhost":"good","destination":"q","destination_type":"queue","routing_key":""}]`
	f(local+`,"queues":[{"name":"q","vhost":"good","durable":true,"type":"quorum"}]`, "Queue type rabbit_quorum_queue not valid") // EX-52
	f(local+`,"queues":[{"name":"q","vhost":"good","durable":true}],"vhosts":[{"name":"good","default_queue_type":"quorum"}]`, "Queue type rabbit_quorum_queue not valid")
	f(`"queues":[{"name":"q","vhost":"none"}]`, "queue 'q' in vhost 'none': there is no vhost 'none'")
	f(`"queues":[{"name":"","vhost":"/"}]`, "queue '' in vhost '/': it has no name")
	f(`"queues":[{"name":"`+strings.Repeat("q", 256)+`","vhost":"/"}]`, "longer than 255")
	f(`"queues":[{"name":"q","vhost":"/","arguments":{"x-max-length":"5"}}]`, "queue 'q' in vhost '/': invalid arg 'x-max-length'")
	f(`"queues":[{"name":"q","vhost":"/","arguments":{"x-dead-letter-exchange":5}}]`, "queue 'q' in vhost '/': invalid type 'long' for arg 'x-dead-letter-exchange'")
	f(`"queues":[{"name":"q","vhost":"/","durable":true,"type":"stream"}]`, "queue 'q' in vhost '/'")
	f(`"queues":[{"name":"q","vhost":"/","arguments":{"a":null}}]`, "null is no value")
	f(`"queues":[{"name":"q","vhost":"/","arguments":{"a":9223372036854775808}}]`, "out of range")
	f(`"queues":[{"name":"q","vhost":"/","arguments":{"a":`+strings.Repeat("[", 50)+strings.Repeat("]", 50)+`}}]`, "nested deeper")
	f(`"queues":[{"name":"q","vhost":"/","arguments":{"a":"`+strings.Repeat("x", 130<<10)+`"}}]`, "octets")
	f(`"queues":[{"name":5}]`, "queues.name: number")
	f(`"exchanges":[{"name":"y","vhost":"good","type":"nothing"}]`, "exchange 'y' in vhost 'good': unknown exchange type 'nothing'")
	f(`"exchanges":[{"name":"amq.y","vhost":"good","type":"topic"}]`, "exchange 'amq.y' in vhost 'good': exchange name 'amq.y' contains reserved prefix")
	f(`"bindings":[{"source":"x","vhost":"good","destination":"q","destination_type":"queue","routing_key":"k"}]`, "to queue 'q' with key 'k' in vhost 'good': there is no queue 'q'")
	f(`"bindings":[{"source":"none","vhost":"good","destination":"x","destination_type":"exchange","routing_key":""}]`, "there is no exchange 'none'")
	f(`"bindings":[{"source":"x","vhost":"good","destination":"x","destination_type":"topic","routing_key":""}]`, "destination_type")
	f(`"bindings":[{"source":"amq.headers","vhost":"good","destination":"amq.fanout","destination_type":"exchange","routing_key":"","arguments":{"x-match":"none"}}]`, "x-match")
	f(`"policies":[{"vhost":"good","name":"p","pattern":"(","apply-to":"all","definition":{"max-length":5}}]`, "policy 'p' in vhost 'good': Validation failed")
	f(`"policies":[{"vhost":"good","name":"p","pattern":"","definition":{"nothing":5}}]`, "are not recognised policy settings")
	f(`"parameters":[{"component":"shovel","vhost":"good","name":"s","value":{}}]`, "parameter of shovel 's' in vhost 'good': component shovel not found")
	f(`"parameters":[{"component":"operator_policy","vhost":"good","name":"s","value":{"pattern":"","definition":{"alternate-exchange":"x"}}}]`, "parameter of operator_policy 's'")
	f(`"parameters":[{"component":"vhost-limits","vhost":"good","name":"limits","value":{"max":1}}]`, `there is no limit "max"`)
	f(`"parameters":[{"component":"vhost-limits","vhost":"good","name":"limits","value":{"max-queues":1}}],"queues":[{"name":"a","vhost":"good"},{"name":"b","vhost":"good"}]`,
		"queue 'b' in vhost 'good': the virtual host may not have more than 1 queues")
	f(`"permissions":[{"user":"nobody","vhost":"/","configure":"","write":"","read":""}]`, "permission of user 'nobody' in vhost '/': there is no user 'nobody'")
	f(`"permissions":[{"user":"good","vhost":"/","configure":"(","write":"","read":""}]`, `configure permission of user "good" on vhost "/": missing closing )`)
	f(`"topic_permissions":[{"user":"good","vhost":"/","exchange":"e","write":"[","read":""}]`, "topic permission of user 'good' for exchange 'e' in vhost '/'")
	f(`"users":[{"name":"bad","password_hash":"x"}]`, "user 'bad': password hash")
	f(`"users":[{"name":"bad","limits":{"max":1}}]`, `user 'bad': there is no limit "max"`)
	f(`"vhosts":[{"name":"bad","default_queue_type":"fast"}]`, "vhost 'bad': Unsupported default queue type: fast")

	b := newBroker(t)
	for _, text := range []string{"", "[]", "{", `{"queues":5}`, "\xff"} {
		if _, err := load(b, text); err == nil {
			t.Errorf("%q was imported", text)
		}
	}
}

// TestWhatIsThereStaysAsItIs: queues and exchanges that are there are not changed, whatever
// the file says of them; users and policies are (DEF-4).
func TestWhatIsThereStaysAsItIs(t *testing.T) {
	b := newBroker(t)
	first := `{"vhosts":[{"name":"v","description":"mine","metadata":{"tags":["a"]}}],` +
		`"queues":[{"name":"q","vhost":"v","durable":true,"arguments":{"x-max-length":1}}],` +
		`"exchanges":[{"name":"x","vhost":"v","type":"direct","durable":true}],` +
		`"policies":[{"vhost":"v","name":"p","pattern":"a","definition":{"max-length":1}}],` +
		`"users":[{"name":"u","password":"x","tags":["management"],"limits":{"max-channels":5}}]}`
	second := `{"vhosts":[{"name":"v"}],` +
		`"queues":[{"name":"q","vhost":"v","durable":false,"arguments":{"x-max-length":"nonsense"}},{"name":"amq.gen-old","vhost":"v"}],` +
		`"exchanges":[{"name":"x","vhost":"v","type":"fanout"}],` +
		`"policies":[{"vhost":"v","name":"p","pattern":"b","definition":{"max-length":2}}],` +
		`"users":[{"name":"u","password":"y","tags":""}]}`
	for _, text := range []string{first, second} {
		if _, err := load(b, text); err != nil {
			t.Fatal(err)
		}
	}
	v := b.VHost("v")
	if s := v.Settings(); s.Description != "mine" || !slices.Equal(s.Tags, []string{"a"}) {
		t.Errorf("got %+v, want what the first file said", s)
	}
	q, _, err := v.Queue(nil, "q")
	if err != nil || !q.Spec().Durable || q.Options().MaxLength != 1 {
		t.Errorf("got %+v, %v", q.Spec(), err)
	}
	if _, _, err := v.Queue(nil, "amq.gen-old"); err != nil {
		t.Error(err)
	}
	if x, _, err := v.Exchange("x"); err != nil || x.Spec().Type != "direct" {
		t.Errorf("got %+v, %v", x.Spec(), err)
	}
	if p := v.Policies(); len(p) != 1 || p[0].Pattern != "b" {
		t.Errorf("got %+v", p)
	}
	u, _ := b.User("u")
	if b.CheckPassword("u", "y", true) != nil || len(u.Tags) != 0 || len(u.Limits) != 1 {
		t.Errorf("got %+v, want another password, no tags and the limits it had", u)
	}
}

// TestDefinitionsOfOneVirtualHostGoIntoAnother (DEF-6).
func TestDefinitionsOfOneVirtualHostGoIntoAnother(t *testing.T) {
	b := newBroker(t)
	if _, err := load(b, `{"vhosts":[{"name":"from"},{"name":"to"}],"queues":[{"name":"q","vhost":"from","durable":true}],`+
		`"parameters":[{"component":"vhost-limits","vhost":"from","name":"limits","value":{"max-queues":3}}],`+
		`"bindings":[{"source":"amq.topic","vhost":"from","destination":"q","destination_type":"queue","routing_key":"k"}]}`); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(ExportVHost(b.VHost("from"), versions))
	if err != nil {
		t.Fatal(err)
	}
	for _, unwanted := range []string{"users", "permissions", `"vhost"`, `"vhosts"`} {
		if strings.Contains(string(text), unwanted) {
			t.Errorf("got %s in %s", unwanted, text)
		}
	}
	d, err := Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var out queue.Effects
	if _, err := ImportVHost(now, b.VHost("to"), b, d, &out); err != nil {
		t.Fatal(err)
	}
	to := b.VHost("to")
	if limit, reached := to.Settings().Limits.Reached(auth.MaxQueues, 3); !reached || limit != 3 || len(to.Queues()) != 1 || len(to.Bindings()) != 1 {
		t.Errorf("got %+v, %d queues, %d bindings", to.Settings(), len(to.Queues()), len(to.Bindings()))
	}
}

// TestDefinitionsOfOneVirtualHostStayInIt: whatever virtual host their elements name, and
// nothing is taken that is not in one (DEF-6).
func TestDefinitionsOfOneVirtualHostStayInIt(t *testing.T) {
	b := newBroker(t)
	if _, err := load(b, `{"vhosts":[{"name":"here"},{"name":"there"}],"users":[{"name":"u","password":"u"}]}`); err != nil {
		t.Fatal(err)
	}
	before, users := len(b.Permissions()), len(b.Users())
	d, err := Parse([]byte(`{
		"vhosts":[{"name":"new"}],"users":[{"name":"new","password":"x"},{"name":"u","password":"other"}],
		"permissions":[{"user":"u","vhost":"there","configure":".*","write":".*","read":".*"},{"user":"u","vhost":"here","configure":".*","write":".*","read":".*"}],
		"topic_permissions":[{"user":"u","vhost":"here","exchange":"x","write":"a","read":"a"}],
		"global_parameters":[{"name":"cluster_name","value":"new"}],
		"parameters":[{"component":"operator_policy","vhost":"there","name":"o","value":{"pattern":"","definition":{"max-length":5}}},
			{"component":"vhost-limits","vhost":"there","name":"limits","value":{"max-queues":3}}],
		"policies":[{"vhost":"there","name":"p","pattern":"","definition":{"max-length":7}}],
		"queues":[{"name":"q","vhost":"there"}],"exchanges":[{"name":"x","vhost":"there","type":"fanout"}],
		"bindings":[{"source":"x","vhost":"there","destination":"q","destination_type":"queue","routing_key":""}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var out queue.Effects
	if _, err := ImportVHost(now, b.VHost("here"), b, d, &out); err != nil {
		t.Fatal(err)
	}
	here, there := b.VHost("here"), b.VHost("there")
	if len(here.Queues()) != 1 || len(here.Exchanges()) != 8 || len(here.Bindings()) != 1 || len(here.Policies()) != 1 || len(here.OperatorPolicies()) != 1 || len(here.Settings().Limits) != 1 {
		t.Errorf("got %d queues, %d exchanges, %d bindings, policies %v and %v and limits %v in it", len(here.Queues()), len(here.Exchanges()),
			len(here.Bindings()), here.Policies(), here.OperatorPolicies(), here.Settings().Limits)
	}
	if here.Queues()[0].Options().MaxLength != 5 {
		t.Error("its policies do not apply to its queue")
	}
	if len(there.Queues()) != 0 || len(there.Exchanges()) != 7 || len(there.Policies()) != 0 || len(there.OperatorPolicies()) != 0 || len(there.Settings().Limits) != 0 {
		t.Errorf("got %d queues, %d exchanges, policies %v and %v and limits %v in another", len(there.Queues()), len(there.Exchanges()),
			there.Policies(), there.OperatorPolicies(), there.Settings().Limits)
	}
	if b.VHost("new") != nil || len(b.Users()) != users || len(b.Permissions()) != before || len(b.TopicPermissions()) != 0 || b.CheckPassword("u", "u", true) != nil {
		t.Errorf("users, permissions or virtual hosts were taken: %v, %v, %v", b.Users(), b.Permissions(), b.TopicPermissions())
	}
}

// TestExclusiveQueuesAreNotExported, nor what is bound to them (DEF-3).
func TestExclusiveQueuesAreNotExported(t *testing.T) {
	b := newBroker(t)
	var out queue.Effects
	v := b.VHost("/")
	if _, _, err := v.DeclareQueue(now, "owner", queue.Spec{Name: "mine", Exclusive: true}, nil, &out); err != nil {
		t.Fatal(err)
	}
	made, err := Binding{Source: "amq.direct", Destination: "mine", DestinationType: "queue"}.Binding()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Bind("owner", made, nil); err != nil {
		t.Fatal(err)
	}
	if d := Export(b, versions); len(d.Queues)+len(d.Bindings)+len(d.Exchanges) != 0 {
		t.Errorf("got %+v", d)
	}
}

func TestArgumentsInJSON(t *testing.T) { // DEF-5
	f := func(in string, want amqp.Table, out string) {
		t.Helper()
		var a Arguments
		if err := json.Unmarshal([]byte(in), &a); err != nil {
			t.Errorf("%s: %v", in, err)
			return
		}
		if !amqp.Table(a).Equal(want) {
			t.Errorf("%s: got %v, want %v", in, a, want)
		}
		b, err := json.Marshal(a)
		if err != nil || string(b) != out {
			t.Errorf("%s: got %s, %v back", in, b, err)
		}
	}
	f(`{}`, amqp.Table{}, `{}`)
	f(`[]`, nil, `{}`)
	f(`{"b":1,"a":-2}`, amqp.Table{{Name: "a", Value: int64(-2)}, {Name: "b", Value: int64(1)}}, `{"a":-2,"b":1}`)
	f(`{"a":1.0,"b":2.5,"c":1e3}`, amqp.Table{{Name: "a", Value: 1.0}, {Name: "b", Value: 2.5}, {Name: "c", Value: 1000.0}}, `{"a":1.0,"b":2.5,"c":1000.0}`)
	f(`{"a":9007199254740993}`, amqp.Table{{Name: "a", Value: int64(9007199254740993)}}, `{"a":9007199254740993}`)
	f(`{"a":[true,"x",{"y":[]}]}`, amqp.Table{{Name: "a", Value: amqp.Array{true, "x", amqp.Table{{Name: "y", Value: amqp.Array{}}}}}}, `{"a":[true,"x",{"y":[]}]}`)
	of := func(v any, want string) {
		t.Helper()
		if b, err := json.Marshal(Arguments{{Name: "a", Value: v}}); err != nil || string(b) != `{"a":`+want+`}` {
			t.Errorf("got %s, %v for %v, want %s", b, err, v, want)
		}
	}
	of(int8(-1), "-1")
	of(uint8(200), "200")
	of([]byte("octets"), `"octets"`)
	of(amqp.Timestamp(1234567890), "1234567890")
	of(amqp.Decimal{Scale: 2, Value: 314}, "3.14")
	of(float32(0.5), "0.5")
	of(nil, "null")
	of(amqp.Table{{Name: "b", Value: nil}}, `{"b":null}`)
}
