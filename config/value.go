package config

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// masked stands in print for a secret that is not the default. Reading it back is an
// error, or a printed configuration would quietly change a password.
const masked = "<masked>"

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	listType     = reflect.TypeFor[[]string]()
)

// assign puts raw, the text or the list of texts that a layer holds, into the field of s.
func (s setting) assign(c *Config, raw any) error {
	v := s.value(c)
	if v.Type() == listType {
		list, err := s.parseList(raw)
		if err != nil {
			return err
		}
		v.Set(reflect.ValueOf(list))
		return nil
	}
	text, ok := raw.(string)
	if !ok {
		return errors.New("a list stands where one value belongs")
	}
	switch {
	case v.Kind() == reflect.String:
		if text == masked && s.tag("secret") != "" {
			return errMasked
		}
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		switch text = strings.TrimSpace(text); text {
		case "true", "false":
			v.SetBool(text == "true")
		default:
			return fmt.Errorf("%q is neither true nor false", text)
		}
	default:
		n, err := s.parseNumber(v.Type(), strings.TrimSpace(text))
		if err != nil {
			return err
		}
		v.SetInt(n)
	}
	return nil
}

var errMasked = fmt.Errorf("%s is what is printed in place of a secret, not the secret", masked)

// parseNumber reads text as a value of t: a duration, a size or an int. The limits of s
// are read with it as well as its values.
func (s setting) parseNumber(t reflect.Type, text string) (int64, error) {
	switch t {
	case durationType:
		return parseDuration(text, s.tag("bare"))
	case sizeType:
		size, err := ParseSize(text)
		return int64(size), err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return int64(n), nil
}

// parseDuration reads 10s, 1m30s or, without a unit, a number of the unit bare.
func parseDuration(text, bare string) (int64, error) {
	unit := ""
	if _, err := strconv.ParseFloat(text, 64); err == nil {
		unit = bare
	}
	d, err := time.ParseDuration(text + unit)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 10s, 1m30s or 250ms", text)
	}
	return int64(d), nil
}

// parseList reads a list, or one line with commas, or the word that stands for an empty list.
func (s setting) parseList(raw any) ([]string, error) {
	items, ok := raw.([]string)
	if !ok {
		items = strings.Split(raw.(string), ",")
	}
	empty := s.tag("empty")
	list := make([]string, 0, len(items))
	for _, item := range items {
		switch item = strings.TrimSpace(item); {
		case item == empty && len(items) > 1:
			return nil, fmt.Errorf("%s stands alone or not at all", empty)
		case item == "":
			return nil, fmt.Errorf("an empty entry; for an empty list write %s", empty)
		case item != empty:
			list = append(list, item)
		}
	}
	return list, nil
}

// show is the value of s as assign would read it: a text or a list of texts.
func (s setting) show(c *Config) any {
	v := s.value(c)
	switch v.Type() {
	case listType:
		list := v.Interface().([]string)
		if len(list) == 0 {
			return s.tag("empty")
		}
		return list
	case durationType:
		return showDuration(time.Duration(v.Int()))
	}
	return fmt.Sprint(v.Interface())
}

// showDuration writes d without the zero minutes and seconds that Duration.String adds,
// and up to two minutes in seconds, which is how heartbeats and timeouts are spoken of.
func showDuration(d time.Duration) string {
	if d%time.Second == 0 && d < 2*time.Minute {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
