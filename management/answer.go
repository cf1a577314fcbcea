package management

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
)

// Refusal is why a request is not answered with what it asked for.
type Refusal struct {
	Status int    // of HTTP
	Word   string // one that programs can go by, such as not_authorised
	Reason string // a sentence for people
}

func (r *Refusal) Error() string {
	reason := strings.Join(strings.Fields(r.Reason), " ") // RabbitMQ's have empty lines in them
	if r.Word == "bad_request" {
		return reason
	}
	return r.Word + ": " + reason
}

// notFound is what RabbitMQ answers for paths and things that are not there.
var notFound = &Refusal{http.StatusNotFound, "Object Not Found", "Not Found"}

func badRequest(format string, args ...any) *Refusal {
	return &Refusal{http.StatusBadRequest, "bad_request", fmt.Sprintf(format, args...)}
}

func notAuthorised(reason string) *Refusal {
	return &Refusal{http.StatusUnauthorized, "not_authorised", reason}
}

// patience is how long a client may take to read an answer.
const patience = 2 * time.Minute

// object is a JSON object.
type object map[string]any

// write answers with v and a status.
func (c *call) write(status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(b))) // a HEAD has it, too
	// That the time is limited is for listeners that can.
	_ = http.NewResponseController(c.w).SetWriteDeadline(c.now.Add(patience))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(b) // a client that has gone need not be told
	return nil
}

func (c *call) ok(v any) error { return c.write(http.StatusOK, v) }

// made answers that something was made, or was there already.
func (c *call) made(isNew bool) error {
	c.audit()
	if isNew {
		c.w.WriteHeader(http.StatusCreated)
	} else {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return nil
}

// gone answers that something was deleted.
func (c *call) gone() error { return c.made(false) }

// refuse answers with a refusal.
func (c *call) refuse(err error) {
	no := c.refusal(err)
	if no.Status == http.StatusInternalServerError {
		c.Log.Error().Err(err).Str("method", c.r.Method).Str("path", c.r.URL.Path).Msg("request failed")
	}
	if no.Status == http.StatusUnauthorized {
		c.w.Header().Set("WWW-Authenticate", `Basic realm="RabbitMQ Management"`)
	}
	// That its own refusal cannot be encoded is impossible.
	_ = c.write(no.Status, struct {
		Error  string `json:"error"`
		Reason string `json:"reason"`
	}{no.Word, no.Reason})
}

// refusal is how an error is told: what an AMQP client would be told as RabbitMQ's API tells
// it (API-2).
func (c *call) refusal(err error) *Refusal {
	var no *Refusal
	var operators *broker.Refusal
	var clients *amqp.Error
	var wrong *definitions.Error
	switch {
	case errors.As(err, &no):
		return no
	case errors.As(err, &wrong):
		return badRequest("%v", wrong)
	case errors.As(err, &operators):
		switch operators.Kind {
		case broker.NotFound:
			if operators.Reason == notFound.Reason {
				return notFound
			}
			return &Refusal{http.StatusNotFound, "not_found", operators.Reason}
		case broker.Protected:
			return &Refusal{http.StatusPreconditionFailed, "precondition_failed", operators.Reason}
		}
		return badRequest("%s", operators.Reason)
	case errors.As(err, &clients):
		switch clients.Code {
		case amqp.ReplyNotFound:
			return &Refusal{http.StatusNotFound, "not_found", clients.Explanation()}
		case amqp.ReplyAccessRefused:
			if c.user != nil {
				return notAuthorised("Access refused.")
			}
			return &Refusal{http.StatusForbidden, "forbidden", clients.Explanation()}
		}
		return badRequest("%s", clients.Explanation())
	}
	return &Refusal{http.StatusInternalServerError, "internal_error", err.Error()}
}

// Refused is the refusal in an answer, for those who asked.
func Refused(r *http.Response) error {
	var no struct {
		Error  string
		Reason any // RabbitMQ has lists here, too
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, maxRequestBody)).Decode(&no); err != nil || no.Error == "" {
		return errors.New(r.Status)
	}
	return &Refusal{r.StatusCode, no.Error, fmt.Sprint(no.Reason)}
}
