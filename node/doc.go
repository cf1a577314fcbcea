// Package node puts the parts together: out of a configuration it makes a broker that
// runs. It opens the store, restores the broker from it, declares the topology, listens,
// and takes everything down again in the order that loses nothing. The command and
// brokertest both start a node, so that a test has what production has.
//
// It decides nothing about messages and refuses to know where a configuration came from.
// It has no locks: a Node belongs to whoever started it.
package node
