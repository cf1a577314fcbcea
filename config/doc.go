// Package config is the broker's configuration: one documented struct, the places it
// is read from, and the order in which they win.
//
// A setting is looked for in this order, and the first that has it wins:
//
//	a flag                          --data-dir, --listen, …
//	the environment                 LEVERET_AMQP_FRAME_MAX for amqp.frame_max
//	the file named by --config      or by LEVERET_CONFIG
//	./leveret.yaml
//	/etc/leveret/leveret.yaml
//	the default
//
// The files are layers: one that leaves a setting out leaves it to the next. A list is
// one setting, so the list of a higher layer replaces that of a lower one. An empty
// variable counts as unset, because compose files cannot leave a variable out.
//
// A key that means nothing is an error, as a misspelt limit is worse than a broker that
// does not start. Files are therefore walked here, node by node, so that the error can
// name the line and the nearest key there is; viper then puts the layers on top of each
// other. The section topology never goes through viper: it lower-cases every key it is
// given, and the arguments of a queue are keys that applications choose.
//
// The sentence that documents a setting is written once, as the comment of its field,
// and is read from the embedded source when the configuration is printed.
//
// The package refuses to know what its values are for. It imports no other package of
// the broker and is the only one that imports viper; cmd turns its values into each
// package's own options. It has no lock, as a Config is a value.
package config
