package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/node"
)

// serve runs the broker until it is told to stop, or its store fails.
func serve(cmd *cobra.Command, _ []string) error {
	c, err := effective(cmd)
	if err != nil {
		return err
	}
	// A log that nobody reads any more must not end the broker.
	signal.Ignore(syscall.SIGPIPE)
	stop := stopSignals()
	log, err := newLogger(os.Stderr, c.Log)
	if err != nil {
		return err
	}
	return run(c, log, stop)
}

// run is a broker's life.
func run(c config.Config, log zerolog.Logger, stop <-chan os.Signal) error {
	b := thisBuild()
	announce(c, b, log)
	keepHeapSmall()
	n, err := node.Start(c, node.Options{Log: log, Version: b.Version, RelaxHeap: limitHeap(c)})
	if err != nil {
		log.Error().Err(err).Msg("cannot start")
		return errLogged
	}
	defer reloadOn(syscall.SIGHUP, n.Reload)()
	log.Info().Msg("Server startup complete")
	return await(n, log, stop)
}

// reloadOn calls reload for each such signal, until what it returns is called.
func reloadOn(s os.Signal, reload func()) (end func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, s)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for {
			select {
			case <-signals:
				reload()
			case <-done:
				return
			}
		}
	})
	return func() {
		signal.Stop(signals)
		close(done)
		waiting.Wait()
	}
}

// running is a node as far as its end goes.
type running interface {
	Failed() <-chan struct{}
	Stop(context.Context) error
}

// await waits for the reason to stop, and stops.
func await(n running, log zerolog.Logger, stop <-chan os.Signal) error {
	select {
	case s := <-stop:
		log.Info().Stringer("signal", s).Msg("shutting down")
		if err := n.Stop(context.Background()); err != nil {
			log.Error().Err(err).Msg("stopped, but not cleanly")
			return errLogged
		}
		log.Info().Msg("stopped")
		return nil
	case <-n.Failed():
		// Nothing that clients are waiting for can be answered truthfully any more (P6).
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		log.Error().Err(n.Stop(gone)).Msg("stopped because the store failed; what was confirmed is on disk")
		return errLogged
	}
}

// stopSignals delivers the first request to stop. A second one ends the process at once.
func stopSignals() <-chan os.Signal {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	first := make(chan os.Signal, 1)
	go func() {
		first <- <-signals
		<-signals
		os.Exit(1)
	}()
	return first
}

// announce is the banner: what this is and where its data is.
func announce(c config.Config, b build, log zerolog.Logger) {
	dir := c.DataDir
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	log.Info().Str("version", b.Version).Str("commit", b.Commit).Str("go", b.Go).Str("node", c.NodeName).
		Str("store", c.Store.Backend).Str("data_dir", dir).Strs("files", c.Files).Msg("Leveret starts")
	if len(c.Ignored) > 0 {
		log.Warn().Strs("variables", c.Ignored).Msg("variables of the environment that name no setting are ignored")
	}
}
