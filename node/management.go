package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/management"
	"github.com/leveretmq/leveret/persistence"
)

// managementServer answers the verbs of the command on a socket in the data directory. The
// zero value has no listener, and neither has a node in memory: the directory is nobody's.
type managementServer struct {
	http    *http.Server
	serving sync.WaitGroup
}

// start listens. The store is open, so no other broker has the directory.
func (m *managementServer) start(c config.Config, h http.Handler, log zerolog.Logger) error {
	if storeDir(c) == "" {
		return nil
	}
	l, err := management.Listen(c.DataDir)
	if errors.Is(err, management.ErrPathTooLong) {
		log.Warn().Err(err).Msg("no verb reaches this broker while it runs: give it a data directory with a shorter path")
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen for management: %w", err)
	}
	m.http = management.Server(h, log)
	log.Info().Str("socket", filepath.Join(c.DataDir, management.SocketName)).Msg("listening for management")
	m.serving.Go(func() { m.serve(l, log) })
	return nil
}

func (m *managementServer) serve(l net.Listener, log zerolog.Logger) {
	if err := m.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		log.Error().Err(err).Msg("management is not answered any more")
	}
}

// stop cuts off whoever is being answered and waits until nobody is accepted any more.
func (m *managementServer) stop() {
	if m.http == nil {
		return
	}
	// What it could say is that the listener was closed already.
	_ = m.http.Close()
	m.serving.Wait()
}

// managementHandler is the API of this node, for those who are trusted.
func (n *Node) managementHandler() http.Handler {
	return management.Handler(management.Options{Log: n.log, Backuper: backuper{n.store, n.log}})
}

// backuper makes backups of a store.
type backuper struct {
	store *persistence.Store
	log   zerolog.Logger
}

// Backup implements management.Backuper.
func (b backuper) Backup(ctx context.Context, w io.Writer) error {
	b.log.Info().Msg("backup begins")
	info, err := b.store.Backup(ctx, w)
	switch {
	case errors.Is(err, persistence.ErrBackupRunning):
		return fmt.Errorf("%w: %w", management.ErrBusy, err)
	case err != nil:
		return err
	}
	b.log.Info().Int("queues", info.Queues).Uint64("messages", info.Messages).Int64("bytes", info.Size).
		Int("damaged", info.Damaged).Msg("backup made")
	return nil
}

// errShortOfDisk ends a backup: while it is made, what is consumed gives no room back.
var errShortOfDisk = errors.New("the disk of the broker runs short of room, and a backup keeps it from giving any back")

// setAlarm is what the watch does with an alarm.
func (n *Node) setAlarm(a broker.Alarm, on bool) {
	if a == broker.DiskAlarm && on {
		n.store.StopBackup(errShortOfDisk)
	}
	n.broker.SetAlarm(a, on)
}
