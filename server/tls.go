package server

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/certificates"
)

// shake has client and server agree on TLS, which may take no longer than it may (B1).
func (s *Server) shake(nc net.Conn) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(s.shaking, s.opts.TLSHandshakeTimeout)
	defer cancel()
	c := tls.Server(nc, s.opts.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// unshaken ends a connection whose handshake failed with err. There is one line about it, but
// none for a client that only looked whether somebody listens (W-8), or that had to give way to
// another.
func (s *Server) unshaken(nc net.Conn, err error) {
	defer nc.Close()
	log := s.log.With().Str("conn", nameOf(nc)).Logger()
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, net.ErrClosed) {
		log.Debug().Msg("connection closed before anything was said")
		return
	}
	s.b.Counters.HandshakesFailed.Add(1)
	log.Warn().Str("reason", certificates.Reason(err)).Msg("TLS handshake failed")
	// What the client has sent meanwhile would have it miss why, if it stayed unread.
	linger(nc, nc)
}

func nameOf(nc net.Conn) string { return fmt.Sprintf("%v -> %v", nc.RemoteAddr(), nc.LocalAddr()) }

// describeTLS says what was agreed on, as RabbitMQ's API does.
func describeTLS(s tls.ConnectionState) *broker.TLSInfo {
	exchange, rest, found := strings.Cut(strings.ToLower(strings.TrimPrefix(tls.CipherSuiteName(s.CipherSuite), "TLS_")), "_with_")
	if !found { // TLS 1.3 leaves it open
		exchange, rest = "any", exchange
	}
	cipher, hash := rest, ""
	if i := strings.LastIndexByte(rest, '_'); i > 0 {
		cipher, hash = rest[:i], rest[i+1:]
	}
	if !strings.HasSuffix(cipher, "_cbc") {
		hash = "aead"
	}
	info := &broker.TLSInfo{
		Version:     "tlsv" + strings.TrimPrefix(tls.VersionName(s.Version), "TLS "),
		KeyExchange: exchange,
		Cipher:      cipher,
		Hash:        hash,
	}
	if len(s.VerifiedChains) > 0 {
		info.PeerCertificate = s.PeerCertificates[0]
	}
	return info
}

// records gathers what is written into the largest records there can be: every write to a
// tls.Conn makes at least one of its own.
var records = sync.Pool{New: func() any { return bufio.NewWriterSize(nil, 16<<10) }}

// writeRecords writes slices to a connection with TLS.
func writeRecords(nc net.Conn, slices [][]byte) error {
	w, _ := records.Get().(*bufio.Writer)
	defer records.Put(w)
	defer w.Reset(nil) // nothing of a connection stays there
	w.Reset(nc)
	for _, b := range slices {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return w.Flush()
}
