// Package pattern finds names by the regular expressions that policies and permissions are
// written in (POL-1, PERM-1, PERM-7).
//
// RabbitMQ's are PCRE. Nearly all that are in use are also Go's, whose engine takes time in
// proportion to the name and to nothing else, and these it matches. What it cannot do –
// look-around, as in the ^(?!amq\.).* of so many policies, back-references, atomic groups,
// possessive quantifiers – is matched by a backtracking engine, which a pattern that is ill
// chosen keeps busy for longer than the world lasts. So a match there has a limit, and a
// pattern that runs into it again and again is not even tried: see Pattern.
//
// It knows neither policies nor permissions. A Pattern may be used by many at once, and has
// no lock.
package pattern
