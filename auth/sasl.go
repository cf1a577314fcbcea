package auth

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/leveretmq/leveret/amqp"
)

// The SASL mechanisms there are, in the order they are announced (C-4).
const (
	Plain    = "PLAIN"
	AMQPlain = "AMQPLAIN"
	External = "EXTERNAL" // the certificate that TLS has verified says who it is
)

// Mechanisms returns all of them.
func Mechanisms() []string { return []string{Plain, AMQPlain, External} }

// ErrRefused is wrapped by the errors of credentials that were understood and are not
// good: no such user, another password, not from here (C-9, C-11).
var ErrRefused = errors.New("login refused")

// ErrMalformed is wrapped by the errors of a response that cannot be read and of a
// mechanism that was not offered: the client is told nothing (C-10).
var ErrMalformed = errors.New("malformed SASL response")

// Credentials are what a client logs in with.
type Credentials struct{ User, Password string }

// ParseResponse reads the response of a SASL mechanism that asks for a password. Its errors
// wrap ErrMalformed.
func ParseResponse(mechanism string, response []byte) (Credentials, error) {
	switch mechanism {
	case Plain:
		return parsePlain(response)
	case AMQPlain:
		return parseAMQPlain(response)
	}
	return Credentials{}, fmt.Errorf("%w: mechanism %q was not offered", ErrMalformed, mechanism)
}

// parsePlain reads NUL user NUL password. RabbitMQ wants the authorisation identity,
// which may stand before the first NUL, to be empty (C-7).
func parsePlain(response []byte) (Credentials, error) {
	authorisation, rest, ok := bytes.Cut(response, []byte{0})
	if !ok || len(authorisation) != 0 {
		return Credentials{}, fmt.Errorf("%w: PLAIN with an authorisation identity, or without NUL", ErrMalformed)
	}
	user, password, ok := bytes.Cut(rest, []byte{0})
	if !ok || bytes.IndexByte(password, 0) >= 0 {
		return Credentials{}, fmt.Errorf("%w: PLAIN is not NUL user NUL password", ErrMalformed)
	}
	return Credentials{User: string(user), Password: string(password)}, nil
}

// parseAMQPlain reads the entries of a table without its length (W-54), of which LOGIN
// and PASSWORD count (C-8).
func parseAMQPlain(response []byte) (Credentials, error) {
	t, err := amqp.ParseBareTable(response)
	if err != nil {
		return Credentials{}, fmt.Errorf("%w: AMQPLAIN: %w", ErrMalformed, err)
	}
	user, okUser := text(t, "LOGIN")
	password, okPassword := text(t, "PASSWORD")
	if !okUser || !okPassword {
		return Credentials{}, fmt.Errorf("%w: AMQPLAIN without LOGIN and PASSWORD", ErrMalformed)
	}
	return Credentials{User: user, Password: password}, nil
}

// text accepts strings of either tag: some clients write x where others write S.
func text(t amqp.Table, name string) (string, bool) {
	v, _ := t.Get(name)
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}
