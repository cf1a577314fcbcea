package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// rule is a line of rules.txt.
type rule struct {
	id, words string
	notHere   string // why the rule does not apply, or ""
}

func readRules(file string) ([]rule, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []rule
	for i, line := range strings.Split(string(b), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		id, words, ok := strings.Cut(line, " ")
		words, why, _ := strings.Cut(words, " ; not here: ")
		if !ok || cited(id) == nil {
			return nil, fmt.Errorf("%s:%d: not understood: %s", file, i+1, line)
		}
		all = append(all, rule{id, words, why})
	}
	return all, nil
}

// test is what go test -json calls a test, of the package in a directory below the root.
type test struct {
	dir, name string
}

// longest is how many rules one citation may name. What names more is about a part of the
// specification, and proves none of it in particular.
const longest = 12

var citation = regexp.MustCompile(`\b(W|C|ERR|CH|EX|Q|PUB|CON|QOS|GET|ACK|CONF|TX|DRT|CTO|DLX|TTL|LEN|PRI|SAC|QQ|POL|PERM|LIM|DEF|RES|DUR)-(\d+)\b(?:(?: to |…)(?:([A-Z]+)-)?(\d+)\b)?`)

// cited returns the ids that a text cites, in its order.
func cited(text string) []string {
	var ids []string
	for _, m := range citation.FindAllStringSubmatch(text, -1) {
		ids = append(ids, m[1]+"-"+m[2])
		from, _ := strconv.Atoi(m[2])
		to, _ := strconv.Atoi(m[4])
		if m[3] != "" && m[3] != m[1] || to-from >= longest {
			continue
		}
		for n := from + 1; n <= to; n++ {
			ids = append(ids, fmt.Sprintf("%s-%d", m[1], n))
		}
	}
	return ids
}

// citations are the tests that cite each rule.
type citations map[string][]test

func (c citations) add(text string, tests ...test) {
	for _, id := range cited(text) {
		for _, t := range tests {
			if !slices.Contains(c[id], t) {
				c[id] = append(c[id], t)
			}
		}
	}
}

// collect reads the tests of the module at root, and their testdata.
func collect(root string) (citations, error) {
	c := make(citations)
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		switch {
		case d.IsDir() && name != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || name == "integration/rules"):
			return filepath.SkipDir
		case d.IsDir():
		case strings.HasSuffix(name, "_test.go"):
			return c.source(file, path.Dir(name))
		case strings.HasSuffix(name, ".txt") && strings.Contains(name, "/testdata/"):
			return c.script(file, name)
		}
		return nil
	})
	return c, err
}

// source reads a test file.
func (c citations) source(file, dir string) error {
	src, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	fset := token.NewFileSet()
	parsed, err := parser.ParseFile(fset, file, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	text := func(n ast.Node, doc *ast.CommentGroup) string {
		from, to := fset.Position(n.Pos()).Offset, fset.Position(n.End()).Offset
		if doc != nil {
			from = min(from, fset.Position(doc.Pos()).Offset)
		}
		return string(src[from:to])
	}
	var all []test
	var others []string
	for _, decl := range parsed.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && isTest(d.Name.Name) {
				t := test{dir, d.Name.Name}
				all = append(all, t)
				c.add(text(d, d.Doc), t)
			} else {
				others = append(others, text(d, d.Doc))
			}
		case *ast.GenDecl:
			others = append(others, text(d, d.Doc))
		}
	}
	for _, o := range others {
		c.add(o, all...)
	}
	return nil
}

// isTest leaves out benchmarks and examples: they are not there to find mistakes.
func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") && name != "TestMain" || strings.HasPrefix(name, "Fuzz")
}

// scripts are the tests that read the testdata of a directory; the name of the file, without
// its ending, is a test within them.
var scripts = map[string]string{
	"connection/testdata":         "TestScripts",
	"queue/testdata":              "TestScripts",
	"integration/compat/testdata": "TestAnswersAreThoseOfRabbitMQ/conversations",
}

// script reads a file of testdata. In a conversation a comment is about the titles that
// follow it; elsewhere it is about the file.
func (c citations) script(file, name string) error {
	runs, ok := scripts[path.Dir(name)]
	if !ok {
		return nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	dir := path.Dir(path.Dir(name))
	within := runs + "/" + strings.TrimSuffix(path.Base(name), ".txt")
	comment, done := "", true
	for _, line := range strings.Split(string(b), "\n") {
		title, isTitle := strings.CutPrefix(line, "= ")
		switch {
		case strings.HasPrefix(line, "#"):
			if done {
				comment, done = "", false
			}
			comment += line + "\n"
			if !strings.HasPrefix(runs, "TestAnswers") {
				c.add(line, test{dir, within})
			}
		case isTitle:
			done = true
			c.add(comment, test{dir, within + "/" + strings.ReplaceAll(title, " ", "_")})
		}
	}
	return nil
}
