// Command rules shows which test proves which rule of what clients see, and whether it passed.
//
//	go test -json ./... | go run ./integration/rules
//	go run ./integration/rules results.json …
//
// rules.txt has every rule. A test proves a rule by citing its number: in its comment or body,
// in the comment of a file of its testdata, or in the comment of the type, variable or
// function of a test file, which then is cited for all tests of that file. PUB-1 to PUB-5 cites
// five. A rule without a test is in untested.txt; the tests of this package hold that list to
// what is true, in both directions, and rewrite it with -update.
package main
