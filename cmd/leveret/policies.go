package main

import (
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func policiesCommand() *cobra.Command {
	return policyGroup("policies", "policy", "Look after policies")
}

func operatorPoliciesCommand() *cobra.Command {
	return policyGroup("operator-policies", "operator policy", "Look after the policies that limit what others set")
}

func policyGroup(at, kind, short string) *cobra.Command {
	set := inVHost(verb("set NAME PATTERN DEFINITION", "Set a "+kind, cobra.ExactArgs(3),
		func(r *remote, cmd *cobra.Command, args []string) error {
			if !json.Valid([]byte(args[2])) {
				return fmt.Errorf(`the definition %s is no JSON, such as {"max-length":1000}`, args[2])
			}
			priority, err := cmd.Flags().GetInt("priority")
			if err != nil {
				return err
			}
			body := map[string]any{
				"pattern": args[1], "definition": json.RawMessage(args[2]), "priority": priority,
				"apply-to": cmd.Flag("apply-to").Value.String(),
			}
			if err := r.change(http.MethodPut, path(at, vhostOf(cmd), args[0]), body); err != nil {
				return named(err, "vhost", vhostOf(cmd))
			}
			return r.done("%s %s in vhost %s set", kind, args[0], vhostOf(cmd))
		}))
	set.Flags().Int("priority", 0, "the one with the highest applies")
	set.Flags().String("apply-to", "all", "what it applies to: all, queues, classic_queues, quorum_queues or exchanges")
	set.Long = "Set a " + kind + " for the queues and exchanges whose names PATTERN, a regular expression, finds.\n" +
		`DEFINITION is JSON, such as {"max-length":1000,"message-ttl":60000}.`
	return group(at, short,
		listVerb(at, at, columns("vhost", "name", "pattern", "apply-to", "priority", "definition"), true),
		set,
		inVHost(verb("delete NAME", "Delete a "+kind, cobra.ExactArgs(1),
			func(r *remote, cmd *cobra.Command, args []string) error {
				if err := r.change(http.MethodDelete, path(at, vhostOf(cmd), args[0]), nil); err != nil {
					return within(err, cmd, kind, args[0])
				}
				return r.done("%s %s in vhost %s deleted", kind, args[0], vhostOf(cmd))
			})),
	)
}
