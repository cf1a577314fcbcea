package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func vhostsCommand() *cobra.Command {
	return group("vhosts", "Look after virtual hosts",
		listVerb("virtual hosts", "vhosts", columns("name", "messages", "type:default_queue_type", "tags", "description"), false),
		describingVHost(verb("add NAME", "Add a virtual host", cobra.ExactArgs(1), func(r *remote, cmd *cobra.Command, args []string) error {
			if err := r.get(path("vhosts", args[0]), &struct{}{}); err == nil {
				return fmt.Errorf("there is a vhost %s already; vhosts set changes it", args[0])
			} else if !isNotFound(err) {
				return err
			}
			return setVHost(r, cmd, args[0], "added")
		})),
		describingVHost(verb("set NAME", "Change what is said of a virtual host", cobra.ExactArgs(1), func(r *remote, cmd *cobra.Command, args []string) error {
			if err := r.get(path("vhosts", args[0]), &struct{}{}); err != nil {
				return named(err, "vhost", args[0])
			}
			return setVHost(r, cmd, args[0], "changed")
		})),
		verb("delete NAME", "Delete a virtual host with everything in it, and close its connections", cobra.ExactArgs(1),
			func(r *remote, _ *cobra.Command, args []string) error {
				if err := r.change(http.MethodDelete, path("vhosts", args[0]), nil); err != nil {
					return named(err, "vhost", args[0])
				}
				return r.done("vhost %s deleted", args[0])
			}),
	)
}

// vhostFlags are the flags that say something of a virtual host, by what they set.
var vhostFlags = []struct{ flag, field, usage string }{
	{"description", "description", "what it is for"},
	{"tags", "tags", "words about it, with commas between them"},
	{"default-queue-type", "default_queue_type", "the type of queues declared without one: classic or quorum"},
}

func describingVHost(cmd *cobra.Command) *cobra.Command {
	for _, f := range vhostFlags {
		cmd.Flags().String(f.flag, "", f.usage)
	}
	return cmd
}

func setVHost(r *remote, cmd *cobra.Command, name, did string) error {
	body := map[string]string{}
	for _, f := range vhostFlags {
		if cmd.Flags().Changed(f.flag) {
			body[f.field] = cmd.Flag(f.flag).Value.String()
		}
	}
	if err := r.change(http.MethodPut, path("vhosts", name), body); err != nil {
		return err
	}
	return r.done("vhost %s %s", name, did)
}
