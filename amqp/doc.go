// Package amqp is AMQP 0-9-1 on the wire and nothing else: frames, methods,
// content properties, field tables and reply codes. It opens no socket, starts no
// goroutine and logs nothing.
//
// A frame is
//
//	0      1         3             7                  7+size
//	+------+---------+-------------+  +------------+  +-----+
//	| type | channel |    size     |  |  payload   |  | end |
//	+------+---------+-------------+  +------------+  +-----+
//	 octet   short        long          size octets    0xCE
//
// with all integers big-endian.
//
// Decoding walks a slice with a cursor and encoding appends to one. What a decoded
// value borrows from its input is said where it is declared: BasicPublish, a Frame's
// payload, a ContentHeader, a PropertyView and what FindHeader and Elements find alias
// the bytes they were read from and are valid until those are reused; everything else
// owns its memory.
//
// What a client got wrong is an *Error, ready to be sent. What we got wrong, such as a
// value in a Table that no tag stands for, panics.
package amqp

//go:generate go run ./internal/specgen
