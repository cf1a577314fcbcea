package certificates

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Verify says what is asked of clients.
type Verify uint8

// What can be asked of clients.
const (
	None     Verify = iota // they are not asked for a certificate
	Optional               // they may have none; one they show has to be good
	Required               // they have to show a good one
)

// Options are the settings of a Store.
type Options struct {
	Files Files
	// MinVersion is tls.VersionTLS12 or tls.VersionTLS13; 0 stands for the former.
	MinVersion uint16
	Log        zerolog.Logger
}

// Store has the certificates that are current.
type Store struct {
	opts    Options
	current atomic.Pointer[material]

	reloads, failures atomic.Uint64

	mu      sync.Mutex // guards the fields below
	refused *contents  // what was looked at last and cannot be used; nil when it can
	why     string     // it cannot
	stale   bool       // a list of revoked certificates is out of date, and the log knows

	end      func()
	watching sync.WaitGroup
}

// Load reads the files. Its error names the one that cannot be used.
func Load(o Options) (*Store, error) {
	c, err := o.Files.read()
	if err != nil {
		return nil, err
	}
	m, err := c.parse(o.Files)
	if err != nil {
		return nil, err
	}
	s := &Store{opts: o, end: func() {}}
	if s.opts.MinVersion == 0 {
		s.opts.MinVersion = tls.VersionTLS12
	}
	s.current.Store(m)
	s.look(time.Now())
	return s, nil
}

// Watch looks at the files every so often until Close. What they hold is compared, so that it
// makes no difference whether a file was written, renamed to or is reached through a link that
// was changed.
func (s *Store) Watch(every time.Duration) {
	ctx, end := context.WithCancel(context.Background())
	s.end = end
	s.watching.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				// What is wrong is in the log.
				_ = s.reload(false)
			case <-ctx.Done():
				return
			}
		}
	})
}

// Close ends Watch. The configurations that were handed out remain good.
func (s *Store) Close() {
	s.end()
	s.watching.Wait()
}

// Reload looks at the files now. New connections get what they hold; when they cannot be used
// everything stays as it was, and the log and the error say why.
func (s *Store) Reload() error { return s.reload(true) }

// reload looks at the files, and says what is known already only when it was asked.
func (s *Store) reload(asked bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	c, err := s.opts.Files.read()
	if err == nil && c.equal(&s.current.Load().contents) {
		if s.refused != nil || s.why != "" {
			s.opts.Log.Info().Msg("TLS certificates are again those in use")
		} else if asked {
			s.opts.Log.Info().Msg("TLS certificates have not changed")
		}
		s.refused, s.why = nil, ""
		s.look(now)
		return nil
	}
	var m *material
	if err == nil {
		m, err = c.parse(s.opts.Files)
	}
	if err != nil {
		known := err.Error() == s.why && (c == nil) == (s.refused == nil) && (c == nil || c.equal(s.refused))
		s.refused, s.why = c, err.Error()
		if !known {
			s.failures.Add(1)
		}
		if asked || !known {
			s.opts.Log.Warn().Err(err).Msg("TLS certificates cannot be taken from their files, those from before stay in use")
		}
		return err
	}
	s.refused, s.why = nil, ""
	s.current.Store(m)
	s.reloads.Add(1)
	s.stale = false
	s.opts.Log.Info().Time("not_after", m.notAfter()).Msg("TLS certificates were replaced, new connections get the new ones")
	s.look(now)
	return nil
}

// look warns about what time does to what is in use. s.mu is held, or nobody has s yet.
func (s *Store) look(now time.Time) {
	m := s.current.Load()
	if !s.stale && m.outdated(now) {
		s.stale = true
		s.opts.Log.Warn().Str("file", s.opts.Files.CRL).
			Msg("the list of revoked certificates is out of date: certificates revoked since are let in")
	}
}

// Stats are what a Store tells about itself.
type Stats struct {
	NotAfter time.Time // when the first certificate of the server's chain is of no use any more
	Reloads  uint64    // how often the files were replaced
	Failures uint64    // how often they could not be used
}

// Stats are the figures of s.
func (s *Store) Stats() Stats {
	return Stats{s.current.Load().notAfter(), s.reloads.Load(), s.failures.Load()}
}

// Config is what a listener is made with. Each handshake takes the certificates that are
// current when it begins. protocols are those offered by ALPN; with none, whatever a client
// asks for is passed over.
func (s *Store) Config(v Verify, protocols ...string) *tls.Config {
	base := s.config(v, protocols)
	base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.config(v, protocols), nil }
	return base
}

func (s *Store) config(v Verify, protocols []string) *tls.Config {
	m := s.current.Load()
	c := &tls.Config{
		MinVersion:   s.opts.MinVersion,
		Certificates: []tls.Certificate{m.certificate},
		CipherSuites: suites(),
		NextProtos:   slices.Clone(protocols),
	}
	if v == None {
		return c
	}
	c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, m.authorities
	if v == Required {
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	// A session that is resumed would bring a certificate that was good when it began.
	c.SessionTicketsDisabled = true
	c.VerifyConnection = m.checkRevoked
	return c
}

// suites are those of TLS 1.2 without known weaknesses, whatever the environment says. Those
// of 1.3 are not for anybody to choose.
func suites() []uint16 {
	var ids []uint16
	for _, s := range tls.CipherSuites() {
		ids = append(ids, s.ID)
	}
	return ids
}

// ErrRevoked is why a client whose certificate was revoked is refused.
var ErrRevoked = errors.New("certificate was revoked")
