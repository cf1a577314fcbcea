package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/certificates"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/metrics"
	"github.com/leveretmq/leveret/persistence"
	"github.com/leveretmq/leveret/server"
	"github.com/leveretmq/leveret/topology"
)

// Options are what a node is told besides its configuration.
type Options struct {
	Log zerolog.Logger
	// Version is Leveret's own, as clients and metrics are told.
	Version string
	// RelaxHeap, if there is one, is called as the memory alarm comes and goes. While it is on,
	// collecting garbage again and again would make no room.
	RelaxHeap func(alarm bool)
}

// Node is a broker that runs.
type Node struct {
	log        zerolog.Logger
	store      *persistence.Store
	broker     *broker.Broker
	server     *server.Server
	metrics    metricsServer
	management managementServer
	watch      *watch
	clock      *clock
	relax      func(alarm bool)

	certificates *certificates.Store // nil without TLS
}

// Start makes a node of c, which is taken as valid. When it returns, everything
// configured is declared and on disk, and every listener accepts. Its error names what
// could not be had; nothing is left running then.
func Start(c config.Config, o Options) (*Node, error) {
	n := &Node{log: o.Log, relax: o.RelaxHeap}
	if err := n.start(c, o); err != nil {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		return nil, errors.Join(err, n.Stop(gone))
	}
	return n, nil
}

func (n *Node) start(c config.Config, o Options) (err error) {
	k := newClock()
	n.clock = k
	started := k.start
	if n.certificates, err = loadCertificates(c.TLS, o.Log); err != nil {
		return err
	}
	dir := storeDir(c)
	if dir != "" {
		k.compare(dir, o.Log)
	}
	if n.store, err = openStore(c, dir, o.Log); err != nil {
		return err
	}
	n.broker = broker.New(brokerOptions(c, k.now), n.store, n.store, rand.Reader)
	if err := n.broker.Restore(k.now(), n.store.Catalog(), n.store.Restore); err != nil {
		return err
	}
	n.store.Start()
	if err := loadDefinitions(k.now(), n.broker, c, o.Log); err != nil {
		return err
	}
	if err := declare(k.now(), n.broker, c.Topology); err != nil {
		return err
	}
	if err := n.settle(); err != nil {
		return fmt.Errorf("store what is declared at start: %w", err)
	}
	// The alarms that are due are on before anybody can publish.
	if err := n.watchFor(c, dir); err != nil {
		return err
	}
	n.watch.start()
	options := serverOptions(c, o, n.store, k.now)
	options.TLS, options.MaxNewcomers = n.amqpTLS(c.TLS), mostNewcomers(c.AMQP, metrics.ReadProcess(c.DataDir).MaxFiles)
	if n.server, err = server.Start(n.broker, options); err != nil {
		return err
	}
	if err := n.metrics.start(c.MetricsListen, n.metricsHandler(c, o, started), o.Log); err != nil {
		return err
	}
	if err := n.management.start(c, n.managementTLS(c.TLS), n.managementOptions(c, o, started), o.Log); err != nil {
		return err
	}
	n.warnAboutGuest()
	return nil
}

// storeDir is the directory of the store, empty for one in memory.
func storeDir(c config.Config) string {
	if c.Store.Backend == "memory" {
		return ""
	}
	return filepath.Join(c.DataDir, "store")
}

func openStore(c config.Config, dir string, log zerolog.Logger) (*persistence.Store, error) {
	o := persistence.Options{
		Logger:          log,
		MaxUnstored:     int64(c.Store.MaxUnstored),
		Ballast:         int64(c.Store.Ballast),
		JournalMax:      int64(c.Store.JournalMax),
		SystemReadahead: c.Store.Readahead == "system",
	}
	if dir == "" {
		if c.Store.EncryptionKeyFile != "" {
			log.Warn().Msg("store.encryption_key_file is not used: with the backend memory there is nothing to encrypt")
		}
		return persistence.NewMemory(o), nil
	}
	var err error
	if o.EncryptionKey, err = EncryptionKey(c, log); err != nil {
		return nil, err
	}
	return persistence.Open(dir, o)
}

// EncryptionKey is the key of the store, nil when it is not encrypted. It warns when the
// file it is in can be read by everybody on the machine.
func EncryptionKey(c config.Config, log zerolog.Logger) ([]byte, error) {
	name := c.Store.EncryptionKeyFile
	if name == "" {
		return nil, nil
	}
	key, exposed, err := persistence.ReadKey(name)
	if err != nil {
		return nil, fmt.Errorf("store.encryption_key_file: %w", err)
	}
	if exposed {
		log.Warn().Str("file", name).Msg("every user of this machine can read the key that the store is encrypted with: take that right away from the file")
	}
	return key, nil
}

// settle waits until everything declared so far is on disk: units are committed in the
// order they were written, so an empty one ends after all of them.
func (n *Node) settle() error {
	done := make(chan error, 1)
	n.store.Write(topology.Unit{}, func(err error) { done <- err })
	return <-done
}

// Broker is what runs in the node.
func (n *Node) Broker() *broker.Broker { return n.broker }

// Addresses are where AMQP clients connect to.
func (n *Node) Addresses() []net.Addr { return n.server.Addresses() }

// TLSAddresses are where AMQP clients connect to with TLS.
func (n *Node) TLSAddresses() []net.Addr { return n.server.TLSAddresses() }

// MetricsAddresses are where /metrics is answered.
func (n *Node) MetricsAddresses() []net.Addr { return n.metrics.addresses() }

// ManagementAddresses are where the management API is answered for those who log in.
func (n *Node) ManagementAddresses() []net.Addr { return addressesOf(n.management.listeners) }

// ManagementTLSAddresses are where it is answered over HTTPS.
func (n *Node) ManagementTLSAddresses() []net.Addr { return addressesOf(n.management.secure) }

// Failed is closed when the store has failed. Nothing is confirmed any more then, and the
// node has to be stopped and started again (P6).
func (n *Node) Failed() <-chan struct{} { return n.store.Failed() }

// Stop ends the node: clients are told to go and have until the shutdown timeout to
// answer, or until ctx ends; what they had not acknowledged goes back to its queues; the
// store is closed last. Its error is that of the store. It is called once.
func (n *Node) Stop(ctx context.Context) error {
	if n.server != nil {
		n.server.Shutdown(ctx)
	}
	n.management.stop()
	n.metrics.stop()
	if n.watch != nil {
		n.watch.close()
	}
	if n.certificates != nil {
		n.certificates.Close()
	}
	if n.store == nil {
		return nil
	}
	if err := n.store.Close(); err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}
