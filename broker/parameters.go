package broker

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/leveretmq/leveret/topology"
)

// The global parameters that mean something. The others are kept for the tools that set them.
const (
	ClusterName = "cluster_name"
	// ClusterID names the store, not what is declared in it: it cannot be set.
	ClusterID = "internal_cluster_id"
	// DefinitionsHash has a hash of the files that were imported at start last (DEF-7). It
	// tells of this node alone, and does not travel in definitions.
	DefinitionsHash = "imported_definition_hash_value"
)

// ClusterName is what clients and operators are told that this is: the global parameter of
// that name, or until that is set, what the options say (C-2).
func (b *Broker) ClusterName() string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.clusterName()
}

// clusterName is ClusterName with b.mu held.
func (b *Broker) clusterName() string {
	var name string
	if value, ok := b.parameters[ClusterName]; ok {
		// It was checked when it was set; what a later version may have stored is no name.
		_ = json.Unmarshal([]byte(value), &name)
	}
	return cmp.Or(name, b.options.ClusterName)
}

// GlobalParameters returns what is said of the whole node, by name; the cluster's name is
// always among it.
func (b *Broker) GlobalParameters() []topology.GlobalParameter {
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := []topology.GlobalParameter{}
	for name, value := range b.parameters {
		if name != ClusterName {
			all = append(all, topology.GlobalParameter{Name: name, Value: value})
		}
	}
	if name := b.clusterName(); name != "" {
		text, err := json.Marshal(name)
		if err != nil {
			panic(err) // of a string there is always JSON
		}
		all = append(all, topology.GlobalParameter{Name: ClusterName, Value: string(text)})
	}
	slices.SortFunc(all, func(x, y topology.GlobalParameter) int { return cmp.Compare(x.Name, y.Name) })
	return all
}

// GlobalParameter returns the JSON of a global parameter, and whether it is set.
func (b *Broker) GlobalParameter(name string) (value string, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	value, ok = b.parameters[name]
	return value, ok
}

// SetGlobalParameter sets a global parameter, or gives the one of that name another value,
// which is JSON. The error is a *Refusal.
func (b *Broker) SetGlobalParameter(p topology.GlobalParameter) (*Commit, error) {
	if err := CheckGlobalParameter(p); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.write(topology.Unit{Puts: []topology.Record{p}})
	b.parameters[p.Name] = p.Value
	return c, nil
}

// CheckGlobalParameter says why p cannot be set: nil, or a *Refusal.
func CheckGlobalParameter(p topology.GlobalParameter) error {
	switch {
	case p.Name == "":
		return refuse(Invalid, "a global parameter has to have a name")
	case p.Name == ClusterID:
		return refuse(Invalid, "%s cannot be set", ClusterID)
	case !json.Valid([]byte(p.Value)):
		return refuse(Invalid, "the value of %s is not JSON", p.Name)
	}
	if name := ""; p.Name == ClusterName && (json.Unmarshal([]byte(p.Value), &name) != nil || name == "") {
		return refuse(Invalid, "%s has to be a text", ClusterName)
	}
	return nil
}

// DeleteGlobalParameter takes a global parameter away; the cluster has the name of the options
// then. If there is none of that name, the error is a *Refusal.
func (b *Broker) DeleteGlobalParameter(name string) (*Commit, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.parameters[name]; !ok {
		return nil, refuse(NotFound, "Not Found")
	}
	delete(b.parameters, name)
	return b.writeDeletes([]topology.Record{topology.GlobalParameter{Name: name}}), nil
}

func (b *Broker) restoreParameters(c topology.Catalog) {
	for _, p := range c.GlobalParameters {
		b.parameters[p.Name] = p.Value
	}
}
