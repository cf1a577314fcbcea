package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/node"
	"github.com/leveretmq/leveret/persistence"
)

// storeCommand looks after the store of a broker that is not running.
func storeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "store",
		Short: "Look after the store of a broker that is not running",
		Args:  cobra.NoArgs,
	}
	c.AddCommand(
		&cobra.Command{
			Use:   "check",
			Short: "Read everything in the store and tell what is damaged; nothing is changed",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				dir, key, err := storeDir(cmd)
				if err != nil {
					return err
				}
				r, err := persistence.Check(dir, key)
				if err != nil {
					return err
				}
				return tellStore(cmd, r, errDamaged)
			},
		},
		&cobra.Command{
			Use:   "repair",
			Short: "Take what is damaged out of the store, so that it starts, and tell which messages went with it",
			Args:  cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				dir, key, err := storeDir(cmd)
				if err != nil {
					return err
				}
				r, err := persistence.Repair(dir, key, time.Now(), zerolog.Nop())
				if err != nil {
					return err
				}
				return tellStore(cmd, r, nil)
			},
		},
	)
	return c
}

// errDamaged is what ends a check that found something.
var errDamaged = errors.New("the store is damaged")

// storeDir is where the store is, and the key it is encrypted with.
func storeDir(cmd *cobra.Command) (dir string, key []byte, err error) {
	c, err := effective(cmd)
	if err == nil {
		key, err = node.EncryptionKey(c, zerolog.New(cmd.ErrOrStderr()))
	}
	return filepath.Join(c.DataDir, "store"), key, err
}

// tellStore prints what was found, and returns damaged when anything is wrong.
func tellStore(cmd *cobra.Command, r persistence.Report, damaged error) error {
	out := cmd.OutOrStdout()
	for _, p := range r.Problems {
		if _, err := fmt.Fprintln(out, p.String()); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(out, "%d queues, %d messages, %d bytes, %d problems\n", r.Queues, r.Messages, r.Bytes, len(r.Problems))
	if err == nil && len(r.Problems) > 0 {
		err = damaged
	}
	return err
}
