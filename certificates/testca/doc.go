// Package testca makes certificates for tests: an authority, what it issues, and the files a
// broker reads. It has no lock; an Authority belongs to one test.
package testca
