// Package management is the HTTP API through which a running broker is looked after: the
// one of RabbitMQ, so that its tools work, and a few resources of its own. routes.go has all
// paths; what answers them is in a file for each resource, api_<resource>.go.
//
// Answers are JSON, and so are refusals: {"error":"…","reason":"…"}. Lists may be cut into
// pages, sorted, and left with the columns that are asked for. A user logs in with each
// request, and its tags say what it may look at; what it does to queues and exchanges needs
// the permissions that it would need over AMQP. A Handler that is Trusted asks for neither.
//
// Listen makes a unix socket in the data directory that nobody but the owner of the process
// can open, for such a Handler; Client finds it again.
//
// Nobody counts for this package: it reads the counters where they are and takes samples of
// them when it is asked. It knows no store and no connection from inside. The samples are
// behind a mutex that is held with nothing else locked.
package management
