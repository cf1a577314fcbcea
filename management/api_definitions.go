package management

import (
	"errors"
	"io"
	"mime"
	"strings"

	"github.com/leveretmq/leveret/broker"
	"github.com/leveretmq/leveret/definitions"
	"github.com/leveretmq/leveret/queue"
)

func (c *call) versions() definitions.Versions {
	n := c.self()
	return definitions.Versions{Compat: n.CompatVersion, Product: product, Version: n.Version}
}

func (c *call) exportDefinitions() error {
	c.download()
	return c.ok(definitions.Export(c.Broker, c.versions()))
}

func (c *call) exportVHost() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	c.download()
	return c.ok(definitions.ExportVHost(v, c.versions()))
}

// download has a browser save the answer, under the name that was asked for.
func (c *call) download() {
	if name := c.r.URL.Query().Get("download"); name != "" {
		c.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	}
}

func (c *call) importDefinitions() error {
	return c.load(func(d definitions.Definitions, out *queue.Effects) (definitions.Result, error) {
		return definitions.Import(c.now, c.Broker, d, out)
	})
}

func (c *call) importVHost() error {
	v, err := c.vhost()
	if err != nil {
		return err
	}
	return c.load(func(d definitions.Definitions, out *queue.Effects) (definitions.Result, error) {
		return definitions.ImportVHost(c.now, v, c.Broker, d, out)
	})
}

// load reads definitions and has them declared.
func (c *call) load(declare func(definitions.Definitions, *queue.Effects) (definitions.Result, error)) error {
	text, err := c.file()
	if err != nil {
		return err
	}
	d, err := definitions.Parse(text)
	if err != nil {
		return err
	}
	var result definitions.Result
	if err := c.change(func(out *queue.Effects) (*broker.Commit, error) {
		result, err = declare(d, out)
		return result.Commit, err
	}); err != nil {
		return err
	}
	return c.gone()
}

// file is the body, or the file in the form that it is.
func (c *call) file() ([]byte, error) {
	if !strings.HasPrefix(c.r.Header.Get("Content-Type"), "multipart/form-data") {
		return c.body()
	}
	parts, err := c.r.MultipartReader()
	if err != nil {
		return nil, badRequest("%v", err)
	}
	for {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, badRequest("there is no file in the form")
		}
		if err != nil {
			return nil, badRequest("%v", err)
		}
		if part.FormName() == "file" {
			b, err := readAll(part)
			if err != nil {
				return nil, badRequest("%v", err)
			}
			return b, nil
		}
	}
}
