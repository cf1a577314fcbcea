package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Files are where things are, in PEM. CA and CRL may be empty.
type Files struct {
	Certificate string // of the server, followed by those between it and an authority
	Key         string // of the certificate, not encrypted
	CA          string // the authorities that clients' certificates come from
	CRL         string // lists of revoked certificates, each of an authority in CA
}

// mostBytes is how long a file may be. A bundle of all public authorities has a quarter of a
// megabyte; lists of what they have revoked can be longer.
const mostBytes = 16 << 20

// contents are what files held when they were looked at.
type contents struct{ certificate, key, ca, crl []byte }

func (f *Files) read() (*contents, error) {
	var c contents
	for _, each := range []struct {
		name string
		into *[]byte
	}{{f.Certificate, &c.certificate}, {f.Key, &c.key}, {f.CA, &c.ca}, {f.CRL, &c.crl}} {
		if each.name == "" {
			continue
		}
		b, err := readFile(each.name)
		if err != nil {
			return nil, err
		}
		*each.into = b
	}
	return &c, nil
}

// readFile reads what is not too long to be what it should be.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, mostBytes+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", name, err)
	case len(b) > mostBytes:
		return nil, fmt.Errorf("%s has more than %d bytes", name, mostBytes)
	}
	return b, nil
}

func (c *contents) equal(o *contents) bool {
	return bytes.Equal(c.certificate, o.certificate) && bytes.Equal(c.key, o.key) && bytes.Equal(c.ca, o.ca) && bytes.Equal(c.crl, o.crl)
}

// material is what contents mean. It is never changed.
type material struct {
	contents    contents
	certificate tls.Certificate
	authorities *x509.CertPool
	revoked     map[revocation]bool
	nextUpdate  time.Time // of the list that is out of date first; zero without one
}

// removeFromCRL is the reason that takes a certificate off a list (RFC 5280, 5.3.1).
const removeFromCRL = 8

// revocation is a certificate that was revoked: the name of its authority, and its number.
type revocation struct{ issuer, serial string }

func (c *contents) parse(f Files) (*material, error) {
	m := &material{contents: *c}
	var err error
	if m.certificate, err = tls.X509KeyPair(c.certificate, c.key); err != nil {
		return nil, fmt.Errorf("certificate %s with key %s: %w", f.Certificate, f.Key, err)
	}
	authorities, err := parseAuthorities(c.ca)
	if err != nil {
		return nil, fmt.Errorf("authorities %s: %w", f.CA, err)
	}
	if f.CA != "" && len(authorities) == 0 {
		return nil, fmt.Errorf("authorities %s: there is no certificate in it", f.CA)
	}
	m.authorities = x509.NewCertPool()
	for _, a := range authorities {
		m.authorities.AddCert(a)
	}
	if f.CRL != "" {
		if err := m.parseRevoked(c.crl, authorities); err != nil {
			return nil, fmt.Errorf("revoked certificates %s: %w", f.CRL, err)
		}
	}
	return m, nil
}

// parseAuthorities wants the whole file to make sense, or one that is half written would lock
// out those whose authority comes last.
func parseAuthorities(b []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	err := eachBlock(b, "CERTIFICATE", func(der []byte) error {
		a, err := x509.ParseCertificate(der)
		all = append(all, a)
		return err
	})
	return all, err
}

// parseRevoked reads lists of revoked certificates. Whose list it is has to be known, or
// nothing would come of it.
func (m *material) parseRevoked(b []byte, authorities []*x509.Certificate) error {
	lists := 0
	m.revoked = make(map[revocation]bool)
	err := eachBlock(b, "X509 CRL", func(der []byte) error {
		lists++
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return err
		}
		if !signed(list, authorities) {
			return errors.New("a list is not signed by any of the authorities")
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.ReasonCode == removeFromCRL {
				continue
			}
			m.revoked[revocation{string(list.RawIssuer), e.SerialNumber.String()}] = true
		}
		if next := list.NextUpdate; !next.IsZero() && (m.nextUpdate.IsZero() || next.Before(m.nextUpdate)) {
			m.nextUpdate = next
		}
		return nil
	})
	if err == nil && lists == 0 {
		err = errors.New("there is no list in it")
	}
	return err
}

func signed(list *x509.RevocationList, authorities []*x509.Certificate) bool {
	for _, a := range authorities {
		if bytes.Equal(a.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(a) == nil {
			return true
		}
	}
	return false
}

// eachBlock hands over the blocks of a kind. What stands between blocks is for people, but a
// block that has no end is half a file.
func eachBlock(b []byte, kind string, f func(der []byte) error) error {
	for {
		block, rest := pem.Decode(b)
		if block == nil {
			if bytes.Contains(b, []byte("-----BEGIN")) {
				return errors.New("it ends in the middle")
			}
			return nil
		}
		if block.Type == kind {
			if err := f(block.Bytes); err != nil {
				return err
			}
		}
		b = rest
	}
}

// checkRevoked refuses a client one of whose certificates, up to its authority, was revoked, as
// long as no other way leads from it to an authority. Without a certificate there is nothing to
// refuse here.
func (m *material) checkRevoked(s tls.ConnectionState) error {
	if len(m.revoked) == 0 || len(s.VerifiedChains) == 0 {
		return nil
	}
	for _, chain := range s.VerifiedChains {
		if !m.anyRevoked(chain) {
			return nil
		}
	}
	return ErrRevoked
}

func (m *material) anyRevoked(chain []*x509.Certificate) bool {
	for _, c := range chain {
		if m.revoked[revocation{string(c.RawIssuer), c.SerialNumber.String()}] {
			return true
		}
	}
	return false
}

func (m *material) outdated(now time.Time) bool {
	return !m.nextUpdate.IsZero() && now.After(m.nextUpdate)
}

// notAfter is when the first certificate of the chain ends.
func (m *material) notAfter() time.Time {
	first := m.certificate.Leaf.NotAfter
	for _, der := range m.certificate.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil && c.NotAfter.Before(first) {
			first = c.NotAfter
		}
	}
	return first
}
