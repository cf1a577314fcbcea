package main

import (
	"fmt"
	"os"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/config"
)

// newLogger writes to f what c asks for: lines for people on a terminal, JSON elsewhere,
// unless c says which.
func newLogger(f *os.File, c config.Log) (zerolog.Logger, error) {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil {
		return zerolog.Logger{}, fmt.Errorf("log.level: %w", err)
	}
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z07:00"
	// A line that cannot be written has nowhere to be complained about.
	zerolog.ErrorHandler = func(error) {}
	terminal := isatty.IsTerminal(f.Fd())
	log := zerolog.New(f)
	if c.Format == "console" || c.Format == "auto" && terminal {
		log = zerolog.New(zerolog.ConsoleWriter{Out: f, TimeFormat: time.StampMilli, NoColor: !terminal})
	}
	return log.Level(level).With().Timestamp().Logger(), nil
}
