package config

import (
	"os"
	"regexp"
	"testing"
)

func TestConfigurationInReadmeIsRead(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	samples := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n").FindAllSubmatch(readme, -1)
	if len(samples) == 0 {
		t.Fatal("got no YAML in README.md, want the sample configuration")
	}
	for _, sample := range samples {
		c := load(t, string(sample[1]))
		if len(c.Topology.Queues) == 0 && !c.TLS.Enabled() {
			t.Errorf("got neither queues nor a certificate from\n%s", sample[1])
		}
	}
}
