package pattern

import (
	"strings"
	"testing"
	"time"
)

// POL-1, PERM-1: patterns are RabbitMQ's, and not anchored.
func TestPatternsOfPCREFindNames(t *testing.T) {
	f := func(text, name string, want bool) {
		t.Helper()
		p, err := Compile(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			return
		}
		if got := p.Matches(name); got != want {
			t.Errorf("%s and %s: got %v, want %v", text, name, got, want)
		}
	}
	f(`q1`, "pq1x", true)
	f(`^q1$`, "pq1", false)
	f(`^orders\.`, "orders.created", true)
	f(`^(?!amq\.).*`, "orders", true)
	f(`^(?!amq\.).*`, "amq.gen-1", false)
	f(`^(?!amq\.).*`, "amq", true)
	f(`^(?!(amq\.|tmp-)).+`, "tmp-1", false)
	f(`.*(?<!\.dlq)$`, "orders.dlq", false)
	f(`.*(?<!\.dlq)$`, "orders", true)
	f(`(?<=^eu\.)orders`, "eu.orders", true)
	f(`(?<=^eu\.)orders`, "us.orders", false)
	f(`^(\w+)\.\1$`, "a1.a1", true)
	f(`^(\w+)\.\1$`, "a1.a2", false)
	f(`^(?>a+)b`, "aaab", true)
	f(`^a++ab`, "aaab", false)
	f(`^(?=.*eu)(?=.*orders)`, "orders.eu", true)
	f(`^(?i)(?!AMQ)`, "amq.x", false)
	f(`^(?!x)\w+$`, "é", false) // letters are ASCII's, as in PCRE
	f(`^(?!x)\Qa.b\h\E$`, `a.b\h`, true)
	f(`^(?!x)[[:alpha:]]+$`, "abc", true)
	f(`(?#all)^(?P<n>a)`, "abc", true)
	f(`^(?!ü).*`, "über", false)
}

func TestWhatIsNoPatternIsRefused(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		_, err := Compile(text)
		if err == nil || err.Error() != want {
			t.Errorf("%.20s: got %v, want %s", text, err, want)
		}
	}
	f(`(`, "missing closing ): (")
	f(`a**`, "invalid nested repetition operator: **")
	f(`(?!a`, "invalid or unsupported Perl syntax: (?!")
	f(`(?R)`, "invalid or unsupported Perl syntax: (?R")
	f(`^(?!amq)\h`, `invalid escape sequence: \h`)
	f(`\K`, `invalid escape sequence: \K`)
	f(`(?!a)\Qb\E\E`, `invalid escape sequence: \E`)
	f("a{2000}", "invalid repeat count: {2000}")
	f("\xff", "invalid UTF-8: \xff")
	f("(?!"+strings.Repeat("a", longest), "invalid or unsupported Perl syntax: (?!, in a pattern of more than 4096 octets")
	f(strings.Repeat("(", 5000)+strings.Repeat(")", 5000), "expression nests too deeply: "+strings.Repeat("(", 5000)+strings.Repeat(")", 5000))
}

// A pattern that a name can keep busy for ever: three of them cost no more than their time.
func TestNameThatTakesTooLongDoesNotMatch(t *testing.T) {
	p, err := Compile(`^(?!x)(.*.*.*.*.*.*)*=$`)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Matches("orders=") {
		t.Error("got no match of a name that is quickly found")
	}
	began := time.Now()
	for range 3 {
		if p.Matches(strings.Repeat("a", 255)) {
			t.Error("got a match of a name that takes too long")
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("three names took %v", took)
	}
	if !p.Matches("orders=") {
		t.Error("got no match after three that took too long")
	}
}

// What was late too often is not tried, and is tried again when enough names have come.
func TestPatternThatIsOftenLateIsNotTried(t *testing.T) {
	p, err := Compile(`^(?!x)(.*.*.*.*.*.*)*=$`)
	if err != nil {
		t.Fatal(err)
	}
	p.back.MatchTimeout = 1 // the engine waits for its clock's next tick all the same
	late, began := strings.Repeat("a", 255), time.Now()
	for p.owed.Load() <= lateMost-latePrice {
		p.Matches(late)
	}
	tried := time.Since(began)
	began = time.Now()
	for range latePrice - 100 {
		if p.Matches("orders=") {
			t.Fatal("got a match while the pattern owes time")
		}
	}
	if took := time.Since(began); took > tried {
		t.Errorf("what was not tried took %v, what was tried %v", took, tried)
	}
	for range 100 {
		p.Matches("orders=")
	}
	if !p.Matches("orders=") {
		t.Error("got no match after enough names have come")
	}
}

// The answer to nested repetitions of one letter is known before all ways to it are tried.
func TestStackOfTheEngineIsBounded(t *testing.T) {
	p, err := Compile(`^(?!x)((a|b)*c)*$`)
	if err != nil {
		t.Fatal(err)
	}
	if p.Matches(strings.Repeat("ab", 200_000)) {
		t.Error("got a match of what does not match")
	}
	if !p.Matches("abc") {
		t.Error("got no match of a name that does")
	}
}

func BenchmarkMatches(b *testing.B) {
	f := func(name, text string) {
		b.Run(name, func(b *testing.B) {
			p, err := Compile(text)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if !p.Matches("orders.created") {
					b.Fatal("got no match")
				}
			}
		})
	}
	f("linear", `^orders\.`)
	f("backtracking", `^(?!amq\.).*`)
}
