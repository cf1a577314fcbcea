package integration

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"net"
	"strings"
	"testing"
	"time"
)

// eavesdropped is a client's connection whose keys and octets a test knows, so that it can say
// what no client of the standard library says.
type eavesdropped struct {
	*tls.Conn
	socket *overheard
	keys   bytes.Buffer
}

// overheard keeps what went over a socket.
type overheard struct {
	net.Conn
	said, heard []byte
}

func (o *overheard) Write(b []byte) (int, error) {
	o.said = append(o.said, b...)
	return o.Conn.Write(b)
}

func (o *overheard) Read(b []byte) (int, error) {
	n, err := o.Conn.Read(b)
	o.heard = append(o.heard, b[:n]...)
	return n, err
}

// eavesdrop shakes hands.
func (s *secure) eavesdrop(c *tls.Config) *eavesdropped {
	s.t.Helper()
	nc, err := net.Dial("tcp", s.TLSAddr())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { nc.Close() })
	e := &eavesdropped{socket: &overheard{Conn: nc}}
	c.KeyLogWriter = &e.keys
	e.Conn = tls.Client(e.socket, c)
	if err := nc.SetDeadline(time.Now().Add(patience)); err != nil {
		s.t.Fatal(err)
	}
	if err := e.Handshake(); err != nil {
		s.t.Fatal(err)
	}
	return e
}

// secret is one of the key log.
func (e *eavesdropped) secret(t *testing.T, label string) []byte {
	t.Helper()
	for line := range strings.Lines(e.keys.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			b, err := hex.DecodeString(f[2])
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
	}
	t.Fatalf("got no %s among the keys", label)
	return nil
}

func gcm(t *testing.T, key []byte) cipher.AEAD {
	t.Helper()
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// expandLabel is HKDF-Expand-Label of RFC 8446 without context.
func expandLabel(t *testing.T, h func() hash.Hash, secret []byte, label string, n int) []byte {
	t.Helper()
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	b, err := hkdf.Expand(h, secret, string(info)+label+"\x00", n)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestKeyUpdatesWithoutEndAreCut is row B6.
func TestKeyUpdatesWithoutEndAreCut(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	e := s.eavesdrop(s.trust())
	var h func() hash.Hash
	keyBytes := 16
	switch e.ConnectionState().CipherSuite {
	case tls.TLS_AES_128_GCM_SHA256:
		h = sha256.New
	case tls.TLS_AES_256_GCM_SHA384:
		h, keyBytes = sha512.New384, 32
	default:
		t.Skip("the processor has no AES, and nobody here speaks ChaCha20 by hand")
	}
	secret := e.secret(t, "CLIENT_TRAFFIC_SECRET_0")
	sent := 0
	const updates = 10_000
	for ; sent < updates; sent++ {
		a, iv := gcm(t, expandLabel(t, h, secret, "key", keyBytes)), expandLabel(t, h, secret, "iv", 12)
		message := []byte{24, 0, 0, 1, 1, 22} // key_update, update_requested; a handshake message
		head := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(message)+a.Overhead()))
		if _, err := e.socket.Conn.Write(a.Seal(head, iv, message, head)); err != nil {
			break
		}
		secret = expandLabel(t, h, secret, "traffic upd", h().Size())
	}
	_, err := e.Read(make([]byte, 1))
	if err == nil || errors.Is(err, timeoutError(err)) {
		t.Errorf("got %v after %d updates of keys, want the connection cut", err, sent)
	}
	s.works(s.dial(s.trust()))
}

// timeoutError is err when it is one, and nothing that err is otherwise.
func timeoutError(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return errors.New("no timeout")
}

// prf is that of TLS 1.2 with SHA-256.
func prf(secret []byte, label string, seed []byte, n int) []byte {
	seed = append([]byte(label), seed...)
	mac := func(b ...[]byte) []byte {
		m := hmac.New(sha256.New, secret)
		for _, each := range b {
			m.Write(each)
		}
		return m.Sum(nil)
	}
	var out []byte
	for a := mac(seed); len(out) < n; a = mac(a) {
		out = append(out, mac(a, seed)...)
	}
	return out[:n]
}

// TestRenegotiationIsRefused is row B6.
func TestRenegotiationIsRefused(t *testing.T) {
	t.Parallel()
	s := startSecure(t, nil)
	c := s.trust()
	c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	e := s.eavesdrop(c)
	// A record's head has five octets, a message's four, and a hello begins with the version.
	hello := e.socket.said[5 : 5+int(binary.BigEndian.Uint16(e.socket.said[3:]))]
	clients, servers := hello[6:38], e.socket.heard[11:43]
	keys := prf(e.secret(t, "CLIENT_RANDOM"), "key expansion", append(bytes.Clone(servers), clients...), 40)
	a := gcm(t, keys[:16])
	sequence := []byte{0, 0, 0, 0, 0, 0, 0, 1} // the first was finished
	nonce := append(bytes.Clone(keys[32:36]), sequence...)
	added := binary.BigEndian.AppendUint16(append(bytes.Clone(sequence), 22, 3, 3), uint16(len(hello)))
	record := binary.BigEndian.AppendUint16([]byte{22, 3, 3}, uint16(8+len(hello)+a.Overhead()))
	if _, err := e.socket.Conn.Write(a.Seal(append(record, sequence...), nonce, hello, added)); err != nil {
		t.Fatal(err)
	}
	_, err := e.Read(make([]byte, 1))
	if err == nil || !strings.Contains(err.Error(), "unexpected message") && !strings.Contains(err.Error(), "no renegotiation") {
		t.Errorf("got %v, want an alert", err)
	}
	s.works(s.dial(s.trust()))
}
