package management

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// item is one of a list. What is not shown need not be made.
type item struct {
	name string
	make func() object
}

const (
	// pageSize is how many items a page has that does not say, and maxPageSize how many it
	// may have.
	pageSize, maxPageSize = 100, 500
)

// page is what a request asks of a list (API-3).
type page struct {
	number, size int // 0 for the whole list
	name         string
	regexp       *regexp.Regexp
	sort         string
	reverse      bool
	columns      []string
}

func pageOf(q url.Values) (page, error) {
	p := page{sort: q.Get("sort"), reverse: q.Get("sort_reverse") == "true"}
	if c := q.Get("columns"); c != "" {
		p.columns = strings.Split(c, ",")
	}
	number := q.Get("page")
	if number == "" {
		return p, nil
	}
	var err error
	if p.number, err = strconv.Atoi(number); err != nil {
		return p, badRequest("Pagination parameters are invalid")
	}
	p.size = pageSize
	size := "undefined"
	if s := q.Get("page_size"); s != "" {
		size = s
		if p.size, err = strconv.Atoi(s); err != nil {
			return p, badRequest("Pagination parameters are invalid")
		}
	}
	if p.number < 1 || p.size < 1 || p.size > maxPageSize {
		return p, &Refusal{http.StatusBadRequest, "invalid_pagination_parameters",
			"Invalid pagination parameters: page number " + strconv.Itoa(p.number) + ", page size " + size}
	}
	p.name = q.Get("name")
	if q.Get("use_regex") == "true" && p.name != "" {
		if p.regexp, err = regexp.Compile("(?i)" + p.name); err != nil {
			return p, badRequest("Pagination parameters are invalid")
		}
	}
	return p, nil
}

// shows tells whether an item is among those that are asked for.
func (p *page) shows(name string) bool {
	if p.regexp != nil {
		return p.regexp.MatchString(name)
	}
	return p.name == "" || strings.Contains(strings.ToLower(name), strings.ToLower(p.name))
}

// list answers with items, which are in the order of a list that is not sorted, or with a
// page of them.
func (c *call) list(items []item) error {
	p, err := pageOf(c.r.URL.Query())
	if err != nil {
		return err
	}
	if p.number == 0 {
		return c.ok(p.objects(items))
	}
	total := len(items)
	items = slices.DeleteFunc(items, func(i item) bool { return !p.shows(i.name) })
	filtered := len(items)
	pages := (filtered + p.size - 1) / p.size
	if p.number > max(1, pages) {
		return &Refusal{http.StatusBadRequest, "page_out_of_range", "Page out of range, page: " + strconv.Itoa(p.number) +
			" page size: " + strconv.Itoa(p.size) + ", len: " + strconv.Itoa(filtered)}
	}
	first := (p.number - 1) * p.size
	last := min(first+p.size, filtered)
	var shown []object
	if p.sort == "" && !p.reverse {
		shown = p.objects(items[first:last])
	} else {
		shown = p.objects(items)[first:last]
	}
	return c.ok(object{
		"total_count": total, "filtered_count": filtered, "item_count": len(shown),
		"page": p.number, "page_size": p.size, "page_count": pages, "items": shown,
	})
}

// one answers with a single thing.
func (c *call) one(o object) error {
	p, err := pageOf(c.r.URL.Query())
	if err != nil {
		return err
	}
	return c.ok(p.pick(o))
}

// objects makes items, sorts them and leaves out what was not asked for.
func (p *page) objects(items []item) []object {
	all := make([]object, len(items))
	for i := range items {
		all[i] = items[i].make()
	}
	if p.sort != "" {
		path := strings.Split(p.sort, ".")
		slices.SortStableFunc(all, func(a, b object) int { return compare(a.at(path), b.at(path)) })
	}
	if p.reverse {
		slices.Reverse(all)
	}
	for i := range all {
		all[i] = p.pick(all[i])
	}
	return all
}

// pick leaves the columns that are asked for.
func (p *page) pick(o object) object {
	if p.columns == nil {
		return o
	}
	picked := object{}
	for _, column := range p.columns {
		path := strings.Split(column, ".")
		if v := o.at(path); v != nil {
			picked.put(path, v)
		}
	}
	return picked
}

// at is what stands at a path of names, nil if nothing does.
func (o object) at(path []string) any {
	v := o[path[0]]
	if len(path) == 1 {
		return v
	}
	switch inner := v.(type) {
	case object:
		return inner.at(path[1:])
	case map[string]any:
		return object(inner).at(path[1:])
	}
	return nil
}

func (o object) put(path []string, v any) {
	if len(path) == 1 {
		o[path[0]] = v
		return
	}
	inner, ok := o[path[0]].(object)
	if !ok {
		inner = object{}
		o[path[0]] = inner
	}
	inner.put(path[1:], v)
}

// compare orders values of one kind as one would, and those that are missing first.
func compare(a, b any) int {
	x, isNumber := number(a)
	y, areNumbers := number(b)
	switch {
	case a == nil || b == nil:
		return cmp.Compare(boolean(a != nil), boolean(b != nil))
	case isNumber && areNumbers:
		return cmp.Compare(x, y)
	}
	s, isText := a.(string)
	t, areTexts := b.(string)
	if isText && areTexts {
		return cmp.Compare(s, t)
	}
	m, errA := json.Marshal(a)
	n, errB := json.Marshal(b)
	if errA != nil || errB != nil {
		return 0
	}
	return slices.Compare(m, n)
}

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case uint16:
		return float64(v), true
	case float64:
		return v, true
	case rate:
		return float64(v), true
	}
	return 0, false
}
