package auth

import "slices"

// Tags that mean something to the broker (PERM-4). Others are kept and shown.
const (
	Administrator = "administrator"
	Monitoring    = "monitoring"
	Policymaker   = "policymaker"
	Management    = "management"
	Impersonator  = "impersonator" // may set any user-id property (PUB-9)
)

// User is someone who may log in.
type User struct {
	Name string
	// PasswordHash is salt and digest as RabbitMQ keeps them, base64 of four octets of salt
	// followed by the digest of salt and password. Empty means that no password logs in
	// (PERM-9).
	PasswordHash string
	// Algorithm names the digest: SHA256, SHA512 or MD5; empty stands for SHA256.
	Algorithm string
	Tags      []string // Administrator, Monitoring, Policymaker, Management, Impersonator
	Limits    Limits   // of UserLimits
}

// HasTag reports whether u carries tag.
func (u User) HasTag(tag string) bool { return slices.Contains(u.Tags, tag) }
