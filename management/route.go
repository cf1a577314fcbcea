package management

import (
	"net/http"
	"net/url"
	"strings"
)

// route is a path and a method, and who answers them.
type route struct {
	method    string
	path      []string // its segments; one in braces stands for any
	access    access
	vhost     bool // the first name in it is that of a virtual host
	monitored bool // whoever may monitor may GET it in every virtual host
	maxBody   int64
	handle    func(*call) error
}

// match is a route that a path fits, and what stands where it has names.
type match struct {
	route *route
	args  []string
}

// segmentsOf cuts a path at its slashes before it undoes its escapes, so that a name may
// have a slash in it: %2F is the virtual host that everybody has. One slash at the end does
// not matter. It is false for what is not below /api, or is not escaped as it should be.
func segmentsOf(u *url.URL) (segments []string, ok bool) {
	path, ok := strings.CutPrefix(u.EscapedPath(), "/api/")
	if !ok {
		return nil, false
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path, "/"), "/") {
		name, err := url.PathUnescape(segment)
		if err != nil || name == "" {
			return nil, false
		}
		segments = append(segments, name)
	}
	return segments, true
}

// matching are the routes that fit a path: those of one pattern, the one with the fewest
// names in it.
func matching(segments []string) []match {
	var found []match
	for i := range routes {
		args, ok := routes[i].match(segments)
		switch {
		case !ok, len(found) > 0 && len(args) > len(found[0].args):
			continue
		case len(found) > 0 && len(args) < len(found[0].args):
			found = found[:0]
		}
		found = append(found, match{&routes[i], args})
	}
	return found
}

func (r *route) match(segments []string) (args []string, ok bool) {
	if len(segments) != len(r.path) {
		return nil, false
	}
	for i, s := range r.path {
		if strings.HasPrefix(s, "{") {
			args = append(args, segments[i])
		} else if s != segments[i] {
			return nil, false
		}
	}
	return args, true
}

// on is a row of the table of routes. A path whose first name is {vhost} is about that
// virtual host.
func on(method, path string, a access, handle func(*call) error) route {
	r := route{method: method, path: strings.Split(path, "/"), access: a, handle: handle}
	i := strings.IndexByte(path, '{')
	r.vhost = i >= 0 && strings.HasPrefix(path[i:], "{vhost}")
	return r
}

func get(path string, a access, handle func(*call) error) route {
	return on(http.MethodGet, path, a, handle)
}

func put(path string, a access, handle func(*call) error) route {
	return on(http.MethodPut, path, a, handle)
}

func post(path string, a access, handle func(*call) error) route {
	return on(http.MethodPost, path, a, handle)
}

func del(path string, a access, handle func(*call) error) route {
	return on(http.MethodDelete, path, a, handle)
}

// inAny is r for paths that are answered whether or not there is the virtual host.
func (r route) inAny() route {
	r.vhost = false
	return r
}

// watched is r for what whoever may monitor sees in every virtual host.
func (r route) watched() route {
	r.monitored = true
	return r
}

// large is r for bodies that may be large.
func (r route) large() route {
	r.maxBody = maxLargeBody
	return r
}
