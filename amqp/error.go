package amqp

import (
	"fmt"
	"strings"
)

// Error is something a client did wrong, as it will be told: the reply code and text
// of a channel.close or connection.close, and the method that caused it.
//
// Its text already carries the symbolic name of the code, the way RabbitMQ sends it
// ("NOT_FOUND - no queue 'q' in vhost '/'"), because clients and people match on it.
type Error struct {
	Code     uint16 // reply code, 3xx to 5xx
	Text     string // "NAME - explanation"; cut to 255 octets when it is sent
	ClassID  uint16 // the offending method, or 0 when none is to blame
	MethodID uint16
	Hard     bool // closes the connection; otherwise only the channel

	blameless bool // no method is to blame, and On shall not find one
}

func (e *Error) Error() string { return e.Text }

// Explanation is the text without the name of the code, which only clients need.
func (e *Error) Explanation() string {
	if _, explanation, ok := strings.Cut(e.Text, " - "); ok {
		return explanation
	}
	return e.Text
}

// On names the method that caused the error. An error that already names one, or that
// came from OnNone, keeps what it has.
func (e *Error) On(class, method uint16) *Error {
	if e.ClassID == 0 && e.MethodID == 0 && !e.blameless {
		e.ClassID, e.MethodID = class, method
	}
	return e
}

// OnNone says that the error is reported with class and method 0, as RabbitMQ reports
// broken frames, malformed names (W-28) and some limits. A later On leaves it so.
func (e *Error) OnNone() *Error {
	e.ClassID, e.MethodID, e.blameless = 0, 0, true
	return e
}

func soft(code uint16, name, format string, args []any) *Error {
	return &Error{Code: code, Text: name + " - " + fmt.Sprintf(format, args...)}
}

func hard(code uint16, name, format string, args []any) *Error {
	return &Error{Code: code, Text: name + " - " + fmt.Sprintf(format, args...), Hard: true}
}

// AccessRefused is the soft 403: permissions, reserved names, exclusive consumers.
func AccessRefused(format string, args ...any) *Error {
	return soft(403, "ACCESS_REFUSED", format, args)
}

// NotFound is the soft 404: a missing queue or exchange.
func NotFound(format string, args ...any) *Error {
	return soft(404, "NOT_FOUND", format, args)
}

// ResourceLocked is the soft 405: another connection's exclusive queue.
func ResourceLocked(format string, args ...any) *Error {
	return soft(405, "RESOURCE_LOCKED", format, args)
}

// PreconditionFailed is the soft 406: inequivalent or invalid arguments, unknown
// delivery tags, refused properties.
func PreconditionFailed(format string, args ...any) *Error {
	return soft(406, "PRECONDITION_FAILED", format, args)
}

// ConnectionForced is the hard 320: the operator or a shutdown ends the connection.
func ConnectionForced(format string, args ...any) *Error {
	return hard(320, "CONNECTION_FORCED", format, args)
}

// FrameError is the hard 501: framing, undecodable arguments.
func FrameError(format string, args ...any) *Error {
	return hard(501, "FRAME_ERROR", format, args)
}

// SyntaxError is the hard 502: a field table that cannot be read.
func SyntaxError(format string, args ...any) *Error {
	return hard(502, "SYNTAX_ERROR", format, args)
}

// CommandInvalid is the hard 503: an unknown method, or one clients must not send.
func CommandInvalid(format string, args ...any) *Error {
	return hard(503, "COMMAND_INVALID", format, args)
}

// ChannelError is the hard 504: a method before channel.open, or in the wrong
// connection state.
func ChannelError(format string, args ...any) *Error {
	return hard(504, "CHANNEL_ERROR", format, args)
}

// UnexpectedFrame is the hard 505: a frame that cannot follow the one before it.
func UnexpectedFrame(format string, args ...any) *Error {
	return hard(505, "UNEXPECTED_FRAME", format, args)
}

// ResourceError is the hard 506: a limit of the broker was hit.
func ResourceError(format string, args ...any) *Error {
	return hard(506, "RESOURCE_ERROR", format, args)
}

// NotAllowed is the hard 530: virtual host access, reused consumer tags, limits.
func NotAllowed(format string, args ...any) *Error {
	return hard(530, "NOT_ALLOWED", format, args)
}

// NotImplemented is the hard 540.
func NotImplemented(format string, args ...any) *Error {
	return hard(540, "NOT_IMPLEMENTED", format, args)
}

// InternalError is the hard 541: the broker failed.
func InternalError(format string, args ...any) *Error {
	return hard(541, "INTERNAL_ERROR", format, args)
}
