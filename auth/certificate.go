package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// What of a certificate is the name of the user it logs in, by the names RabbitMQ has for
// them (C-4).
const (
	CommonName             = "common_name"
	DistinguishedName      = "distinguished_name"
	SubjectAlternativeName = "subject_alternative_name"
)

// The kinds of subject alternative names a user can be named by.
const (
	DNSName     = "dns"
	EmailName   = "email"
	URIName     = "uri"
	AddressName = "ip"
)

// CertificateName says what of a certificate is the name of its user. The zero value takes
// the common name.
type CertificateName struct {
	From     string // CommonName, DistinguishedName or SubjectAlternativeName
	SANType  string // of SubjectAlternativeName: DNSName, EmailName, URIName or AddressName
	SANIndex int    // which of that type, from 0
}

// Of is the user that c, which somebody has verified, logs in. It is taken as it stands:
// nothing in it is a pattern, and what no user can be called is refused. The error wraps
// ErrRefused.
func (n CertificateName) Of(c *x509.Certificate) (string, error) {
	var name string
	var err error
	switch n.From {
	case DistinguishedName:
		name = DistinguishedNameOf(c.RawSubject)
	case SubjectAlternativeName:
		name, err = n.alternative(c)
	default:
		name, err = commonName(c.RawSubject)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := checkName(name); err != nil {
		return "", fmt.Errorf("%w: the user named by the certificate %w", ErrRefused, err)
	}
	return name, nil
}

// checkName refuses what would look like another user than it is.
func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("has no name")
	case len(name) > 255:
		return fmt.Errorf("has a name of %d octets, where 255 are allowed", len(name))
	case !utf8.ValidString(name):
		return fmt.Errorf("has a name that is not UTF-8")
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return fmt.Errorf("has a name with control characters")
	}
	return nil
}

var commonNameID = asn1.ObjectIdentifier{2, 5, 4, 3}

// commonName is the one common name of a subject. RabbitMQ joins several with commas, where
// they could be those of somebody else.
func commonName(subject []byte) (string, error) {
	var found []string
	for _, set := range parseName(subject) {
		for _, a := range set {
			if text, ok := a.Value.(string); ok && a.Type.Equal(commonNameID) {
				found = append(found, text)
			}
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("the certificate has %d common names, where one is wanted", len(found))
	}
	return found[0], nil
}

// alternative is a subject alternative name.
func (n CertificateName) alternative(c *x509.Certificate) (string, error) {
	var names []string
	switch n.SANType {
	case EmailName:
		names = c.EmailAddresses
	case URIName:
		for _, u := range c.URIs {
			names = append(names, u.String())
		}
	case AddressName:
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
	default:
		names = c.DNSNames
	}
	if n.SANIndex < 0 || n.SANIndex >= len(names) {
		return "", fmt.Errorf("the certificate has %d alternative names of the type that is looked for, and not number %d", len(names), n.SANIndex)
	}
	return names[n.SANIndex], nil
}

// parseName is nil for what is none; a certificate that was parsed has one.
func parseName(der []byte) pkix.RDNSequence {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(der, &name); err != nil || len(rest) > 0 {
		return nil
	}
	return name
}

// attributes are those with names of their own in RabbitMQ's form of a distinguished name.
var attributes = map[string]string{
	"2.5.4.3": "CN", "2.5.4.4": "SN", "2.5.4.5": "SERIALNUMBER", "2.5.4.6": "C", "2.5.4.7": "L", "2.5.4.8": "ST",
	"2.5.4.9": "STREET", "2.5.4.10": "O", "2.5.4.11": "OU", "2.5.4.12": "TITLE", "2.5.4.42": "GIVENNAME",
	"2.5.4.43": "INITIALS", "2.5.4.44": "GENERATIONQUALIFIER", "2.5.4.65": "PSEUDONYM",
	"0.9.2342.19200300.100.1.1": "UID", "0.9.2342.19200300.100.1.25": "DC", "1.2.840.113549.1.9.1": "EMAILADDRESS",
}

// DistinguishedNameOf is a name as RabbitMQ writes it, close to RFC 4514: the last part comes
// first, and everything outside of printable ASCII is escaped.
func DistinguishedNameOf(der []byte) string {
	var parts []string
	for _, set := range slices.Backward(parseName(der)) {
		var together []string
		for _, a := range set {
			id := a.Type.String()
			if short, ok := attributes[id]; ok {
				id = short
			}
			together = append(together, id+"="+escapeName(fmt.Sprint(a.Value)))
		}
		parts = append(parts, strings.Join(together, "+"))
	}
	return strings.Join(parts, ",")
}

func escapeName(value string) string {
	var b strings.Builder
	for i := range len(value) {
		switch c := value[i]; {
		case c < ' ' || c > '}':
			fmt.Fprintf(&b, `\%02X`, c)
		case strings.IndexByte(`,+"\<>;`, c) >= 0,
			i == 0 && (c == '#' || c == ' '),
			i == len(value)-1 && c == ' ':
			b.WriteByte('\\')
			b.WriteByte(c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
