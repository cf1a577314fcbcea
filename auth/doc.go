// Package auth decides who may do what: users, their passwords and their permissions,
// and the SASL responses that carry them. It answers; it stores nothing, opens no socket
// and has no clock. Entropy for new password salts is handed in. Everything in it is a
// value or immutable, so it has no lock.
package auth
