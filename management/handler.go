package management

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// maxRequestBody is how much of a request's body is read, in bytes. Nothing that is asked
// for here needs much.
const maxRequestBody = 1 << 20

// Options are what the API works with.
type Options struct {
	Log zerolog.Logger
	// Backuper makes the backups.
	Backuper Backuper
	// Authorize decides about each request before anything else does: a refusal ends it, nil
	// lets it through. Without it everybody who can connect is trusted.
	Authorize func(*http.Request) *Refusal
}

// Refusal is why a request is not answered with what it asked for.
type Refusal struct {
	Status int    // of HTTP
	Error  string // a word programs can go by, such as not_authorized
	Reason string // a sentence for people
}

// api has the handlers.
type api struct {
	Options
	mux *http.ServeMux
}

// Handler is the API.
func Handler(o Options) http.Handler {
	a := &api{Options: o, mux: http.NewServeMux()}
	a.mux.HandleFunc("POST "+BackupPath, a.backup)
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

func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	if a.Authorize != nil {
		if no := a.Authorize(r); no != nil {
			refuse(w, *no)
			return
		}
	}
	if _, pattern := a.mux.Handler(r); pattern == "" {
		a.unknown(w, r)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxRequestBody)
	a.mux.ServeHTTP(w, r)
}

// unknown answers what has no handler. The multiplexer knows which methods a path has, and
// says so in plain text only.
func (a *api) unknown(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		refuse(w, Refusal{http.StatusMethodNotAllowed, "method_not_allowed", fmt.Sprintf("%s takes %s", r.URL.Path, strings.Join(allowed, ", "))})
		return
	}
	refuse(w, Refusal{http.StatusNotFound, "Object Not Found", "Not Found"}) // as RabbitMQ has it
}

// refuse answers with a refusal.
func refuse(w http.ResponseWriter, no Refusal) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(no.Status)
	// A client that has gone need not be told.
	_ = json.NewEncoder(w).Encode(struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
	}{no.Error, no.Reason})
}

// Refused is the refusal in an answer, for those who asked.
func Refused(r *http.Response) error {
	var no struct{ Error, Reason string }
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequestBody)).Decode(&no); err != nil || no.Error == "" {
		return errors.New(r.Status)
	}
	return fmt.Errorf("%s: %s", no.Error, no.Reason)
}
