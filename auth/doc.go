// Package auth decides who may do what: users, their passwords and their permissions.
// It answers; it stores nothing, opens no socket and has no clock. Entropy for new
// password salts is handed in.
package auth
