package auth

import (
	"crypto/md5"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
)

// The digests RabbitMQ knows, by the names definitions files use (PERM-9). MD5 only
// verifies: it is what files written before RabbitMQ 3.6 hold.
const (
	SHA256 = "rabbit_password_hashing_sha256"
	SHA512 = "rabbit_password_hashing_sha512"
	MD5    = "rabbit_password_hashing_md5"
)

// SaltBytes is how many octets of salt stand before the digest.
const SaltBytes = 4

// HashPassword returns the PasswordHash of a User whose Algorithm is SHA256. The salt
// has to come from a source nobody can foresee. An empty password gives the empty hash,
// with which nobody logs in.
func HashPassword(password string, salt [SaltBytes]byte) string {
	if password == "" {
		return ""
	}
	return base64.StdEncoding.EncodeToString(append(salt[:], digest(SHA256, salt[:], password)...))
}

// CheckHash reports why a user's hash and algorithm, as they came from a file, cannot be
// used. The empty hash is fine: its user cannot log in with a password.
func CheckHash(hash, algorithm string) error {
	if hash == "" {
		return nil
	}
	raw, err := base64.StdEncoding.DecodeString(hash)
	if err != nil {
		return fmt.Errorf("password hash: %w", err)
	}
	size := len(digest(algorithm, nil, ""))
	if size == 0 {
		return fmt.Errorf("unknown password hashing algorithm %q", algorithm)
	}
	if len(raw) != SaltBytes+size {
		return fmt.Errorf("password hash has %d octets where %d are wanted", len(raw), SaltBytes+size)
	}
	return nil
}

// Verify reports whether password is u's. The empty password is nobody's (C-7), and how
// long the comparison takes does not tell how much of the digest was right.
func (u User) Verify(password string) bool {
	raw, err := base64.StdEncoding.DecodeString(u.PasswordHash)
	if err != nil || len(raw) <= SaltBytes || password == "" {
		return false
	}
	want := digest(u.Algorithm, raw[:SaltBytes], password)
	return want != nil && subtle.ConstantTimeCompare(raw[SaltBytes:], want) == 1
}

// digest is nil for an algorithm nobody knows.
func digest(algorithm string, salt []byte, password string) []byte {
	salted := append(append(make([]byte, 0, len(salt)+len(password)), salt...), password...)
	switch algorithm {
	case SHA256, "":
		d := sha256.Sum256(salted)
		return d[:]
	case SHA512:
		d := sha512.Sum512(salted)
		return d[:]
	case MD5:
		d := md5.Sum(salted)
		return d[:]
	}
	return nil
}
