package management

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/definitions"
)

func (c *call) users() error { return c.listUsers(func(auth.User) bool { return true }) }

func (c *call) usersWithoutPermissions() error {
	with := make(map[string]bool)
	for _, p := range c.Broker.Permissions() {
		with[p.User] = true
	}
	return c.listUsers(func(u auth.User) bool { return !with[u.Name] })
}

func (c *call) listUsers(which func(auth.User) bool) error {
	items := []item{}
	for _, u := range c.Broker.Users() {
		if which(u) {
			items = append(items, item{u.Name, func() object { return describeUser(u) }})
		}
	}
	return c.list(items)
}

func describeUser(u auth.User) object {
	return object{
		"name":              u.Name,
		"password_hash":     u.PasswordHash,
		"hashing_algorithm": cmp.Or(u.Algorithm, auth.SHA256),
		"tags":              append([]string{}, u.Tags...),
		"limits":            definitions.Limits(u.Limits),
	}
}

func (c *call) aUser() error {
	u, ok := c.Broker.User(c.args[0])
	if !ok {
		return notFound
	}
	return c.one(describeUser(u))
}

// putUser makes a user, or gives the one that is there another password and other tags.
// Without a password and without a hash nobody logs in as that user with a password.
func (c *call) putUser() error {
	u := auth.User{Name: c.args[0], Algorithm: auth.SHA256}
	f, err := c.fields()
	if err != nil {
		return err
	}
	if !f.has("tags") {
		return badRequest("tags_not_present")
	}
	var password string
	if err := firstOf(f.text("password", &password), f.text("password_hash", &u.PasswordHash), f.text("hashing_algorithm", &u.Algorithm), f.tags("tags", &u.Tags)); err != nil {
		return err
	}
	switch {
	case f.has("password"):
		u.PasswordHash, u.Algorithm = c.Broker.HashPassword(password), auth.SHA256
	case f.has("password_hash"):
		if _, err := base64.StdEncoding.DecodeString(u.PasswordHash); err != nil {
			// It may be a password that somebody took for a hash, so it is not said again.
			return badRequest("not_base64: password_hash")
		}
	}
	_, there := c.Broker.User(u.Name)
	if err := c.set(c.Broker.PutUser(u)); err != nil {
		return err
	}
	return c.made(!there)
}

func (c *call) deleteUser() error {
	if _, ok := c.Broker.User(c.args[0]); !ok {
		return notFound
	}
	if err := c.set(c.Broker.DeleteUser(c.args[0]), nil); err != nil {
		return err
	}
	return c.gone()
}

// deleteUsers deletes several, all of whom have to be there.
func (c *call) deleteUsers() error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	if err := f.need("users"); err != nil {
		return err
	}
	var names []string
	if err := json.Unmarshal(f["users"], &names); err != nil {
		return badRequest("users should be a list of names")
	}
	for _, name := range names {
		if _, ok := c.Broker.User(name); !ok {
			return badRequest("no_such_user: %s", name)
		}
	}
	for _, name := range names {
		if err := c.set(c.Broker.DeleteUser(name), nil); err != nil {
			return fmt.Errorf("delete user %q: %w", name, err)
		}
	}
	return c.gone()
}
