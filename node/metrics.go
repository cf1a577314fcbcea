package node

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/metrics"
)

// metricsServer answers Prometheus. The zero value has no listener.
type metricsServer struct {
	http      *http.Server
	listeners []net.Listener
	serving   sync.WaitGroup
}

func (m *metricsServer) start(addresses []string, h http.Handler, log zerolog.Logger) error {
	m.http = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
	}
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return fmt.Errorf("listen on %s for metrics: %w", address, err)
		}
		m.listeners = append(m.listeners, l)
		log.Info().Stringer("address", l.Addr()).Msg("listening for metrics")
		m.serving.Go(func() {
			if err := m.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				log.Error().Err(err).Msg("metrics are not answered any more")
			}
		})
	}
	return nil
}

// stop cuts off whoever is being answered and waits until nobody is.
func (m *metricsServer) stop() {
	if m.http == nil {
		return
	}
	// What it could say is that a listener was closed already.
	_ = m.http.Close()
	m.serving.Wait()
}

func (m *metricsServer) addresses() []net.Addr {
	var all []net.Addr
	for _, l := range m.listeners {
		all = append(all, l.Addr())
	}
	return all
}

// metricsHandler is the page of this node.
func (n *Node) metricsHandler(c config.Config, o Options, started time.Time) http.Handler {
	var certificates func() metrics.CertificateStats
	if n.certificates != nil {
		certificates = func() metrics.CertificateStats {
			s := n.certificates.Stats()
			return metrics.CertificateStats{NotAfter: s.NotAfter, Reloads: s.Reloads, Failures: s.Failures}
		}
	}
	return metrics.Handler(metrics.Options{
		Certificates:  certificates,
		Broker:        n.broker,
		Node:          c.NodeName,
		ClusterID:     n.store.ID(),
		Version:       o.Version,
		CompatVersion: c.AMQP.CompatVersion,
		Started:       started,
		DataDir:       c.DataDir,
		DiskFreeLimit: n.watch.diskLimit(),
		MemoryLimit:   n.watch.memoryLimit(),
		Store: func() metrics.StoreStats {
			s := n.store.Stats()
			return metrics.StoreStats{
				Groups:        s.Groups,
				Transactions:  s.Transactions,
				Messages:      s.Messages,
				Bytes:         s.Bytes,
				CommitTime:    s.CommitTime,
				UnstoredBytes: s.Unstored,
				SpilledBytes:  s.Spilled,
				Damaged:       s.Damaged,
			}
		},
	})
}
