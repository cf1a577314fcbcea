package config

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "LEVERET_"

	// rabbitPrefix is accepted for the first user and virtual host, because compose files
	// and test containers written for RabbitMQ's image set them.
	rabbitPrefix = "RABBITMQ_"

	// configVariable names the configuration file, as --config does.
	configVariable = envPrefix + "CONFIG"

	fileSuffix = "_FILE"
)

// serviceVariable matches what Kubernetes and container links put into the environment
// for a service whose name begins with leveret.
var serviceVariable = regexp.MustCompile(
	`^LEVERET_(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|NAME)$`)

// readEnvironment is the layer environ makes, each entry NAME=value, and the variables it
// has that look like ours and are not. A variable with nothing in it is unset.
func readEnvironment(environ []string) (l *layer, ignored []string, err error) {
	vars := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && value != "" {
			vars[name] = value
		}
	}
	l = newLayer()
	known := []string{configVariable}
	var errs []error
	for _, s := range settings() {
		names := []string{s.variable()}
		known = append(known, s.variable())
		if s.tag("file") != "" {
			known = append(known, s.variable()+fileSuffix)
			names = append(names, rabbitPrefix+strings.TrimPrefix(s.variable(), envPrefix))
		}
		for _, name := range names {
			value, from, err := lookup(vars, name, s.tag("file") != "")
			if err != nil {
				errs = append(errs, fmt.Errorf("config: %s: %w", s.key, err))
				break
			}
			if from != "" {
				l.values[s.key], l.origin[s.key] = value, from
				break
			}
		}
	}
	for name := range vars {
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) {
			continue
		}
		if near, meant := resembles(name, known); meant {
			errs = append(errs, fmt.Errorf("config: unknown variable %s; the nearest there is: %s", name, near))
			continue
		}
		ignored = append(ignored, name)
	}
	slices.Sort(ignored)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return l, ignored, errors.Join(errs...)
}

// lookup is the value of the variable name, or of the file that name_FILE names, and
// which of the two it came from; from is empty when neither is set.
func lookup(vars map[string]string, name string, fileToo bool) (value, from string, err error) {
	value, set := vars[name]
	path, fileSet := vars[name+fileSuffix]
	switch {
	case !fileToo || !fileSet:
		if set {
			from = name
		}
		return value, from, nil
	case set:
		return "", "", fmt.Errorf("%s and %s%s are both set", name, name, fileSuffix)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", "", fmt.Errorf("%s%s: %w", name, fileSuffix, err)
	}
	// Editors and echo end a file with a newline that is not part of the secret.
	value = strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	return value, name + fileSuffix, nil
}

// resembles tells whether name, which is not known, was meant to be a setting: it names
// a section, or is a slip or two away from a variable that is known.
func resembles(name string, known []string) (near string, meant bool) {
	if serviceVariable.MatchString(name) {
		return "", false
	}
	near, distance := nearest(name, known)
	if distance <= 2 {
		return near, true
	}
	rest := strings.TrimPrefix(name, envPrefix)
	if strings.HasPrefix(rest, "TOPOLOGY_") {
		return "topology, in a file", true
	}
	for _, s := range settings() {
		section, _, inside := strings.Cut(s.key, ".")
		if inside && strings.HasPrefix(rest, strings.ToUpper(section)+"_") {
			return near, true
		}
	}
	return "", false
}
