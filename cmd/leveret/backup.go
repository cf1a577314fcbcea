package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/management"
	"github.com/leveretmq/leveret/persistence"
)

// partialExt is what a backup is called until all of it is on disk.
const partialExt = ".partial"

func backupCommand() *cobra.Command {
	force := false
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Save everything declared and every durable message, while the broker runs",
		Long: "Save everything declared and every durable message, as they are at one moment, in FILE, or\n" +
			"on standard output when it is -. The broker of this configuration is asked for it and goes\n" +
			"on; when none runs, its store is read. The file is for its owner alone, and holds messages\n" +
			"as they are. What is damaged in the store is told, and makes the exit code 1, but the rest\n" +
			"is saved. While a backup is made, the disk of the broker gets no room back.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := effective(cmd)
			if err != nil {
				return err
			}
			// An interrupted backup leaves nothing behind.
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			b := backupOf{config: c, tell: cmd.ErrOrStderr()}
			if args[0] == "-" {
				info, err := b.write(ctx, cmd.OutOrStdout())
				return tellBackup(cmd.ErrOrStderr(), "saved", info, err)
			}
			info, err := b.save(ctx, args[0], force)
			return tellBackup(cmd.OutOrStdout(), "saved", info, err)
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE when it exists")
	return cmd
}

func restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a store of a backup, for a broker that has none yet",
		Long: "Make a store of the backup in FILE, or on standard input when it is -, in the data directory\n" +
			"of this configuration. There must be no store in it. The store is put in its place when the\n" +
			"whole backup has been read, verified, and found to start.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, key, err := storeDir(cmd)
			if err != nil {
				return err
			}
			in := cmd.InOrStdin()
			if args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			info, err := persistence.RestoreBackup(in, dir, key)
			return tellBackup(cmd.OutOrStdout(), "restored", info, err)
		},
	}
}

// errDamagedBackup is what ends a verb that has done what it could.
var errDamagedBackup = errors.New("something was damaged already when the backup was made, and may be missing")

// tellBackup prints what was saved or restored, unless err is why it was not.
func tellBackup(out io.Writer, did string, info persistence.BackupInfo, err error) error {
	if err != nil {
		return err
	}
	for _, p := range info.Problems {
		if _, err := fmt.Fprintln(out, p); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(out, "%s %d messages in %d queues, %d bytes of them; the backup has %d bytes and was made at %s\n",
		did, info.Messages, info.Queues, info.Bytes, info.Size, info.Created.Format("2006-01-02 15:04:05 -0700")); err != nil {
		return err
	}
	if info.Damaged > 0 {
		return fmt.Errorf("%w: %d problems", errDamagedBackup, info.Damaged)
	}
	return nil
}

// backupOf makes a backup of the broker of a configuration.
type backupOf struct {
	config config.Config
	tell   io.Writer
}

// save makes one in a file, which is there when all of it is on disk, or as it was.
func (b *backupOf) save(ctx context.Context, name string, force bool) (persistence.BackupInfo, error) {
	if err := replaceable(name, force); err != nil {
		return persistence.BackupInfo{}, err
	}
	partial := name + partialExt
	if err := os.Remove(partial); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return persistence.BackupInfo{}, err
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return persistence.BackupInfo{}, err
	}
	info, err := b.write(ctx, f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = replaceable(name, force) // it took a while
	}
	if err == nil {
		err = os.Rename(partial, name)
	}
	if err != nil {
		return info, errors.Join(err, os.Remove(partial))
	}
	return info, syncDir(filepath.Dir(name))
}

// replaceable tells whether a backup may be put under name.
func replaceable(name string, force bool) error {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a directory", name)
	case !force:
		return fmt.Errorf("%s exists already; --force replaces it", name)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// write makes one and writes it to w. It is verified on the way.
func (b *backupOf) write(ctx context.Context, w io.Writer) (persistence.BackupInfo, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://leveret"+management.BackupPath, nil)
	if err != nil {
		return persistence.BackupInfo{}, err
	}
	answer, err := management.Client(b.config.DataDir).Do(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return b.writeStopped(ctx, w)
	}
	if err != nil {
		return persistence.BackupInfo{}, fmt.Errorf("ask the broker for a backup: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return persistence.BackupInfo{}, fmt.Errorf("the broker makes no backup: %w", management.Refused(answer))
	}
	return persistence.ReadBackup(io.TeeReader(answer.Body, w))
}

// writeStopped makes one of a broker that does not run: it opens the store.
func (b *backupOf) writeStopped(ctx context.Context, w io.Writer) (info persistence.BackupInfo, err error) {
	dir := filepath.Join(b.config.DataDir, "store")
	if files, err := os.ReadDir(dir); len(files) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
		return info, fmt.Errorf("no broker runs with the data directory %s, and there is no store in it", b.config.DataDir)
	}
	s, err := persistence.Open(dir, persistence.Options{Logger: zerolog.Nop(), Ballast: int64(b.config.Store.Ballast)})
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if _, err := fmt.Fprintln(b.tell, "the broker does not run: its store is read"); err != nil {
		return info, err
	}
	return s.Backup(ctx, w)
}
