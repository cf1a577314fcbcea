package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	// The specification's XML is read out of this module.
	_ "github.com/rabbitmq/amqp091-go"
)

func TestGeneratedFilesFollowFromTheSpecification(t *testing.T) {
	path, err := findSpec()
	if err != nil {
		t.Fatal(err)
	}
	files, err := generate(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("..", "..", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs from what the specification gives; run go generate ./amqp", name)
		}
	}
}

// The ids and layouts of every method, written down independently of the XML.
func TestMethodsHaveTheIdsAndArgumentsClientsExpect(t *testing.T) {
	path, err := findSpec()
	if err != nil {
		t.Fatal(err)
	}
	s, err := readSpec(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/methods.txt")
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	eachMethod(s, func(c class, m method) { describe(&got, c, m) })
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("got methods\n%swant\n%s", got.Bytes(), want)
	}
}

func describe(b *bytes.Buffer, c class, m method) {
	letters := map[string]string{
		"octet": "o", "short": "H", "long": "I", "longlong": "L",
		"shortstr": "s", "longstr": "S", "table": "T", "bit": "b",
	}
	b.WriteString(strconv.Itoa(c.Index) + "." + strconv.Itoa(m.Index) + " " + c.Name + "." + m.Name)
	for _, f := range m.Fields {
		name := f.Name
		if f.Reserved {
			name = "_"
		}
		b.WriteString(" " + name + ":" + letters[f.Type])
	}
	b.WriteString("\n")
}
