package main

import (
	"errors"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/leveretmq/leveret/bench"
)

// benchCommand puts any AMQP 0-9-1 broker under load. Its flags are the load generator's
// own.
func benchCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "bench SCENARIO...",
		Short:              "Put a broker under load and tell what that costs it",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			err := bench.Command(ctx, "leveret bench", args, cmd.OutOrStdout(), cmd.ErrOrStderr())
			if errors.Is(err, pflag.ErrHelp) {
				return nil
			}
			return err
		},
	}
}
