package main

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/management"
)

func permissionsCommand() *cobra.Command {
	set := inVHost(verb("set USER CONFIGURE WRITE READ", "Say what a user may do in a virtual host", cobra.ExactArgs(4),
		func(r *remote, cmd *cobra.Command, args []string) error {
			body := map[string]string{"configure": args[1], "write": args[2], "read": args[3]}
			if err := r.change(http.MethodPut, path("permissions", vhostOf(cmd), args[0]), body); err != nil {
				return grantee(err, cmd, args[0])
			}
			return r.done("permissions of user %s in vhost %s set", args[0], vhostOf(cmd))
		}))
	set.Long = "Say what a user may do in a virtual host: three regular expressions for the names of queues and\n" +
		"exchanges that it may configure, write to and read from. '.*' is all of them, '' none."
	return group("permissions", "Look after what users may do",
		listVerb("what users may do", "permissions", columns("vhost", "user", "configure", "write", "read"), false),
		set,
		inVHost(verb("delete USER", "Take from a user its access to a virtual host", cobra.ExactArgs(1),
			func(r *remote, cmd *cobra.Command, args []string) error {
				if err := r.change(http.MethodDelete, path("permissions", vhostOf(cmd), args[0]), nil); err != nil {
					return grantee(err, cmd, args[0])
				}
				return r.done("permissions of user %s in vhost %s deleted", args[0], vhostOf(cmd))
			})),
	)
}

func topicPermissionsCommand() *cobra.Command {
	set := inVHost(verb("set USER EXCHANGE WRITE READ", "Narrow what a user may do by routing key", cobra.ExactArgs(4),
		func(r *remote, cmd *cobra.Command, args []string) error {
			body := map[string]string{"exchange": args[1], "write": args[2], "read": args[3]}
			if err := r.change(http.MethodPut, path("topic-permissions", vhostOf(cmd), args[0]), body); err != nil {
				return grantee(err, cmd, args[0])
			}
			return r.done("topic permissions of user %s for exchange %s in vhost %s set", args[0], args[1], vhostOf(cmd))
		}))
	set.Long = "Narrow what a user may do with a topic exchange: two regular expressions for the routing keys\n" +
		"that it may publish with and bind. {username} and {vhost} in them stand for the names."
	return group("topic-permissions", "Look after what users may do by routing key",
		listVerb("what users may do by routing key", "topic-permissions", columns("vhost", "user", "exchange", "write", "read"), false),
		set,
		inVHost(verb("delete USER [EXCHANGE]", "Take back what narrows a user, on one exchange or on all", cobra.RangeArgs(1, 2),
			func(r *remote, cmd *cobra.Command, args []string) error {
				if err := r.change(http.MethodDelete, path(append([]string{"topic-permissions", vhostOf(cmd)}, args...)...), nil); err != nil {
					return grantee(err, cmd, args[0])
				}
				return r.done("topic permissions of user %s in vhost %s deleted", args[0], vhostOf(cmd))
			})),
	)
}

// isNotFound tells whether the broker has answered that something is not there.
func isNotFound(err error) bool {
	var no *management.Refusal
	return errors.As(err, &no) && no.Status == http.StatusNotFound
}

// named is err, or that there is no such thing when that is what it is.
func named(err error, kind, name string) error {
	if isNotFound(err) {
		return fmt.Errorf("there is no %s %s", kind, name)
	}
	return err
}

// within is named for something in the virtual host of the flag.
func within(err error, cmd *cobra.Command, kind, name string) error {
	if isNotFound(err) {
		return fmt.Errorf("there is no %s %s in vhost %s", kind, name, vhostOf(cmd))
	}
	return err
}

// grantee is err, or that there is no such user or virtual host when that is what it is.
func grantee(err error, cmd *cobra.Command, user string) error {
	var no *management.Refusal
	if isNotFound(err) || errors.As(err, &no) && no.Reason == "vhost_or_user_not_found" {
		return fmt.Errorf("there is no user %s, or no vhost %s", user, vhostOf(cmd))
	}
	return err
}
