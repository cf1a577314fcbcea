package brokertest

import (
	"fmt"
	"os"

	"github.com/rs/zerolog"
)

// New runs a broker that all tests of a package share: there is no test in TestMain that it
// could belong to. It runs until Close, which also removes its directory; after that it does not
// start again. Its warnings go to standard error, and what would fail a test panics.
func New(opts ...Option) *Server {
	p := new(program)
	defer func() {
		if trouble := recover(); trouble != nil {
			p.removeDirs()
			panic(trouble)
		}
	}()
	return run(p, warnings(func(w *zerolog.ConsoleWriter) { w.Out = os.Stderr }), opts)
}

// program is a host where there is no test.
type program struct{ dirs []string }

func (*program) Helper() {}

func (*program) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (*program) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func (*program) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", "brokertest-")
	if err != nil {
		p.Fatalf("brokertest: %v", err)
	}
	p.dirs = append(p.dirs, dir)
	return dir
}

func (p *program) removeDirs() {
	for _, dir := range p.dirs {
		if err := os.RemoveAll(dir); err != nil {
			p.Errorf("brokertest: %v", err)
		}
	}
	p.dirs = nil
}
