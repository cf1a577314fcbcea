package management

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/definitions"
)

// fields are the members of the object in a request's body.
type fields map[string]json.RawMessage

// fields reads the body, which may be empty. Its media type does not matter: scripts say
// that it is a form.
func (c *call) fields() (fields, error) {
	b, err := c.body()
	if err != nil {
		return nil, err
	}
	f := fields{}
	if len(bytes.TrimSpace(b)) == 0 {
		return f, nil
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, badRequest("not_json")
	}
	return f, nil
}

// need refuses a body in which something is missing.
func (f fields) need(names ...string) error {
	var missing []string
	for _, name := range names {
		if _, ok := f[name]; !ok {
			missing = append(missing, "{key_missing,"+name+"}")
		}
	}
	if missing != nil {
		return badRequest("[%s]", strings.Join(missing, ","))
	}
	return nil
}

// has tells whether there is a member that is not null.
func (f fields) has(name string) bool {
	v, ok := f[name]
	return ok && string(v) != "null"
}

// text reads a text into v, which stays as it is when there is none.
func (f fields) text(name string, v *string) error {
	if !f.has(name) {
		return nil
	}
	if err := json.Unmarshal(f[name], v); err != nil {
		return badRequest("%s should be a string, actually was %s", name, f[name])
	}
	return nil
}

// boolean reads true or false, as such or as text, into v.
func (f fields) boolean(name string, v *bool) error {
	if !f.has(name) {
		return nil
	}
	switch word := strings.Trim(string(f[name]), `"`); word {
	case "true", "false":
		*v = word == "true"
		return nil
	default:
		return badRequest("not_boolean: %s of %s", word, name)
	}
}

// integer reads an integer, as such or as text, into v.
func (f fields) integer(name string, v *int64) error {
	if !f.has(name) {
		return nil
	}
	n, err := strconv.ParseInt(strings.Trim(string(f[name]), `"`), 10, 64)
	if err != nil {
		return badRequest("%s should be a number, actually was %s", name, f[name])
	}
	*v = n
	return nil
}

// arguments reads a table into v.
func (f fields) arguments(name string, v *amqp.Table) error {
	if !f.has(name) || string(f[name]) == `""` { // what an empty field of a form becomes
		return nil
	}
	var a definitions.Arguments
	if err := json.Unmarshal(f[name], &a); err != nil {
		return badRequest("%s: %v", name, err)
	}
	*v = amqp.Table(a)
	return nil
}

// tags reads a list of words, or a text with commas between them, into v.
func (f fields) tags(name string, v *[]string) error {
	if !f.has(name) {
		return nil
	}
	var t definitions.Tags
	if err := json.Unmarshal(f[name], &t); err != nil {
		return badRequest("%s: %v", name, err)
	}
	*v = t
	return nil
}

// firstOf is the first of errors that is one.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
