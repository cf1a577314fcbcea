package leveret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/leveretmq/leveret"

// room is a row of the table: what a package may import, and what it may not touch.
// Tests are free to import what they need; the rules are for the program.
type room struct {
	name string // below the module; one that ends in /... is for all packages below it

	may        []string // packages of ours
	everything bool     // any package of ours

	decides      bool // values in, results out: no socket, file, clock, goroutine or chance
	standardOnly bool // nothing from outside the standard library
	never        []string
}

// below are the packages that the broker is made of.
var below = []string{"amqp", "message", "binding", "exchange", "queue", "policy", "auth", "topology"}

// rooms is the table of docs/architecture.md. A package that is not in it fails the test:
// where it stands is decided before it is written.
var rooms = []room{
	{name: "."},
	{name: "amqp", standardOnly: true, decides: true},
	{name: "amqp/internal/...", standardOnly: true},
	{name: "message", may: []string{"amqp"}, decides: true},
	{name: "binding", may: []string{"amqp"}, decides: true},
	{name: "pattern", decides: true},
	{name: "policy", may: []string{"amqp", "pattern"}, decides: true},
	{name: "auth", may: []string{"amqp", "pattern"}, decides: true},
	{name: "exchange", may: []string{"amqp", "message", "binding"}, decides: true},
	{name: "queue", may: []string{"amqp", "message"}, decides: true},
	{name: "topology", may: []string{"amqp", "binding", "exchange", "queue", "policy", "auth"}, decides: true},
	{name: "broker", may: below, decides: true},
	{name: "connection", may: []string{"amqp", "message", "binding", "exchange", "queue", "broker", "auth"}, decides: true},
	{name: "persistence", may: below},
	{name: "server", may: []string{"connection", "broker", "certificates"}, never: []string{"net/http"}},
	{name: "metrics", may: append([]string{"broker"}, below...), never: []string{"net"}},
	{name: "definitions", may: append([]string{"broker"}, below...), never: []string{"net"}},
	{name: "management", may: append([]string{"broker", "definitions", "metrics"}, below...)},
	{name: "config"},
	{name: "certificates"},
	{name: "certificates/testca"},
	{name: "node", everything: true},
	{name: "bench", may: []string{"amqp"}},
	{name: "cmd/...", everything: true},
	{name: "brokertest", everything: true},
	{name: "brokertest/...", everything: true},
	{name: "integration", everything: true},
	{name: "integration/...", everything: true},
}

// owned are libraries that one room keeps to itself, by the beginning of their path.
var owned = map[string]string{
	"github.com/dgraph-io/badger": "persistence",
	"github.com/spf13/viper":      "config",
	"github.com/dlclark/regexp2":  "pattern",
}

// outside are the packages through which a deciding package would reach the world.
var outside = []string{
	"net", "net/http", "net/rpc", "net/smtp", "net/textproto", "os", "os/exec", "os/signal", "os/user", "syscall",
	"math/rand", "math/rand/v2", "crypto/rand",
}

// clock are the functions of package time that read the clock or wait for it.
var clock = []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Sleep"}

// roomOf finds the row of the package name, the most exact one.
func roomOf(name string) (room, bool) {
	best, found := room{}, false
	for _, r := range rooms {
		prefix, wild := strings.CutSuffix(r.name, "/...")
		if r.name == name || wild && strings.HasPrefix(name, prefix+"/") {
			if !found || len(r.name) > len(best.name) {
				best, found = r, true
			}
		}
	}
	return best, found
}

// check returns what file, of the package name, imports or does against its room.
func check(name, filename string, source any) ([]string, error) {
	r, ok := roomOf(name)
	if !ok {
		return []string{fmt.Sprintf("%s: package %s is not in the table: add it to rooms, and to docs/architecture.md", filename, name)}, nil
	}
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, filename, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var broken []string
	refuse := func(n ast.Node, format string, args ...any) {
		broken = append(broken, fmt.Sprintf("%s: package %s may not %s", fset.Position(n.Pos()), name, fmt.Sprintf(format, args...)))
	}
	timeName := ""
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return nil, err
		}
		if why := r.refuses(imported); why != "" {
			refuse(spec, "import %s%s", imported, why)
		}
		if imported == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
	}
	if !r.decides {
		return broken, nil
	}
	if timeName == "." {
		refuse(file, "import time with a dot: its clock could not be told apart")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			refuse(n, "start a goroutine")
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && x.Name == timeName && slices.Contains(clock, n.Sel.Name) {
				refuse(n, "use time.%s: the time is handed in", n.Sel.Name)
			}
		}
		return true
	})
	return broken, nil
}

