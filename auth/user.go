package auth

// User is someone who may log in.
type User struct {
	Name string
	// PasswordHash is salt and digest as RabbitMQ keeps them, base64 of four octets of salt
	// followed by the digest of salt and password. Empty means that no password logs in
	// (PERM-9).
	PasswordHash string
	// Algorithm names the digest: rabbit_password_hashing_sha256, …_sha512 or …_md5.
	Algorithm string
	Tags      []string // administrator, monitoring, policymaker, management, impersonator
}

// Permission is what a user may do in one virtual host: three regular expressions over
// the names of queues and exchanges, not anchored; an empty one matches nothing
// (PERM-1).
type Permission struct {
	User, VHost            string
	Configure, Write, Read string
}
