package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/management"
)

func queuesCommand() *cobra.Command {
	remove := deleteVerb("queue", "queues")
	remove.Flags().Bool("if-unused", false, "only when nobody consumes from it")
	remove.Flags().Bool("if-empty", false, "only when no messages are ready in it")
	return group("queues", "Look after queues",
		listVerb("queues", "queues", columns("vhost", "name", "type", "durable", "policy", "ready:messages_ready", "unacked:messages_unacknowledged", "consumers"), true),
		inVHost(verb("purge NAME", "Drop the messages that are ready in a queue", cobra.ExactArgs(1),
			func(r *remote, cmd *cobra.Command, args []string) error {
				if err := r.change(http.MethodDelete, path("queues", vhostOf(cmd), args[0], "contents"), nil); err != nil {
					return within(err, cmd, "queue", args[0])
				}
				return r.done("queue %s in vhost %s purged", args[0], vhostOf(cmd))
			})),
		remove,
	)
}

func exchangesCommand() *cobra.Command {
	remove := deleteVerb("exchange", "exchanges")
	remove.Flags().Bool("if-unused", false, "only when nothing is bound to it")
	return group("exchanges", "Look after exchanges",
		listVerb("exchanges", "exchanges", columns("vhost", "name", "type", "durable", "internal", "policy"), true),
		remove,
	)
}

// deleteVerb is a command that deletes something of a virtual host.
func deleteVerb(kind, at string) *cobra.Command {
	return inVHost(verb("delete NAME", "Delete a "+kind, cobra.ExactArgs(1), func(r *remote, cmd *cobra.Command, args []string) error {
		query := url.Values{}
		for _, condition := range []string{"if-unused", "if-empty"} {
			if f := cmd.Flag(condition); f != nil && f.Changed {
				query.Set(condition, f.Value.String())
			}
		}
		if err := r.change(http.MethodDelete, path(at, vhostOf(cmd), args[0])+"?"+query.Encode(), nil); err != nil {
			return within(err, cmd, kind, args[0])
		}
		return r.done("%s %s in vhost %s deleted", kind, args[0], vhostOf(cmd))
	}))
}

func bindingsCommand() *cobra.Command {
	remove := inVHost(verb("delete SOURCE DESTINATION", "Delete a binding", cobra.ExactArgs(2), deleteBinding))
	remove.Flags().String("key", "", "its routing key")
	remove.Flags().String("properties", "", "its properties, as the list shows them, when it has arguments")
	remove.Flags().Bool("exchange", false, "the destination is an exchange")
	remove.MarkFlagsMutuallyExclusive("key", "properties")
	return group("bindings", "Look after bindings",
		listVerb("bindings", "bindings", columns("vhost", "source", "to:destination_type", "destination", "key:routing_key", "arguments", "properties:properties_key"), true),
		remove,
	)
}

func deleteBinding(r *remote, cmd *cobra.Command, args []string) error {
	kind := "q"
	if cmd.Flag("exchange").Value.String() == "true" {
		kind = "e"
	}
	at := []string{"bindings", vhostOf(cmd), "e", args[0], kind, args[1]}
	var all []struct {
		RoutingKey string         `json:"routing_key"`
		Properties string         `json:"properties_key"`
		Arguments  map[string]any `json:"arguments"`
	}
	if err := r.get(path(at...), &all); err != nil {
		return within(err, cmd, "binding between", args[0]+" and "+args[1])
	}
	properties := cmd.Flag("properties").Value.String()
	if !cmd.Flags().Changed("properties") {
		for _, b := range all {
			if b.RoutingKey == cmd.Flag("key").Value.String() && len(b.Arguments) == 0 {
				properties = b.Properties
			}
		}
	}
	if properties == "" {
		return fmt.Errorf("there is no binding from %s to %s with key %q and without arguments in vhost %s",
			args[0], args[1], cmd.Flag("key").Value.String(), vhostOf(cmd))
	}
	if err := r.change(http.MethodDelete, path(append(at, properties)...), nil); err != nil {
		return within(err, cmd, "binding", properties)
	}
	return r.done("binding from %s to %s in vhost %s deleted", args[0], args[1], vhostOf(cmd))
}

func connectionsCommand() *cobra.Command {
	cut := verb("close NAME", "Close a connection", cobra.ExactArgs(1), func(r *remote, cmd *cobra.Command, args []string) error {
		if err := r.change(http.MethodDelete, path("connections", args[0]), nil, "X-Reason", cmd.Flag("reason").Value.String()); err != nil {
			return named(err, "connection", args[0])
		}
		return r.done("connection %s closed", args[0])
	})
	cut.Aliases = []string{"delete"}
	cut.Flags().String("reason", "Closed by an operator", "what its client is told")
	return group("connections", "Look after connections",
		listVerb("connections", "connections", columns("name", "user", "vhost", "state", "channels", "client:client_properties.product", "called:user_provided_name"), false),
		cut,
	)
}

func consumersCommand() *cobra.Command {
	extend := inVHost(verb("extend CHANNEL TAG", "Give a consumer its whole acknowledgement timeout again", cobra.ExactArgs(2),
		func(r *remote, cmd *cobra.Command, args []string) error {
			delivery, err := cmd.Flags().GetUint64("delivery")
			if err != nil {
				return err
			}
			body := map[string]uint64{"delivery_tag": delivery}
			err = r.change(http.MethodPost, path("consumers", vhostOf(cmd), args[0], args[1], "extend"), body)
			var no *management.Refusal
			switch {
			case errors.As(err, &no) && no.Word == "not_found": // it says what is not there
				return errors.New(no.Reason)
			case err != nil:
				return within(err, cmd, "channel", args[0])
			}
			return r.done("consumer %s on channel %s in vhost %s extended", args[1], args[0], vhostOf(cmd))
		}))
	extend.Long = "Give a consumer its whole acknowledgement timeout again, for all that is out with it.\n" +
		"CHANNEL and TAG are as \"leveret consumers list\" shows them; with - for CHANNEL it is the one that has TAG."
	extend.Flags().Uint64("delivery", 0, "the tag of one delivery, for which alone it counts")
	return group("consumers", "Look after consumers",
		listVerb("consumers", "consumers", columns("vhost:queue.vhost", "queue:queue.name", "channel:channel_details.name", "tag:consumer_tag", "ack:ack_required", "prefetch:prefetch_count", "active"), true),
		extend,
	)
}
