package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"
)

func usersCommand() *cobra.Command {
	add := withPassword(verb("add NAME", "Add a user", cobra.ExactArgs(1), addUser))
	add.Flags().String("tags", "", "administrator, monitoring, policymaker or management, with commas between them")
	set := withPassword(verb("set NAME", "Give a user another password, or other tags", cobra.ExactArgs(1), setUser))
	set.Flags().String("tags", "", "administrator, monitoring, policymaker or management, with commas between them")
	return group("users", "Look after users",
		listVerb("users", "users", columns("name", "tags", "limits"), false),
		add, set,
		verb("delete NAME", "Delete a user, and close its connections", cobra.ExactArgs(1), func(r *remote, _ *cobra.Command, args []string) error {
			if err := r.change(http.MethodDelete, path("users", args[0]), nil); err != nil {
				return named(err, "user", args[0])
			}
			return r.done("user %s deleted", args[0])
		}),
	)
}

// withPassword gives a command the ways to say a password.
func withPassword(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().String("password", "", "the password; others on this machine may see it")
	cmd.Flags().Bool("password-stdin", false, "read the password from the first line of standard input")
	cmd.Flags().Bool("no-password", false, "let nobody log in as this user with a password")
	cmd.MarkFlagsMutuallyExclusive("password", "password-stdin", "no-password")
	return cmd
}

// password is the one that was said, and whether there was one.
func password(cmd *cobra.Command) (said string, ok bool, err error) {
	if cmd.Flags().Changed("password") {
		return cmd.Flag("password").Value.String(), true, nil
	}
	if cmd.Flag("no-password").Value.String() == "true" {
		return "", true, nil
	}
	if cmd.Flag("password-stdin").Value.String() != "true" {
		return "", false, nil
	}
	line, err := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", false, fmt.Errorf("read the password: %w", err)
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" {
		return "", false, errors.New("there is no password on standard input")
	}
	return line, true, nil
}

// user is a user as the API has it.
type user struct {
	Password     *string  `json:"password,omitempty"`
	PasswordHash string   `json:"password_hash,omitempty"`
	Algorithm    string   `json:"hashing_algorithm,omitempty"`
	Tags         []string `json:"tags"`
}

func tagsOf(cmd *cobra.Command) []string {
	tags := []string{}
	for word := range strings.SplitSeq(cmd.Flag("tags").Value.String(), ",") {
		if word = strings.TrimSpace(word); word != "" {
			tags = append(tags, word)
		}
	}
	return tags
}

func addUser(r *remote, cmd *cobra.Command, args []string) error {
	said, ok, err := password(cmd)
	if err != nil {
		return err
	}
	if !ok {
		return errors.New("say the password with --password-stdin or --password, or --no-password")
	}
	var there user
	if err := r.get(path("users", args[0]), &there); err == nil {
		return fmt.Errorf("there is a user %s already; users set changes it", args[0])
	} else if !isNotFound(err) {
		return err
	}
	if err := r.change(http.MethodPut, path("users", args[0]), user{Password: &said, Tags: tagsOf(cmd)}); err != nil {
		return err
	}
	return r.done("user %s added; leveret permissions set gives it access to a virtual host", args[0])
}

func setUser(r *remote, cmd *cobra.Command, args []string) error {
	said, ok, err := password(cmd)
	if err != nil {
		return err
	}
	if !ok && !cmd.Flags().Changed("tags") {
		return errors.New("nothing to set: say a password, or --tags")
	}
	var u user
	if err := r.get(path("users", args[0]), &u); err != nil {
		return named(err, "user", args[0])
	}
	if ok {
		u.Password = &said
	}
	if cmd.Flags().Changed("tags") {
		u.Tags = tagsOf(cmd)
	}
	if err := r.change(http.MethodPut, path("users", args[0]), u); err != nil {
		return err
	}
	return r.done("user %s changed", args[0])
}
