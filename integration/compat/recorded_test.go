package compat

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// record is what a RabbitMQ answered, by conversation, one answer for each step and one for
// the end. answers/*.txt has it:
//
//	= title
//	> the step, as it is written in testdata
//	a line of the answer; none if there was nothing to hear
//
// integration/compat/run -update writes the files.
type record map[string][]answered

type answered struct{ step, answer string }

func readRecord(t *testing.T) record {
	t.Helper()
	files, err := filepath.Glob("answers/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := make(record)
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		where := ""
		lines := bufio.NewScanner(file)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			if title, ok := strings.CutPrefix(line, "= "); ok {
				where = strings.TrimSuffix(filepath.Base(name), ".txt") + ": " + title
				continue
			}
			if step, ok := strings.CutPrefix(line, "> "); ok {
				all[where] = append(all[where], answered{step: step})
				continue
			}
			if line == "" || line[0] == '#' {
				continue
			}
			steps := all[where]
			if len(steps) == 0 {
				t.Fatalf("%s: an answer to nothing: %s", name, line)
			}
			last := &steps[len(steps)-1]
			last.answer = joined(last.answer, line)
		}
		file.Close()
		if err := lines.Err(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return all
}

// to is what was answered to a conversation, or nil if its steps are no longer the same.
func (r record) to(conv conversation) []answered {
	answers := r[conv.where()]
	if len(answers) != len(conv.steps)+1 {
		return nil
	}
	for i, st := range conv.steps {
		if answers[i].step != st.text {
			return nil
		}
	}
	return answers
}

// write writes the answers to all that was said.
func (r record) write(t *testing.T, all []conversation) {
	t.Helper()
	files := make(map[string]*strings.Builder)
	for _, conv := range all {
		b := files[conv.file]
		if b == nil {
			b = new(strings.Builder)
			b.WriteString("# What RabbitMQ 3.10.8 answers. integration/compat/run -update writes this file.\n")
			files[conv.file] = b
		}
		fmt.Fprintf(b, "\n= %s\n", conv.title)
		for _, a := range r[conv.where()] {
			fmt.Fprintf(b, "> %s\n", a.step)
			if a.answer != "" {
				fmt.Fprintf(b, "%s\n", a.answer)
			}
		}
	}
	old, err := filepath.Glob("answers/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range old {
		if files[strings.TrimSuffix(filepath.Base(name), ".txt")] == nil {
			if err := os.Remove(name); err != nil {
				t.Error(err)
			}
		}
	}
	if err := os.MkdirAll("answers", 0o755); err != nil {
		t.Fatal(err)
	}
	for file, b := range files {
		if err := os.WriteFile(filepath.Join("answers", file+".txt"), []byte(b.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// TestRecordIsOfTheConversations fails when a conversation was changed and the record was not.
func TestRecordIsOfTheConversations(t *testing.T) {
	all, recorded := conversations(t), readRecord(t)
	for _, conv := range all {
		if recorded.to(conv) == nil {
			t.Errorf("%s: there is no record of these steps; run -update makes one", conv.where())
		}
	}
	for where := range recorded {
		if !slices.ContainsFunc(all, func(conv conversation) bool { return conv.where() == where }) {
			t.Errorf("answers has %s, and testdata has not", where)
		}
	}
}
