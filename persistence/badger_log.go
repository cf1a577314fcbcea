package persistence

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"
)

// badgerLog is Badger's logger. It also hears what Badger tells nobody else: that the
// value log could not be synced, upon which Commit succeeds all the same, and that a
// write of the garbage collection failed. After either, nothing may be confirmed: the
// page cache can no longer be trusted, and a later sync that succeeds must not hide it.
type badgerLog struct {
	log     zerolog.Logger
	closing atomic.Bool // writes refused from now on are Badger's own, not failures
	filled  atomic.Pointer[func()]

	mu       sync.Mutex
	failure  error
	onFailed func(error)
}

// syncFailed and writeFailed begin the lines that poison. A test with a failing disk
// guards that they are still what Badger says.
const (
	syncFailed  = "Error while curlf sync"
	writeFailed = "writeRequests:"
)

// tableFilled begins the line that a merge says each time it has filled a table and is about
// to have it written. A test guards that it is still what Badger says.
const tableFilled = "[%d] LOG Compact. Added"

// errSync is wrapped by what a failed sync poisons the store with.
var errSync = errors.New("sync failed")

// Errorf logs, and poisons when the line is about a failed sync or write.
func (l *badgerLog) Errorf(format string, args ...any) {
	text := line(format, args)
	if strings.HasPrefix(text, syncFailed) || strings.HasPrefix(text, writeFailed) && !l.closing.Load() {
		l.fail(fmt.Errorf("%w: %s", errSync, text))
	}
	l.log.Error().Str("component", "badger").Msg(text)
}

// Warningf logs.
func (l *badgerLog) Warningf(format string, args ...any) {
	l.log.Warn().Str("component", "badger").Msg(line(format, args))
}

// Infof logs at debug: it tells of flushes and compactions.
func (l *badgerLog) Infof(format string, args ...any) {
	l.log.Debug().Str("component", "badger").Msg(line(format, args))
}

// Debugf logs at trace. Who fills tables waits for what onFilled was given.
func (l *badgerLog) Debugf(format string, args ...any) {
	if f := l.filled.Load(); f != nil && strings.HasPrefix(format, tableFilled) {
		(*f)()
	}
	if e := l.log.Trace(); e.Enabled() {
		e.Str("component", "badger").Msg(line(format, args))
	}
}

// onFilled has f called for each table that a merge has filled, by the goroutine that fills
// the next one after that.
func (l *badgerLog) onFilled(f func()) { l.filled.Store(&f) }

func line(format string, args []any) string { return strings.TrimSpace(fmt.Sprintf(format, args...)) }

func (l *badgerLog) fail(err error) {
	l.mu.Lock()
	first := l.failure == nil
	if first {
		l.failure = err
	}
	tell := l.onFailed
	l.mu.Unlock()
	if first && tell != nil {
		tell(err)
	}
}

// syncFailure is the first failure that was heard of.
func (l *badgerLog) syncFailure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// tell has f called with a failure, at once when there was one already.
func (l *badgerLog) tell(f func(error)) {
	l.mu.Lock()
	l.onFailed = f
	err := l.failure
	l.mu.Unlock()
	if err != nil {
		f(err)
	}
}
