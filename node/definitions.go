package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/config"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// loadDefinitions imports what load_definitions names, all of it or nothing (DEF-7). It does so
// at every start, which changes nothing the second time but for what has been changed since;
// that is kept where definitions that are the same are to be skipped.
func loadDefinitions(now time.Time, b *broker.Broker, c config.Config, log zerolog.Logger) error {
	if c.LoadDefinitions == "" {
		return nil
	}
	all, hash, err := readDefinitions(c.LoadDefinitions)
	if err != nil {
		return fmt.Errorf("load_definitions: %w", err)
	}
	// The parameter is JSON, as all are.
	hash = `"` + hash + `"`
	before, _ := b.GlobalParameter(broker.DefinitionsHash)
	if c.Definitions.SkipIfUnchanged && before == hash {
		log.Info().Str("path", c.LoadDefinitions).Msg("definitions skipped, as they are those imported last")
		return nil
	}
	var out queue.Effects
	_, err = definitions.ImportAll(now, b, all, &out)
	if err == nil && before != hash {
		// Units are committed in their order, so where the hash is stored everything is.
		_, err = b.SetGlobalParameter(topology.GlobalParameter{Name: broker.DefinitionsHash, Value: hash})
	}
	b.Flush(now, &out)
	if err != nil {
		return fmt.Errorf("load_definitions: %w", err)
	}
	log.Info().Str("path", c.LoadDefinitions).Int("files", len(all)).Msg("definitions imported")
	if len(b.Users()) == 0 {
		log.Warn().Msg("nobody can log in: neither the definitions nor the data directory have a user")
	}
	return nil
}

// readDefinitions reads a file, or the *.json of a directory in the order of their names, and
// says what they hash to.
func readDefinitions(path string) (all []definitions.Definitions, hash string, err error) {
	files, err := definitionFiles(path)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.New()
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, "", err
		}
		// The lengths tell where a file ends and the next begins.
		sum.Write(fmt.Appendf(nil, "%s %d\n", filepath.Base(name), len(text)))
		sum.Write(text)
		d, err := definitions.Parse(text)
		if err != nil {
			return nil, "", fmt.Errorf("%s: %w", name, err)
		}
		d.Origin = name
		all = append(all, d)
	}
	return all, hex.EncodeToString(sum.Sum(nil)), nil
}

func definitionFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path) // by name
	if err != nil {
		return nil, err
	}
	var files []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".json") {
			files = append(files, filepath.Join(path, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, errors.New(path + ": there is no file *.json in this directory")
	}
	return files, nil
}
