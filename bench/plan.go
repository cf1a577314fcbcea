package bench

import "strconv"

// plan is a scenario with its names and routes worked out: what to declare, what each
// producer sends, and which queue has to see it.
type plan struct {
	exchange string // "" for the default exchange
	queues   []string
	bindings []planBinding
	routes   [][]route // of each producer, which it goes round
	streams  [][]int   // the queues each stream reaches
}

type planBinding struct {
	queue   int
	pattern string
}

// route is a routing key and the stream of the messages sent with it.
type route struct {
	key    string
	stream int
}

// newPlan works out s. prefix begins every name, so that runs do not meet.
func newPlan(s Scenario, prefix string) plan {
	p := plan{queues: make([]string, s.Queues), routes: make([][]route, s.Producers)}
	all := make([]int, s.Queues)
	for i := range p.queues {
		p.queues[i] = prefix + ".q" + strconv.Itoa(i)
		all[i] = i
	}
	if s.ExchangeType != "" {
		p.exchange = prefix + ".x"
	}
	stream := func(queues ...int) int {
		p.streams = append(p.streams, queues)
		return len(p.streams) - 1
	}
	switch s.ExchangeType {
	case "fanout":
		for i := range p.queues {
			p.bindings = append(p.bindings, planBinding{queue: i})
		}
		for i := range p.routes {
			p.routes[i] = []route{{stream: stream(all...)}}
		}
	case "topic":
		for i := range s.Bindings {
			p.bindings = append(p.bindings, planBinding{queue: i % s.Queues, pattern: topicPattern(i)})
		}
		for i := range p.routes {
			first := len(p.streams)
			for q := range p.queues {
				stream(q)
			}
			for b := range s.Bindings {
				p.routes[i] = append(p.routes[i], route{key: topicKey(b), stream: first + b%s.Queues})
			}
		}
	default:
		for i := range p.routes {
			// Whichever there are fewer of, producers or queues, are gone round.
			for q := i % s.Queues; q < s.Queues; q += s.Producers {
				p.routes[i] = append(p.routes[i], route{key: p.queues[q], stream: stream(q)})
			}
		}
	}
	return p
}

// topicPattern is the i-th binding of a topic exchange. The four shapes make a matcher
// go into words, *, and # at the end and at the beginning.
func topicPattern(i int) string {
	n := strconv.Itoa(i)
	switch i % 4 {
	case 0:
		return "a" + n + ".*.c" + n
	case 1:
		return "a" + n + ".#"
	case 2:
		return "*.b" + n + ".*"
	default:
		return "#.c" + n
	}
}

// topicKey is the routing key that of all topicPatterns only the i-th matches.
func topicKey(i int) string {
	n := strconv.Itoa(i)
	return "a" + n + ".b" + n + ".c" + n
}
