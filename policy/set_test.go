package policy

import (
	"reflect"
	"strings"
	"testing"
)

func set(t *testing.T, policies ...Policy) *Set {
	t.Helper()
	var s *Set
	for _, p := range policies {
		p, err := Check(p)
		if err != nil {
			t.Fatal(err)
		}
		if s, err = s.With(p); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func nameOf(p *Policy) string {
	if p == nil {
		return "-"
	}
	return p.Name
}

// POL-1, POL-2
func TestTheMatchingPolicyOfHighestPriorityApplies(t *testing.T) {
	d := define("max-length", int64(1))
	s := set(t,
		Policy{Name: "low", Pattern: "", Priority: -1, Definition: d},
		Policy{Name: "b", Pattern: "q", Definition: d, ApplyTo: Queues},
		Policy{Name: "a", Pattern: "q", Definition: d, ApplyTo: Queues},
		Policy{Name: "x", Pattern: "q", Definition: d, ApplyTo: Exchanges},
		Policy{Name: "high", Pattern: "^q1$", Priority: 9, Definition: d},
		Policy{Name: "quorum", Pattern: "^q2$", Priority: 9, Definition: d, ApplyTo: QuorumQueues},
		Policy{Name: "classic", Pattern: "^q3$", Priority: 9, Definition: d, ApplyTo: ClassicQueues},
		Policy{Name: "stream", Pattern: "", Priority: 99, Definition: d, ApplyTo: Streams},
	)
	f := func(name, exchange, classic, quorum string) {
		t.Helper()
		for k, want := range []string{exchange, classic, quorum} {
			if got := nameOf(s.Match(Kind(k), name)); got != want {
				t.Errorf("%q as kind %d: got %s, want %s", name, k, got, want)
			}
		}
	}
	f("other", "low", "low", "low")
	f("a queue", "x", "a", "a") // not anchored; the first by name of one priority
	f("q1", "high", "high", "high")
	f("q2", "x", "a", "quorum")
	f("q3", "x", "classic", "a")
	if got := nameOf((*Set)(nil).Match(Exchange, "x")); got != "-" {
		t.Errorf("without policies: got %s", got)
	}
}

// POL-1: patterns are RabbitMQ's. A name that takes too long to match has no policy, and
// the next one of the policies is asked.
func TestPatternsLookAround(t *testing.T) {
	d := define("max-length", int64(1))
	s := set(t,
		Policy{Name: "ours", Pattern: `^(?!amq\.).*`, Definition: d},
		Policy{Name: "hostile", Pattern: `^(?!x)(.*.*.*.*.*.*)*=$`, Priority: 9, Definition: d},
	)
	f := func(name, want string) {
		t.Helper()
		if got := nameOf(s.Match(ClassicQueue, name)); got != want {
			t.Errorf("%q: got %s, want %s", name, got, want)
		}
	}
	f("q", "ours")
	f("amq.gen-1", "-")
	f("q=", "hostile")
	f(strings.Repeat("a", 255), "ours")
}

// POL-7
func TestPolicyWithAKeyTheTypeCannotUsePassesItBy(t *testing.T) {
	f := func(p Policy, exchange, classic, quorum bool) {
		t.Helper()
		p.Name, p.Priority = "p", 1
		s := set(t, p, Policy{Name: "next", Definition: define("max-length", int64(1))})
		for k, applies := range []bool{exchange, classic, quorum} {
			want := "next"
			if applies {
				want = "p"
			}
			if got := nameOf(s.Match(Kind(k), "q")); got != want {
				t.Errorf("%v for %s on kind %d: got %s, want %s", p.Definition, p.ApplyTo, k, got, want)
			}
			if got := s.Concerns("p", Kind(k), "q"); got != applies {
				t.Errorf("%v concerns kind %d: got %v", p.Definition, k, got)
			}
		}
	}
	f(Policy{Definition: define("max-length", int64(1), "max-age", "1D")}, true, false, false)
	f(Policy{Definition: define("queue-mode", "lazy")}, true, true, false)
	f(Policy{Definition: define("ha-mode", "all", "message-ttl", int64(1))}, true, true, false)
	f(Policy{Definition: define("dead-letter-strategy", "at-most-once")}, true, false, true)
	f(Policy{Definition: define("delivery-limit", int64(2))}, true, false, true)
	f(Policy{Definition: define("delivery-limit", int64(2)), ApplyTo: ClassicQueues}, false, true, false)
	f(Policy{Definition: define("consumer-timeout", int64(2))}, true, true, true)
}

// POL-5
func TestOperatorPolicyMakesLimitsStricter(t *testing.T) {
	f := func(key string, user, operator, want any) {
		t.Helper()
		var r Rules
		if user != nil {
			r.User = set(t, Policy{Name: "u", Definition: define(key, user)})
		}
		if operator != nil {
			r.Operator = set(t, Policy{Name: "o", Definition: define(key, operator)})
		}
		a := r.Apply(QuorumQueue, "q")
		if got, _ := a.Definition.Get(key); got != want || len(a.Definition) != 1 {
			t.Errorf("%s %v and %v: got %v, want %v", key, user, operator, a.Definition, want)
		}
	}
	f("max-length", int64(3), int64(2), int64(2))
	f("max-length", int64(2), int32(3), int64(2))
	f("max-length", nil, int64(3), int64(3))
	f("message-ttl", int64(3), nil, int64(3))
	f("expires", int64(3), int64(7), int64(3))
	f("overflow", "drop-head", "reject-publish", "reject-publish")
	f("queue-version", int64(1), int64(2), int64(2))
	f("delivery-limit", int64(3), int64(2), int64(2))
	f("delivery-limit", int64(-1), int64(2), int64(2))
	f("delivery-limit", int64(2), int64(-1), int64(2))
	f("delivery-limit", int64(-1), int64(-2), int64(-2))
}

func TestKeysOfBothPoliciesCombine(t *testing.T) {
	r := Rules{
		User:     set(t, Policy{Name: "u", Definition: define("overflow", "reject-publish", "dead-letter-exchange", "d")}),
		Operator: set(t, Policy{Name: "o", Definition: define("max-length", int64(5))}),
	}
	a := r.Apply(ClassicQueue, "q")
	if want := define("dead-letter-exchange", "d", "max-length", int64(5), "overflow", "reject-publish"); !reflect.DeepEqual(a.Definition, want) {
		t.Errorf("got %v, want %v", a.Definition, want)
	}
	if !a.Same(r.Apply(ClassicQueue, "q2")) || a.Same(Applied{}) {
		t.Error("the same policies are not the same")
	}
	if a := (Rules{}).Apply(ClassicQueue, "q"); a.Policy != nil || a.Operator != nil || a.Definition != nil {
		t.Errorf("without policies: got %+v", a)
	}
}

func TestSetsDoNotChange(t *testing.T) {
	d := define("max-length", int64(1))
	one := set(t, Policy{Name: "b", Definition: d}, Policy{Name: "a", Pattern: "z", Priority: 5, Definition: d})
	two, err := one.With(Policy{Name: "b", Pattern: "changed", ApplyTo: All, Definition: d})
	if err != nil {
		t.Fatal(err)
	}
	names := func(s *Set) string {
		var all []string
		for _, p := range s.All() {
			all = append(all, p.Name+p.Pattern)
		}
		return strings.Join(all, " ")
	}
	if got := names(one) + "," + names(two) + "," + names(two.Without("a")) + "," + names(nil); got != "az b,az bchanged,bchanged," {
		t.Errorf("got %s", got)
	}
	if one.Find("a") != two.Find("a") || one.Find("b") == two.Find("b") || two.Find("c") != nil {
		t.Error("an unchanged policy is the same, and a changed one another")
	}
}
