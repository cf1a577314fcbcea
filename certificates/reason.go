package certificates

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"strings"
)

// Reason says why a handshake failed in words that hold nothing of the client's: no name of a
// certificate, no address, no octets. Errors it does not know are those of crypto/tls, which
// are about the protocol.
func Reason(err error) string {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
		record  tls.RecordHeaderError
		timeout net.Error
	)
	switch {
	case errors.Is(err, ErrRevoked):
		return "the client's certificate was revoked"
	case errors.As(err, &invalid):
		return "the client's certificate " + invalidity(invalid)
	case errors.As(err, &unknown):
		return "the client's certificate comes from no authority that is trusted"
	case errors.As(err, &record):
		return "the client does not speak TLS"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return "the client took too long"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		return "the client closed the socket"
	}
	// Errors of the network name addresses, the rest is constant.
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "remote error" {
		return "the client refused: " + network.Err.Error()
	}
	if errors.As(err, &network) {
		return "the connection broke"
	}
	var failed *tls.CertificateVerificationError
	if errors.As(err, &failed) || strings.Contains(err.Error(), "x509: ") {
		return "the client's certificate cannot be verified"
	}
	return err.Error()
}

// invalidity finishes the sentence.
func invalidity(e x509.CertificateInvalidError) string {
	switch e.Reason {
	case x509.Expired:
		// The one reason for both ends of the time it is good for.
		if strings.Contains(e.Detail, "is before") {
			return "is not valid yet"
		}
		return "has expired"
	case x509.IncompatibleUsage:
		return "is not one for clients"
	}
	return "is not valid"
}
