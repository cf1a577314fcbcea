// Command leveret is the broker and the verbs that go with it. It reads the
// configuration, starts the node and stops it; what a broker does is in the packages
// below.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
)

func main() {
	err := command().Execute()
	if err == nil {
		return
	}
	if !errors.Is(err, errLogged) {
		fmt.Fprintln(os.Stderr, "leveret:", err)
	}
	os.Exit(1)
}

// errLogged stands for an error that the log has told already.
var errLogged = errors.New("see the log")

// command is the program: serve when no verb is given.
func command() *cobra.Command {
	root := &cobra.Command{
		Use:           "leveret",
		Short:         "A message broker that speaks AMQP 0-9-1",
		Long:          "Leveret is a message broker that speaks AMQP 0-9-1. Without a verb it serves.",
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          serve,
	}
	config.Flags(root.PersistentFlags())
	root.AddCommand(
		&cobra.Command{
			Use:   "serve",
			Short: "Run the broker",
			Args:  cobra.NoArgs,
			RunE:  serve,
		},
		configCommand(),
		validateCommand(),
		healthcheckCommand(),
		benchCommand(),
		backupCommand(),
		restoreCommand(),
		storeCommand(),
		usersCommand(),
		vhostsCommand(),
		permissionsCommand(),
		topicPermissionsCommand(),
		policiesCommand(),
		operatorPoliciesCommand(),
		queuesCommand(),
		exchangesCommand(),
		bindingsCommand(),
		connectionsCommand(),
		consumersCommand(),
		definitionsCommand(),
		versionCommand(),
	)
	return root
}

// effective is the configuration that a broker started with the same flags, in the same
// place, would have.
func effective(cmd *cobra.Command) (config.Config, error) {
	return config.Load(config.Process(cmd.Flags()))
}
