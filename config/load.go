package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Sources is where Load looks. The zero value has nothing but the defaults, so a test
// reads neither the machine's environment nor its files unless it says so; Process is
// what a running broker uses.
type Sources struct {
	// File is the configuration file to read. --config and LEVERET_CONFIG go before it. A
	// file named in any of the three ways must exist.
	File string

	// Search are files that are read if they exist, below File; the first wins.
	Search []string

	// Environ is the environment, each entry NAME=value.
	Environ []string

	// Flags are parsed flags that Flags added; only those given on the command line count.
	Flags *pflag.FlagSet

	// Set gives settings by their key, such as store.backend, and wins over everything. It is
	// for verbs whose own flags imply a setting.
	Set map[string]string

	// Hostname is the host's name, for node_name; empty asks the operating system.
	Hostname string
}

// Process is the sources of a running broker: flags, which may be nil, the environment of
// the process, ./leveret.yaml and /etc/leveret/leveret.yaml.
func Process(flags *pflag.FlagSet) Sources {
	return Sources{
		Search:  []string{"./leveret.yaml", "/etc/leveret/leveret.yaml"},
		Environ: os.Environ(),
		Flags:   flags,
	}
}

// Load reads the configuration src leads to. Its error names every key that is unknown,
// unreadable or beyond its limits, one to a line, and where it was found.
func Load(src Sources) (Config, error) {
	environment, ignored, err := readEnvironment(src.Environ)
	if err != nil {
		return Config{}, err
	}
	files, names, err := src.readFiles()
	if err != nil {
		return Config{}, err
	}
	c := Default()
	c.Files, c.Ignored = names, ignored

	v := viper.New()
	origin := map[string]string{}
	for _, s := range settings() {
		v.SetDefault(s.key, s.show(&c))
	}
	for _, l := range append(files, environment) {
		if err := v.MergeConfigMap(l.nested()); err != nil {
			return Config{}, fmt.Errorf("config: merge configuration: %w", err)
		}
		for key, from := range l.origin {
			origin[key] = from
		}
		if l.topology != nil {
			// Decoding on top replaces the lists this layer has and leaves the others.
			if err := l.topology.Decode(&c.Topology); err != nil {
				return Config{}, fmt.Errorf("config: topology: %w", err)
			}
		}
	}
	if err := bindFlags(v, src.Flags, origin); err != nil {
		return Config{}, err
	}
	if err := src.override(v, origin); err != nil {
		return Config{}, err
	}

	var problems []problem
	for _, s := range settings() {
		if err := s.assign(&c, v.Get(s.key)); err != nil {
			problems = append(problems, problem{s.key, err.Error()})
		}
	}
	if c.NodeName == "" {
		c.NodeName = src.nodeName()
	}
	c.normalise()
	if len(problems) == 0 {
		problems = c.problems()
	}
	return c, asError(problems, origin)
}

// readFiles are the layers of src, the lowest first, and their names, the highest first.
func (src Sources) readFiles() (layers []*layer, names []string, err error) {
	explicit := src.explicitFile()
	paths := src.Search
	if explicit != "" {
		paths = append([]string{explicit}, paths...)
	}
	var seen []string
	for _, path := range paths {
		if slices.Contains(seen, filepath.Clean(path)) {
			continue
		}
		seen = append(seen, filepath.Clean(path))
		l, found, err := readFile(path)
		switch {
		case err != nil:
			return nil, nil, err
		case found:
			layers = append(layers, l)
			names = append(names, path)
		case path == explicit:
			return nil, nil, fmt.Errorf("config: no configuration file at %s", path)
		}
	}
	slices.Reverse(layers)
	return layers, names, nil
}

// explicitFile is the file that was asked for by name, or nothing.
func (src Sources) explicitFile() string {
	if src.Flags != nil {
		if f := src.Flags.Lookup(configFlag); f != nil && f.Changed {
			return f.Value.String()
		}
	}
	for _, entry := range slices.Backward(src.Environ) {
		if path, ok := strings.CutPrefix(entry, configVariable+"="); ok && path != "" {
			return path
		}
	}
	return src.File
}

func (src Sources) override(v *viper.Viper, origin map[string]string) error {
	for key, value := range src.Set {
		if !slices.ContainsFunc(settings(), func(s setting) bool { return s.key == key }) {
			near, _ := nearest(key, knownKeys())
			return fmt.Errorf("config: unknown key %s; the nearest there is: %s", key, near)
		}
		v.Set(key, value)
		delete(origin, key)
	}
	return nil
}

func (src Sources) nodeName() string {
	host := src.Hostname
	if host == "" {
		// A host without a name still gets a broker: nothing but display depends on it.
		host, _ = os.Hostname()
	}
	if host == "" {
		host = "localhost"
	}
	return "leveret@" + host
}

// asError joins problems, one to a line, each with where its key was set.
func asError(problems []problem, origin map[string]string) error {
	var errs []error
	for _, p := range problems {
		from := origin[p.key]
		if strings.HasPrefix(p.key, topologyKey) {
			from = origin[topologyKey]
		}
		if from != "" {
			from = " (" + from + ")"
		}
		errs = append(errs, fmt.Errorf("config: %s: %s%s", p.key, p.text, from))
	}
	return errors.Join(errs...)
}
