package broker

import (
	"errors"
	"slices"
	"testing"

	"github.com/leveretmq/leveret/topology"
)

// C-2, DEF-1: global parameters are kept as they were set, and the name of the cluster is one.
func TestGlobalParametersAreKept(t *testing.T) {
	n := newNode(t)
	set := func(name, value string) {
		t.Helper()
		if _, err := n.b.SetGlobalParameter(topology.GlobalParameter{Name: name, Value: value}); err != nil {
			t.Fatal(err)
		}
	}
	check := func(cluster string, want ...topology.GlobalParameter) {
		t.Helper()
		n.disk.commit()
		n = restart(t, n.disk)
		if got := n.b.GlobalParameters(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if got := n.b.ClusterName(); got != cluster {
			t.Errorf("got the name %q, want %q", got, cluster)
		}
	}
	check("")
	set("endpoints", `["amqp://a"]`)
	set("cluster_name", `"hares"`)
	check("hares", topology.GlobalParameter{Name: "cluster_name", Value: `"hares"`}, topology.GlobalParameter{Name: "endpoints", Value: `["amqp://a"]`})
	set("endpoints", `{}`)
	check("hares", topology.GlobalParameter{Name: "cluster_name", Value: `"hares"`}, topology.GlobalParameter{Name: "endpoints", Value: `{}`})
	for _, name := range []string{"endpoints", "cluster_name"} {
		if _, err := n.b.DeleteGlobalParameter(name); err != nil {
			t.Error(err)
		}
	}
	check("")
	var no *Refusal
	if _, err := n.b.DeleteGlobalParameter("endpoints"); !errors.As(err, &no) || no.Kind != NotFound {
		t.Errorf("got %v, want that there is none", err)
	}
}

func TestGlobalParameterThatCannotBe(t *testing.T) {
	n := newNode(t)
	f := func(name, value string) {
		t.Helper()
		var no *Refusal
		if _, err := n.b.SetGlobalParameter(topology.GlobalParameter{Name: name, Value: value}); !errors.As(err, &no) || no.Kind != Invalid {
			t.Errorf("got %v, want a refusal", err)
		}
	}
	f("", "1")
	f("a", "")
	f("a", "{")
	f("cluster_name", "5")
	f("cluster_name", `""`)
	f("internal_cluster_id", `"x"`)
	if got := n.b.GlobalParameters(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}
