package pattern

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync/atomic"
	"time"

	"github.com/dlclark/regexp2/v2"
)

const (
	// limit is how long the backtracking engine may take over a name. It looks at a clock
	// that ticks every 100 ms, so that it may take twice as much, and some more.
	limit = 100 * time.Millisecond
	// latePrice is how many names have to be asked for until a name that took too long is
	// forgotten, and lateMost how much may be owed before a pattern is not tried any more.
	latePrice = 1000
	lateMost  = 10 * latePrice
	// longest is how many octets a pattern for the backtracking engine may have. Nested
	// look-arounds take it time beyond all proportion to read: 70 ms at this length.
	longest = 4096
)

// Pattern is a regular expression that finds names. It is not anchored.
//
// A name that takes longer than 100 to 300 ms does not match. Once ten have, the next
// thousand names are not tried, and do not match; nor, of each thousand after that, all but
// one. So a pattern costs in the end no more than 0.3 ms a name, whatever the pattern and
// whatever the names, and one that was held up by something else comes back by itself. What
// Go's own engine can do is never late.
type Pattern struct {
	linear *regexp.Regexp // or nil
	back   *regexp2.Regexp
	owed   atomic.Int64 // latePrice for each name that was late, less one for each name since
}

// Compile reads a pattern. The error says what is wrong with it, or not supported.
func Compile(text string) (*Pattern, error) {
	re, err := regexp.Compile(text)
	if err == nil {
		return &Pattern{linear: re}, nil
	}
	var s *syntax.Error
	if !errors.As(err, &s) {
		return nil, err
	}
	switch s.Code {
	case syntax.ErrLarge, syntax.ErrNestingDepth, syntax.ErrInvalidUTF8, syntax.ErrInvalidRepeatSize:
		return nil, fmt.Errorf("%s: %s", s.Code, s.Expr)
	}
	if len(text) > longest {
		return nil, fmt.Errorf("%s: %s, in a pattern of more than %d octets", s.Code, s.Expr, longest)
	}
	if e := foreignEscape(text); e != "" {
		return nil, fmt.Errorf("%s: %s", syntax.ErrInvalidEscape, e)
	}
	// RE2 makes classes such as \w mean what they mean to Go and to PCRE.
	back, err := regexp2.Compile(text, regexp2.RE2)
	if err != nil {
		return nil, fmt.Errorf("%s: %s", s.Code, s.Expr)
	}
	back.MatchTimeout = limit
	return &Pattern{back: back}, nil
}

// foreignEscape finds the first escape that means something to PCRE, which the backtracking
// engine would take for the letter itself.
func foreignEscape(text string) string {
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		i++
		switch {
		case text[i] == 'Q':
			end := strings.Index(text[i:], `\E`)
			if end < 0 {
				return ""
			}
			i += end + 1
		case strings.IndexByte("CEghHKlLNoRuUVX", text[i]) >= 0:
			return text[i-1 : i+1]
		}
	}
	return ""
}

// Matches tells whether the pattern is found in name.
func (p *Pattern) Matches(name string) bool {
	if p.linear != nil {
		return p.linear.MatchString(name)
	}
	owed := p.owed.Load()
	if owed > 0 {
		p.owed.Add(-1)
	}
	if owed > lateMost-latePrice {
		return false
	}
	found, err := p.back.MatchString(name)
	if err != nil {
		// Out of time, or of the room it may take for backtracking.
		p.owed.Add(latePrice)
		return false
	}
	return found
}
