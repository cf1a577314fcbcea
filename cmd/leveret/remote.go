package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/management"
)

// remote speaks to the broker that runs with the configuration of a command, through the
// socket in its data directory.
type remote struct {
	ctx    context.Context
	http   *http.Client
	socket string
	out    io.Writer
	json   bool // print what the broker answers
}

func newRemote(cmd *cobra.Command) (*remote, error) {
	c, err := effective(cmd)
	if err != nil {
		return nil, err
	}
	r := &remote{
		ctx:    cmd.Context(),
		http:   management.Client(c.DataDir),
		socket: filepath.Join(c.DataDir, management.SocketName),
		out:    cmd.OutOrStdout(),
	}
	if f := cmd.Flags().Lookup("json"); f != nil {
		r.json = f.Value.String() == "true"
	}
	return r, nil
}

// path is a path of the API: text, and names that are escaped.
func path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/api")
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// do asks for something and returns the answer's body. A body of nil is none; one that is
// octets is sent as it is, and any other as JSON.
func (r *remote) do(method, path string, body any, headers ...string) ([]byte, error) {
	var content io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		content = bytes.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	q, err := http.NewRequestWithContext(r.ctx, method, "http://leveret"+path, content)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	a, err := r.http.Do(q)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, fmt.Errorf("no broker answers at %s: is it running, and with this --data-dir?", r.socket)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the broker at %s: %w", r.socket, err)
	}
	defer a.Body.Close()
	if a.StatusCode >= http.StatusBadRequest {
		return nil, management.Refused(a)
	}
	text, err := io.ReadAll(a.Body)
	if err != nil {
		return nil, fmt.Errorf("read the broker's answer: %w", err)
	}
	return text, nil
}

// change asks for something that has no answer.
func (r *remote) change(method, path string, body any, headers ...string) error {
	_, err := r.do(method, path, body, headers...)
	return err
}

// get reads an answer into v.
func (r *remote) get(path string, v any) error {
	text, err := r.do(http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, v)
}

// column is one of a table: its head, and the names under which the value stands in the
// answer.
type column struct {
	head string
	at   []string
}

// columns are columns whose heads are the names of what stands in them, unless another one
// is given before a colon.
func columns(names ...string) []column {
	var all []column
	for _, n := range names {
		head, at, found := strings.Cut(n, ":")
		if !found {
			at = n
		}
		all = append(all, column{strings.ToUpper(head), strings.Split(at, ".")})
	}
	return all
}

// list prints a list, as a table or as it was answered.
func (r *remote) list(path string, show []column) error {
	text, err := r.do(http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if r.json {
		var indented bytes.Buffer
		if err := json.Indent(&indented, text, "", "  "); err != nil {
			return err
		}
		_, err = fmt.Fprintln(r.out, &indented)
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var rows []map[string]any
	if err := d.Decode(&rows); err != nil {
		return fmt.Errorf("read the broker's answer: %w", err)
	}
	lines := make([][]string, len(rows)+1)
	for _, c := range show {
		lines[0] = append(lines[0], c.head)
		for i, row := range rows {
			lines[i+1] = append(lines[i+1], c.cell(row))
		}
	}
	w := tabwriter.NewWriter(r.out, 0, 8, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, strings.Join(line, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// cell is what a table shows of a row.
func (c column) cell(row map[string]any) string {
	v := any(row)
	for _, name := range c.at {
		m, ok := v.(map[string]any)
		if !ok {
			return "-"
		}
		v = m[name]
	}
	text := ""
	switch v := v.(type) {
	case nil:
	case string:
		text = strings.Map(printable, v)
	case []any:
		var words []string
		for _, w := range v {
			words = append(words, fmt.Sprint(w))
		}
		text = strings.Join(words, ",")
	case map[string]any:
		if len(v) > 0 {
			b, err := json.Marshal(v)
			if err != nil {
				return "?"
			}
			text = string(b)
		}
	default:
		text = fmt.Sprint(v)
	}
	return cmp.Or(text, "-")
}

// printable replaces what would spoil a table, or a terminal.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return '?'
	}
	return r
}

// done prints what has been done.
func (r *remote) done(format string, args ...any) error {
	_, err := fmt.Fprintf(r.out, format+"\n", args...)
	return err
}

// verb is a command that speaks to the running broker.
func verb(use, short string, args cobra.PositionalArgs, run func(r *remote, cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := newRemote(cmd)
			if err != nil {
				return err
			}
			return run(r, cmd, args)
		},
	}
}

// group is a command that has others.
func group(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs}
	cmd.AddCommand(verbs...)
	return cmd
}

// listVerb is a command that lists what is at a path, in one virtual host with --vhost when
// the list can be of one.
func listVerb(what, at string, show []column, inVHost bool) *cobra.Command {
	cmd := verb("list", "List "+what, cobra.NoArgs, func(r *remote, cmd *cobra.Command, _ []string) error {
		if v, err := cmd.Flags().GetString("vhost"); err == nil && v != "" {
			return r.list(path(at, v), slices.DeleteFunc(slices.Clone(show), func(c column) bool { return c.head == "VHOST" }))
		}
		return r.list(path(at), show)
	})
	cmd.Flags().Bool("json", false, "print what the broker answers, as JSON")
	if inVHost {
		cmd.Flags().String("vhost", "", "only those of this virtual host")
	}
	return cmd
}

// inVHost gives a command the flag --vhost.
func inVHost(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("vhost", "/", "the virtual host")
	return cmd
}

// vhostOf is what the flag --vhost says.
func vhostOf(cmd *cobra.Command) string { return cmd.Flag("vhost").Value.String() }
