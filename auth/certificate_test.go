package auth

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
)

// subject is the DER of a name of which each part has one attribute.
func subject(t *testing.T, attributes ...pkix.AttributeTypeAndValue) []byte {
	t.Helper()
	var name pkix.RDNSequence
	for _, a := range attributes {
		name = append(name, []pkix.AttributeTypeAndValue{a})
	}
	der, err := asn1.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func attribute(value string, id ...int) pkix.AttributeTypeAndValue {
	return pkix.AttributeTypeAndValue{Type: id, Value: value}
}

func named(value string) pkix.AttributeTypeAndValue { return attribute(value, 2, 5, 4, 3) }

func TestDistinguishedNameIsWrittenAsRabbitMQDoes(t *testing.T) { // C-4
	// What rabbit_cert_info:subject of RabbitMQ 3.10.8 makes of such a certificate.
	const want = `1.3.6.1.4.1.99999.1=thing,SERIALNUMBER=77,EMAILADDRESS=a@b.c,UID=u1,CN=\#x y,CN=first,OU=a\+b,` +
		`O=H\C3\A4se\, S\C3\B6hne\<x\>\;=\7E\\*,L=Leipzig,ST=Sachsen,DC=org,C=DE`
	der := subject(t,
		attribute("DE", 2, 5, 4, 6), attribute("org", 0, 9, 2342, 19200300, 100, 1, 25), attribute("Sachsen", 2, 5, 4, 8),
		attribute("Leipzig", 2, 5, 4, 7), attribute(`Häse, Söhne<x>;=~\*`, 2, 5, 4, 10), attribute("a+b", 2, 5, 4, 11),
		named("first"), named("#x y"), attribute("u1", 0, 9, 2342, 19200300, 100, 1, 1),
		attribute("a@b.c", 1, 2, 840, 113549, 1, 9, 1), attribute("77", 2, 5, 4, 5), attribute("thing", 1, 3, 6, 1, 4, 1, 99999, 1))
	got, err := CertificateName{From: DistinguishedName}.Of(&x509.Certificate{RawSubject: der})
	if got != want || err != nil {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	several, err := asn1.Marshal(pkix.RDNSequence{{named("a "), attribute("b", 2, 5, 4, 11)}})
	if err != nil {
		t.Fatal(err)
	}
	// The parts of a set are in the order of their encoding.
	if got := DistinguishedNameOf(several); got != `OU=b+CN=a\ ` && got != `CN=a\ +OU=b` {
		t.Errorf("got %q for two attributes that stand together", got)
	}
	if got := DistinguishedNameOf([]byte("no name")); got != "" {
		t.Errorf("got %q for what is no name", got)
	}
}

func TestCertificateNamesOneUserExactly(t *testing.T) { // B4, B5, C-4
	f := func(n CertificateName, c x509.Certificate, want string) {
		t.Helper()
		got, err := n.Of(&c)
		if got != want || (err == nil) != (want != "") || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
	common := func(names ...string) x509.Certificate {
		var all []pkix.AttributeTypeAndValue
		for _, name := range names {
			all = append(all, named(name))
		}
		return x509.Certificate{RawSubject: subject(t, all...)}
	}
	f(CertificateName{}, common("ann"), "ann")
	f(CertificateName{From: CommonName}, common("*"), "*") // a user of that name, if there is one
	f(CertificateName{}, common("Ännchen, of \"Tharau\""), "Ännchen, of \"Tharau\"")
	f(CertificateName{}, common(), "")
	f(CertificateName{}, common(""), "")
	f(CertificateName{}, common("ann", "bob"), "")
	f(CertificateName{}, common("ann\x00.example"), "")
	f(CertificateName{}, common("ann\n"), "")
	f(CertificateName{}, common(strings.Repeat("a", 255)), strings.Repeat("a", 255))
	f(CertificateName{}, common(strings.Repeat("a", 256)), "")
	f(CertificateName{From: DistinguishedName}, common(), "")

	c := x509.Certificate{
		RawSubject:     subject(t, named("ann")),
		DNSNames:       []string{"one.example", "two.example", "bad\x00.example"},
		EmailAddresses: []string{"m@x.y"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "td", Path: "/ns/a"}},
		IPAddresses:    []net.IP{net.IPv4(10, 0, 0, 1)},
	}
	san := func(of string, index int) CertificateName { return CertificateName{SubjectAlternativeName, of, index} }
	f(san("", 0), c, "one.example")
	f(san(DNSName, 1), c, "two.example")
	f(san(DNSName, 2), c, "")
	f(san(DNSName, 3), c, "")
	f(san(DNSName, -1), c, "")
	f(san(EmailName, 0), c, "m@x.y")
	f(san(URIName, 0), c, "spiffe://td/ns/a")
	f(san(AddressName, 0), c, "10.0.0.1")
	f(san(AddressName, 0), x509.Certificate{RawSubject: c.RawSubject}, "") // never the common name instead
}
