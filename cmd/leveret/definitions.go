package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

func definitionsCommand() *cobra.Command {
	export := verb("export [FILE]", "Write what is declared as JSON", cobra.MaximumNArgs(1), exportDefinitions)
	export.Long = "Write what is declared as JSON that RabbitMQ reads, too: users, virtual hosts, permissions,\n" +
		"policies, exchanges, queues and bindings; no messages. Without FILE, or when it is -, it goes to\n" +
		"standard output. The file is for its owner alone: it has the hashes of passwords."
	export.Flags().String("vhost", "", "only what is declared in this virtual host")
	load := verb("import FILE", "Declare what is in a file", cobra.ExactArgs(1), importDefinitions)
	load.Long = "Declare what is in FILE, which this broker or a RabbitMQ has exported, or in standard input when\n" +
		"it is -. All of it is declared, or nothing, and then the error says which item cannot be. Queues\n" +
		"and exchanges that are there stay as they are, and nothing is deleted."
	load.Flags().String("vhost", "", "declare it in this virtual host, when the file is that of one")
	return group("definitions", "Take what is declared from one broker to another", export, load)
}

// definitionsPath is where the definitions are, those of one virtual host with --vhost.
func definitionsPath(cmd *cobra.Command) string {
	if v := vhostOf(cmd); v != "" {
		return path("definitions", v)
	}
	return path("definitions")
}

func exportDefinitions(r *remote, cmd *cobra.Command, args []string) error {
	text, err := r.do(http.MethodGet, definitionsPath(cmd), nil)
	if err != nil {
		return named(err, "vhost", vhostOf(cmd))
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, text, "", "  "); err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	indented.WriteByte('\n')
	if len(args) == 0 || args[0] == "-" {
		_, err = indented.WriteTo(r.out)
		return err
	}
	if err := os.WriteFile(args[0], indented.Bytes(), 0o600); err != nil {
		return err
	}
	return r.done("definitions written to %s", args[0])
}

func importDefinitions(r *remote, cmd *cobra.Command, args []string) error {
	var text []byte
	var err error
	if args[0] == "-" {
		text, err = io.ReadAll(cmd.InOrStdin())
	} else {
		text, err = os.ReadFile(args[0])
	}
	if err != nil {
		return err
	}
	if err := r.change(http.MethodPost, definitionsPath(cmd), text); err != nil {
		return named(err, "vhost", vhostOf(cmd))
	}
	return r.done("definitions imported")
}