// refuses tells why a package in r may not import what it does, or nothing if it may.
func (r room) refuses(imported string) string {
	if imported == modulePath || strings.HasPrefix(imported, modulePath+"/") {
		ours := strings.TrimPrefix(strings.TrimPrefix(imported, modulePath), "/")
		// What is internal to a package belongs to its room; the compiler keeps others out.
		internal := strings.HasPrefix(ours, strings.TrimSuffix(r.name, "/...")+"/")
		if r.everything || internal || slices.Contains(r.may, ours) {
			return ""
		}
		return ": it is not in its row of the table"
	}
	for library, owner := range owned {
		if strings.HasPrefix(imported, library) && r.name != owner {
			return ": only " + owner + " does"
		}
	}
	switch {
	case r.standardOnly && strings.Contains(strings.Split(imported, "/")[0], "."):
		return ": it keeps to the standard library"
	case slices.Contains(r.never, imported):
		return ": not its business"
	case r.decides && slices.Contains(outside, imported):
		return ": it decides, and others do"
	}
	return ""
}

// listed is what go list tells about a package.
type listed struct {
	ImportPath     string
	Dir            string
	GoFiles        []string
	CgoFiles       []string
	IgnoredGoFiles []string // those for other systems count as well
}

func TestPackagesImportOnlyWhatTheTableAllows(t *testing.T) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	watchTree(t, root)
	// -e lists packages even while one of them does not build; the compiler says that better.
	cmd := exec.Command("go", "list", "-e", "-json=ImportPath,Dir,GoFiles,CgoFiles,IgnoredGoFiles", "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	packages := 0
	for dec := json.NewDecoder(bytes.NewReader(out)); ; packages++ {
		var p listed
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("go list: %v", err)
		}
		name := "."
		if p.ImportPath != modulePath {
			name = strings.TrimPrefix(p.ImportPath, modulePath+"/")
		}
		for _, file := range slices.Concat(p.GoFiles, p.CgoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			relative, err := filepath.Rel(root, filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			broken, err := check(name, relative, nil)
			if err != nil {
				t.Errorf("package %s: %v", name, err)
			}
			for _, b := range broken {
				t.Error(b)
			}
		}
	}
	if packages == 0 {
		t.Error("go list found no packages")
	}
}

// watchTree reads every directory below root. go test remembers a result until a file or
// a directory that the test itself has read changes, and what go list reads is unknown to it.
func watchTree(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTableHasNoCycles(t *testing.T) {
	var visit func(name string, from []string)
	visit = func(name string, from []string) {
		if slices.Contains(from, name) {
			t.Fatalf("the table lets packages import each other: %s", strings.Join(append(from, name), " → "))
		}
		i := slices.IndexFunc(rooms, func(r room) bool { return r.name == name })
		if i < 0 {
			t.Fatalf("%s may import %s, which has no row of its own", from[len(from)-1], name)
		}
		for _, next := range rooms[i].may {
			visit(next, append(slices.Clone(from), name))
		}
	}
	for _, r := range rooms {
		visit(r.name, nil)
	}
}

func TestCheckFindsWhatIsNotAllowed(t *testing.T) {
	f := func(name, source string, want ...string) {
		t.Helper()
		got, err := check(name, "x.go", "package x\n"+source)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Errorf("got %q, want %d findings", got, len(want))
			return
		}
		for i := range want {
			if !strings.Contains(got[i], want[i]) {
				t.Errorf("got %q, want %q in it", got[i], want[i])
			}
		}
	}
	ours := func(name string) string { return fmt.Sprintf("import %q\n", modulePath+"/"+name) }
	f("queue", ours("message"))
	f("queue", ours("exchange"), "x.go:2:8: package queue may not import "+modulePath+"/exchange")
	f("queue", ours("amqp")+ours("broker")+ours("connection"), "broker", "connection")
	f("cmd/leveret", ours("persistence")+ours("config"))
	f("integration/clients/go/x", ours("brokertest"))
	f("config", ours("amqp"), "config may not import")
	f("newcomer", "", "package newcomer is not in the table")

	f("queue", `import "os"`, "import os")
	f("queue", `import "math/rand/v2"`, "import math/rand/v2")
	f("auth", `import _ "crypto/rand"`, "import crypto/rand")
	f("server", `import "net"`)
	f("server", `import "net/http"`, "import net/http")
	f("amqp", `import "github.com/rs/zerolog"`, "standard library")
	f("amqp/internal/specgen", `import "os"`)
	f("broker", `import "github.com/dgraph-io/badger/v4"`, "only persistence does")
	f("persistence", `import "github.com/dgraph-io/badger/v4/options"`)
	f("cmd/leveret", `import "github.com/spf13/viper"`, "only config does")

	f("queue", `func f() { go f() }`, "x.go:2:12: package queue may not start a goroutine")
	f("persistence", `func f() { go f() }`)
	f("queue", `import "time"; var t = time.Now()`, "time.Now")
	f("queue", `import "time"; func f(t time.Time) { t.Add(time.Second); time.AfterFunc(1, nil) }`, "time.AfterFunc")
	f("queue", `import clock "time"; var t = clock.Since`, "time.Since")
	f("queue", `import . "time"; var t = Now()`, "with a dot")
	f("queue", `var t = time.Now`)
	f("persistence", `import "time"; var t = time.Now()`)
}
