package management

import (
	"context"
	"fmt"

	"log"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/queue"
)

// Options are what the API works with.
type Options struct {
	Log zerolog.Logger
	// Broker is what is looked after.
	Broker *broker.Broker
	// Clock is the time for everything that is decided; time.Now when nil.
	Clock func() time.Time
	// Node tells what the broker does not know of itself.
	Node func() Node
	// Backuper makes the backups.
	Backuper Backuper
	// MaxMessageBytes is how long the body of a message may be that is published here.
	MaxMessageBytes int
	// Trusted makes everybody who can connect an administrator to whom no permission is
	// refused. Otherwise a user has to log in, and may do what its tags and permissions say.
	Trusted bool
}

// api has the handlers.
type api struct {
	Options
	rates   rates
	foreign *http.CrossOriginProtection
	large   chan struct{} // held by requests with a large body
}

// Handler is the API. A broker may be given several, for listeners with different trust.
func Handler(o Options) http.Handler {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	a := &api{Options: o, foreign: http.NewCrossOriginProtection(), large: make(chan struct{}, maxLargeAtOnce)}
	return http.HandlerFunc(a.serve)
}

// Server serves h with limits on how long a client may take to say what it wants. How long
// an answer may take is for each resource to say.
func Server(h http.Handler, l zerolog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ErrorLog:          log.New(l, "", 0),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

const (
	// maxRequestBody is how much of a request's body is read, in bytes.
	maxRequestBody = 1 << 20
	// maxLargeBody is how much is read where a message or a file of definitions comes: a message
	// of the default largest size has a quarter of it in base64.
	maxLargeBody = 64 << 20
	// maxLargeAtOnce is how many such are read at a time.
	maxLargeAtOnce = 2
)

// call is one request on its way through the API.
type call struct {
	*api
	w      http.ResponseWriter
	r      *http.Request
	args   []string   // what stands in the path where its route has names
	user   *auth.User // nil for whoever is trusted
	now    time.Time
	spans  spans // of the series that samples are asked of
	cached *Node // what self has found out

	operators bool // the path is about operator policies
}

// self is what the node tells of itself, asked for once in a request.
func (c *call) self() *Node {
	if c.cached == nil {
		n := c.Node()
		c.cached = &n
	}
	return c.cached
}

// serve finds the route of a request, asks whether it may be taken, and has it answered.
func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	c := &call{api: a, w: w, r: r, now: a.Clock()}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		defer stopOnPanic()
	}
	if err := c.answer(); err != nil {
		c.refuse(err)
	}
}

// stopOnPanic ends the process when something panics that changes the broker: net/http would
// go on, and a broker that is unsure of its own state must not.
func stopOnPanic() {
	p := recover()
	switch {
	case p == nil:
	case p == http.ErrAbortHandler: //nolint:errorlint // it is the value itself that is thrown
		panic(p)
	default:
		go panic(fmt.Sprintf("%v\n\n%s", p, debug.Stack()))
		select {} // until that has ended it
	}
}

func (c *call) answer() error {
	// Browsers send what a password was once typed in for with whatever a page of anybody
	// else's makes them ask.
	if err := c.foreign.Check(c.r); err != nil {
		return &Refusal{http.StatusForbidden, "forbidden", err.Error()}
	}
	segments, ok := segmentsOf(c.r.URL)
	if !ok {
		return notFound
	}
	found := matching(segments)
	if slices.ContainsFunc(found, func(m match) bool { return m.route.access == anybody }) {
		return c.dispatch(found)
	}
	if err := c.login(); err != nil {
		return err
	}
	return c.dispatch(found)
}

// dispatch has the route of the request's method answer it.
func (c *call) dispatch(found []match) error {
	if len(found) == 0 {
		return notFound
	}
	method := c.r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	for _, m := range found {
		if m.route.method != method {
			continue
		}
		c.args = m.args
		if err := c.authorize(m.route); err != nil {
			return err
		}
		if method == http.MethodGet {
			var err error
			if c.spans, err = spansOf(c.r.URL.Query()); err != nil {
				return err
			}
		}
		limit := m.route.maxBody
		if limit == 0 {
			limit = maxRequestBody
		}
		c.r.Body = http.MaxBytesReader(c.w, c.r.Body, limit)
		if limit > maxRequestBody && (c.r.ContentLength < 0 || c.r.ContentLength > maxRequestBody) {
			// Several at once could be more than there is memory for (C44).
			select {
			case c.large <- struct{}{}:
				defer func() { <-c.large }()
			case <-c.r.Context().Done():
				return c.r.Context().Err()
			}
		}
		return m.route.handle(c)
	}
	c.w.Header().Set("Allow", strings.Join(methodsOf(found), ", "))
	if method == http.MethodOptions {
		return nil
	}
	return &Refusal{http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("%s takes %s", c.r.URL.Path, strings.Join(methodsOf(found), ", "))}
}

func methodsOf(found []match) []string {
	methods := []string{http.MethodHead, http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete}
	methods = slices.DeleteFunc(methods, func(m string) bool {
		if m == http.MethodHead {
			m = http.MethodGet
		}
		return !slices.ContainsFunc(found, func(f match) bool { return f.route.method == m })
	})
	return append(methods, http.MethodOptions)
}

// change does f, which changes something, carries out what that leads to, and waits until it
// is on disk.
func (c *call) change(f func(out *queue.Effects) (*broker.Commit, error)) error {
	var out queue.Effects
	commit, err := f(&out)
	c.Broker.Flush(c.now, &out)
	if err != nil {
		return err
	}
	return wait(c.r.Context(), commit)
}

// set is change for what leads to nothing else.
func (c *call) set(commit *broker.Commit, err error) error {
	return c.change(func(*queue.Effects) (*broker.Commit, error) { return commit, err })
}

// wait waits for a commit, or until nobody waits for the answer any more.
func wait(ctx context.Context, commit *broker.Commit) error {
	done := make(chan error, 1)
	if !commit.Then(func(err error) { done <- err }) {
		return nil
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// audit writes down that something was changed, and by whom.
func (c *call) audit() {
	e := c.Log.Info().Str("method", c.r.Method).Str("path", c.r.URL.Path)
	if c.user != nil {
		e = e.Str("user", c.user.Name).Str("peer", c.r.RemoteAddr)
	}
	e.Msg("changed through the API")
}

// body reads the request's body.
func (c *call) body() ([]byte, error) {
	b, err := readAll(c.r.Body)
	if err != nil {
		return nil, badRequest("the body cannot be read: %v", err)
	}
	return b, nil
}
