package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/management"
	"github.com/leveretmq/leveret/metrics"
	"github.com/leveretmq/leveret/persistence"
)

// managementServer answers the management API: over TCP for those who log in, and for the
// verbs of the command on a socket in the data directory. A node in memory has no socket:
// the directory is nobody's. The zero value listens nowhere.
type managementServer struct {
	servers   []*http.Server
	listeners []net.Listener // over TCP
	secure    []net.Listener // those with TLS
	serving   sync.WaitGroup
}

// start listens. The store is open, so no other broker has the directory. Requests that come
// before it returns are answered.
func (m *managementServer) start(c config.Config, t *tls.Config, o management.Options, log zerolog.Logger) error {
	err := m.listen(&m.listeners, c.ManagementListen)
	if err == nil && t != nil {
		err = m.listen(&m.secure, c.TLS.ManagementListen)
	}
	if err != nil {
		return err
	}
	open := management.Server(management.Handler(o), log)
	m.servers = append(m.servers, open)
	for _, l := range m.listeners {
		log.Info().Stringer("address", l.Addr()).Msg("listening for management")
		m.serve(open, l, log)
	}
	for _, l := range m.secure {
		log.Info().Stringer("address", l.Addr()).Msg("listening for management with TLS")
		m.serve(open, tls.NewListener(l, t), log)
	}
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
	o.Trusted = true
	trusted := management.Server(management.Handler(o), log)
	m.servers = append(m.servers, trusted)
	log.Info().Str("socket", filepath.Join(c.DataDir, management.SocketName)).Msg("listening for management")
	m.serve(trusted, l, log)
	return nil
}

// listen adds listeners. When it cannot, it takes all there are away.
func (m *managementServer) listen(to *[]net.Listener, addresses []string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			for _, l := range slices.Concat(m.listeners, m.secure) {
				err = errors.Join(err, l.Close())
			}
			return fmt.Errorf("listen on %s for management: %w", address, err)
		}
		*to = append(*to, l)
	}
	return nil
}

func (m *managementServer) serve(s *http.Server, l net.Listener, log zerolog.Logger) {
	m.serving.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error().Err(err).Msg("management is not answered any more")
		}
	})
}

// stop cuts off whoever is being answered and waits until nobody is accepted any more.
func (m *managementServer) stop() {
	for _, s := range m.servers {
		// What it could say is that a listener was closed already.
		_ = s.Close()
	}
	m.serving.Wait()
}

func addressesOf(listeners []net.Listener) []net.Addr {
	var all []net.Addr
	for _, l := range listeners {
		all = append(all, l.Addr())
	}
	return all
}

// managementOptions are those of the API of this node.
func (n *Node) managementOptions(c config.Config, o Options, started time.Time) management.Options {
	return management.Options{
		Log:      n.log,
		Broker:   n.broker,
		Clock:    n.clock.now,
		Backuper: backuper{n.store, n.log},

		MaxMessageBytes: int(c.AMQP.MaxMessageSize),
		Node: func() management.Node {
			p := metrics.ReadProcess(c.DataDir)
			return management.Node{
				Name:          c.NodeName,
				ClusterID:     n.store.ID(),
				Version:       o.Version,
				CompatVersion: c.AMQP.CompatVersion,
				Started:       started,
				Listeners:     n.listeners(),

				CertificateEnds: n.certificateEnds(),
				MostConnections: c.AMQP.MaxConnections,

				DataDir:     c.DataDir,
				ConfigFiles: c.Files,
				MemoryUsed:  p.Memory,
				MemoryLimit: n.watch.memoryLimit(),
				DiskFree:    p.DiskFree,
				DiskLimit:   n.watch.diskLimit(),
				OpenFiles:   p.OpenFiles,
				MostFiles:   p.MaxFiles,
			}
		},
	}
}

// listeners are all places where the node listens over TCP.
func (n *Node) listeners() []management.Listener {
	var all []management.Listener
	for _, of := range []struct {
		protocol  string
		addresses []net.Addr
	}{
		{"amqp", n.Addresses()}, {"amqp/ssl", n.TLSAddresses()}, {"http", n.ManagementAddresses()},
		{"https", n.ManagementTLSAddresses()}, {"http/prometheus", n.MetricsAddresses()},
	} {
		for _, a := range of.addresses {
			if t, ok := a.(*net.TCPAddr); ok {
				all = append(all, management.Listener{Protocol: of.protocol, Address: t.AddrPort()})
			}
		}
	}
	return all
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
