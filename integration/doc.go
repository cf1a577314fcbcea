// Package integration has the tests that need the assembled broker: stories told by a
// real client over TCP, each citing the rules it shows. What one package can show alone is
// tested there. Programs of other clients and harnesses are in the directories below.
package integration
