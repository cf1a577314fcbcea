// Package certificates has what TLS needs out of files: the server's certificate and key, the
// authorities that clients' certificates have to come from, and the lists of those that were
// revoked. It looks at the files again and again, and when told to, because they are replaced
// while the broker runs; what it cannot use leaves everything as it was, and is warned about.
// Handshakes under way and connections that are open are not touched.
//
// It refuses to know what is spoken over TLS. A Store has one mutex, a leaf, held while files
// are read; handshakes take what is current without it.
package certificates
