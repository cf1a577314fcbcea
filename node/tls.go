package node

import (
	"crypto/tls"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/certificates"
	"github.com/leveretmq/leveret/config"
)

// loadCertificates is nil without TLS.
func loadCertificates(c config.TLS, log zerolog.Logger) (*certificates.Store, error) {
	if !c.Enabled() {
		return nil, nil
	}
	minVersion := uint16(tls.VersionTLS12)
	if c.MinVersion == "1.3" {
		minVersion = tls.VersionTLS13
	}
	s, err := certificates.Load(certificates.Options{
		Files:      certificates.Files{Certificate: c.CertFile, Key: c.KeyFile, CA: c.CAFile, CRL: c.CRLFile},
		MinVersion: minVersion,
		Log:        log,
	})
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	if c.ReloadInterval > 0 {
		s.Watch(c.ReloadInterval)
	}
	return s, nil
}

// verifies are the words of the configuration.
var verifies = map[string]certificates.Verify{
	"none": certificates.None, "optional": certificates.Optional, "required": certificates.Required,
}

// amqpTLS is what AMQP clients find; nil without TLS.
func (n *Node) amqpTLS(c config.TLS) *tls.Config {
	if n.certificates == nil {
		return nil
	}
	return n.certificates.Config(verifies[c.Verify])
}

// managementTLS is the same for those of the management API.
func (n *Node) managementTLS(c config.TLS) *tls.Config {
	if n.certificates == nil {
		return nil
	}
	return n.certificates.Config(verifies[c.ManagementVerify], "http/1.1")
}

// certificateEnds is when that of this node does; zero without one.
func (n *Node) certificateEnds() time.Time {
	if n.certificates == nil {
		return time.Time{}
	}
	return n.certificates.Stats().NotAfter
}

// Reload takes what may change while the node runs: the files of TLS. What cannot be taken
// stays as it was, and the log says why.
func (n *Node) Reload() {
	if n.certificates == nil {
		n.log.Info().Msg("asked to reload, but without TLS there is nothing to")
		return
	}
	// What is wrong is in the log.
	_ = n.certificates.Reload()
}
