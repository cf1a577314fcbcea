package management

import (
	"net/http"

	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/broker"
)

// extendConsumer gives a consumer its whole acknowledgement timeout again (CTO-2), for all that
// is out with it or, with delivery_tag in the body, for one delivery. Those may whose connection
// it is, and administrators: a worker needs no tag, only what it consumes with. It may not know
// how its channel is called, as addresses may be rewritten on the way; so "-" is the one channel
// of the caller's that has such a consumer. It is no change that is worth a line in the log: a
// worker with a long job asks for it again and again.
func (c *call) extendConsumer() error {
	f, err := c.fields()
	if err != nil {
		return err
	}
	var tag int64
	if err := f.integer("delivery_tag", &tag); err != nil {
		return err
	}
	if tag < 0 {
		return badRequest("delivery_tag should be positive, actually was %d", tag)
	}
	vhost, channel := c.args[0], c.args[1]
	if channel == "-" {
		if channel, err = c.ownChannel(vhost, c.args[2]); err != nil {
			return err
		}
	}
	owner, ok := c.ownerOf(vhost, channel)
	if !ok {
		return notFound
	}
	if c.user != nil && owner != c.user.Name && !c.user.HasTag(auth.Administrator) {
		return notAuthorised("User not authorised to access object")
	}
	if err := c.Broker.ExtendConsumer(c.now, vhost, channel, c.args[2], uint64(tag)); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}

// ownChannel is the name of the one channel of the caller's, or of anybody's on the socket,
// on which something is out with a consumer of that tag.
func (c *call) ownChannel(vhost, consumer string) (string, error) {
	caller := ""
	if c.user != nil {
		caller = c.user.Name
	}
	switch channels := c.Broker.ChannelsAwaiting(vhost, consumer, caller); len(channels) {
	case 0:
		return "", notFound
	case 1:
		return channels[0], nil
	default:
		return "", badRequest("%d channels have a consumer '%s': say which", len(channels), consumer)
	}
}

// ownerOf is whose connection the channel of that name is on, if the caller may see it.
func (c *call) ownerOf(vhost, channel string) (user string, ok bool) {
	for _, s := range c.sessions(func(d broker.SessionInfo) bool { return d.VHost == vhost }) {
		for _, ch := range s.Session.Channels() {
			if channelName(s.Name, ch.Number) == channel {
				return s.User, true
			}
		}
	}
	return "", false
}
