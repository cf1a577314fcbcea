package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Stdin, os.Stdout, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "rules:", err)
		os.Exit(1)
	}
}

// run prints the table. It fails when a test that proves a rule has failed.
func run(in io.Reader, out io.Writer, files []string) error {
	root, err := moduleRoot()
	if err != nil {
		return err
	}
	rules, err := readRules(filepath.Join(root, "integration", "rules", "rules.txt"))
	if err != nil {
		return err
	}
	cites, err := collect(root)
	if err != nil {
		return err
	}
	results := make(map[test]string)
	if len(files) == 0 {
		if err := readResults(in, results); err != nil {
			return err
		}
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		err = readResults(f, results)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return table(out, rules, cites, results)
}

// moduleRoot is the directory of go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		above := filepath.Dir(dir)
		if above == dir {
			return "", fmt.Errorf("no go.mod above %s", dir)
		}
		dir = above
	}
}

const modulePath = "github.com/leveretmq/leveret"

// readResults takes from the output of go test -json how each test ended.
func readResults(r io.Reader, results map[test]string) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e struct{ Action, Package, Test string }
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("this is no output of go test -json: %w", err)
		}
		if e.Action != "pass" && e.Action != "fail" && e.Action != "skip" || e.Test == "" {
			continue
		}
		dir := "."
		if e.Package != modulePath {
			dir = strings.TrimPrefix(e.Package, modulePath+"/")
		}
		results[test{dir, e.Test}] = e.Action
	}
	return lines.Err()
}

func table(out io.Writer, rules []rule, cites citations, results map[test]string) error {
	w := new(bytes.Buffer) // which takes everything
	var passed, failed, notRun, untested, notHere int
	for _, r := range rules {
		tests := cites[r.id]
		verdict := "not run"
		for _, t := range tests {
			if result := results[t]; result == "fail" {
				verdict = "FAIL"
			} else if result == "pass" && verdict != "FAIL" {
				verdict = "pass"
			}
		}
		switch {
		case r.notHere != "":
			verdict = "not here: " + r.notHere
			notHere++
		case len(tests) == 0:
			verdict = "NO TEST"
			untested++
		case verdict == "pass":
			passed++
		case verdict == "FAIL":
			failed++
		default:
			notRun++
		}
		fmt.Fprintf(w, "%-8s %s: %s\n", r.id, r.words, verdict)
		for _, t := range tests {
			result := results[t]
			if result == "" {
				result = "-"
			}
			fmt.Fprintf(w, "         %-4s %s\n", result, path.Join(t.dir, t.name))
		}
	}
	fmt.Fprintf(w, "%d rules: %d pass, %d fail, %d not run, %d have no test, %d are not here\n",
		len(rules), passed, failed, notRun, untested, notHere)
	if _, err := w.WriteTo(out); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d rules do not hold", failed)
	}
	return nil
}
