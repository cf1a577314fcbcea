package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

const configFlag = "config"

// flagNames are the flags and the settings they give.
var flagNames = []struct{ flag, key string }{
	{"data-dir", "data_dir"},
	{"listen", "listen"},
	{"metrics-listen", "metrics_listen"},
	{"management-listen", "management_listen"},
	{"log-level", "log.level"},
}

// Flags adds the flags of the configuration to fs: --config, --data-dir, --listen,
// --metrics-listen, --management-listen and --log-level. Parsed, fs is what Sources.Flags wants.
func Flags(fs *pflag.FlagSet) {
	fs.String(configFlag, "", "the configuration file to read (default ./leveret.yaml, /etc/leveret/leveret.yaml)")
	c := Default()
	for _, s := range settings() {
		for _, f := range flagNames {
			if f.key != s.key {
				continue
			}
			usage := strings.TrimSuffix(strings.ReplaceAll(s.comment(), "\n", " "), ".")
			if list, ok := s.show(&c).([]string); ok {
				fs.StringSlice(f.flag, list, usage)
			} else {
				fs.String(f.flag, fmt.Sprint(s.show(&c)), usage)
			}
		}
	}
}

// bindFlags lays the flags of fs that were given on top of v.
func bindFlags(v *viper.Viper, fs *pflag.FlagSet, origin map[string]string) error {
	if fs == nil {
		return nil
	}
	for _, f := range flagNames {
		flag := fs.Lookup(f.flag)
		if flag == nil || !flag.Changed {
			continue
		}
		if err := v.BindPFlag(f.key, flag); err != nil {
			return fmt.Errorf("config: bind --%s: %w", f.flag, err)
		}
		origin[f.key] = "--" + f.flag
	}
	return nil
}
