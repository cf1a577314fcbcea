package config

import "time"

// Config is every setting of the broker. Its tags hold the key in a file and the limits,
// its comments are what `leveret config print` shows above each key, Default has the
// defaults.
//
// The tags: key is the name in a file and, in upper case, in the environment; min and
// max are inclusive limits; bare is the unit of a duration given as a plain number;
// oneof lists the words allowed; empty is the word that stands for an empty list; file
// allows the variable with _FILE behind it; secret keeps the value out of print.
type Config struct {
	// The name of this node, shown to clients and in metrics. Nothing on disk depends on it.
	// When empty it is leveret@ and the name of the host.
	NodeName string `key:"node_name"`

	// The directory that holds everything the broker must not lose. It is created when missing.
	DataDir string `key:"data_dir"`

	// The addresses AMQP clients connect to, each host:port, :port or a port; or off.
	Listen []string `key:"listen" empty:"off"`

	// The addresses that answer /metrics for Prometheus, each host:port, :port or a port; or off.
	MetricsListen []string `key:"metrics_listen" empty:"off"`

	// The addresses that answer the management HTTP API, each host:port, :port or a port; or off.
	ManagementListen []string `key:"management_listen" empty:"off"`

	// The user that is created when the data directory is new and has no user, and there are no
	// load_definitions.
	DefaultUser string `key:"default_user" file:"true"`

	// The password of that user. In the environment, LEVERET_DEFAULT_PASS_FILE names a file that
	// holds it.
	DefaultPass string `key:"default_pass" file:"true" secret:"true"`

	// The virtual host that is created when the data directory is new, and there are no
	// load_definitions.
	DefaultVHost string `key:"default_vhost" file:"true"`

	// The users that may connect only from this machine; or none.
	LoopbackUsers []string `key:"loopback_users" empty:"none"`

	// How long a shutdown waits for clients to answer connection.close before it cuts them off.
	// Some never do, those that only publish among them; and containers are killed after 10 s. A
	// plain number is milliseconds.
	ShutdownTimeout time.Duration `key:"shutdown_timeout" bare:"ms" min:"0s" max:"10m"`

	// The free space on the disk of the data directory below which publishers are stopped, until
	// there is a tenth more than this again. A size; 0 is 1 GiB, or a tenth of a disk smaller
	// than 10 GiB, but 64 MiB if it has them twice.
	DiskFreeLimit Size `key:"disk_free_limit" min:"0"`

	// The memory in use above which publishers are stopped. A size; 0 is six tenths of what the
	// machine, or the container, has.
	MemoryLimit Size `key:"memory_limit" min:"0"`

	// Whether the default exchange keeps a message with an x-delay header for so many
	// milliseconds, as exchanges of the type x-delayed-message do. What it has kept comes when
	// it is due, whatever this says by then.
	DelayedDefaultExchange bool `key:"delayed_default_exchange"`

	// A file with definitions, as leveret definitions export and RabbitMQ write them, or a
	// directory whose files *.json are taken in the order of their names. Everything in it is
	// declared at every start, before the topology and before anybody can connect: users,
	// permissions and policies replace those of the same name; queues and exchanges that are
	// there stay as they are. If something in it cannot be declared nothing is, and the broker
	// does not start. A data directory that is new gets what is in it and neither default_user
	// nor default_vhost.
	LoadDefinitions string `key:"load_definitions" optional:"true"`

	// How load_definitions are taken.
	Definitions Definitions `key:"definitions"`

	// What is agreed with AMQP clients, and what they are held to.
	AMQP AMQP `key:"amqp"`

	// TLS, on ports of its own. It is on when there is a certificate.
	TLS TLS `key:"tls"`

	// Where messages and declarations are kept.
	Store Store `key:"store"`

	// What is logged, and how.
	Log Log `key:"log"`

	// What is declared when the broker starts. Users get the password, tags and permissions
	// said here, whatever they had before, and policies are what is said here. Anything else that exists already has to be the
	// same, or the broker does not start.
	Topology Topology `key:"topology"`

	// Files are the configuration files that were read, the one that wins first.
	Files []string `key:"-"`

	// Ignored are variables of the environment that begin with LEVERET_ but name no setting
	// and resemble none, such as those an orchestrator makes for a service called leveret.
	Ignored []string `key:"-"`
}

// Definitions is how load_definitions are taken.
type Definitions struct {
	// Whether they are passed over when they are, to the octet, what was imported at a start
	// last. What was changed or deleted since then stays so.
	SkipIfUnchanged bool `key:"skip_if_unchanged"`
}

// AMQP is what is agreed with AMQP clients, and what they are held to.
type AMQP struct {
	// The largest frame offered to clients, its header and end included. A size.
	FrameMax Size `key:"frame_max" min:"4096" max:"16MiB"`

	// The most channels a connection may have open at once.
	ChannelMax int `key:"channel_max" min:"1" max:"65535"`

	// The heartbeat offered to clients: a connection silent for twice as long is closed.
	// 0 offers none. As in RabbitMQ a plain number is seconds, and so is what is sent.
	Heartbeat time.Duration `key:"heartbeat" bare:"s" min:"0s" max:"65535s"`

	// How long a client may take from its first byte to connection.open. A plain number is
	// milliseconds.
	HandshakeTimeout time.Duration `key:"handshake_timeout" bare:"ms" min:"100ms" max:"10m"`

	// The SASL mechanisms clients may log in with. EXTERNAL is for those that have shown a TLS
	// certificate, and needs no password.
	AuthMechanisms []string `key:"auth_mechanisms" oneof:"PLAIN AMQPLAIN EXTERNAL"`

	// The wrong passwords that are looked at in a second from one address, of AMQP and of the
	// management API together. Others from there, right ones too, are refused for the rest of
	// that second. 0 is any number.
	MaxWrongLogins int `key:"max_wrong_logins" min:"0" max:"1000000"`

	// The most connections that may be open without having logged in; when there are more, the
	// oldest of them are closed. 0 is a quarter of max_connections or, when that is no limit either, of what the limit of
	// open files has room for.
	MaxUnauthenticated int `key:"max_unauthenticated" min:"0" max:"10000000"`

	// The same for one address, or network of 64 bits of IPv6. 0 is any number.
	MaxUnauthenticatedPerAddress int `key:"max_unauthenticated_per_address" min:"0" max:"10000000"`

	// The largest body a message may have; a larger one closes the channel. A size.
	MaxMessageSize Size `key:"max_message_size" min:"1" max:"512MiB"`

	// The most consumers a channel may have.
	MaxConsumersPerChannel int `key:"max_consumers_per_channel" min:"1" max:"1000000"`

	// The bytes of messages and settlements that a transaction may hold before tx.commit; more
	// closes the connection. A size.
	MaxTransactionSize Size `key:"max_transaction_size" min:"64KiB" max:"1GiB"`

	// The most connections there may be; one more is refused. 0 is as many as there are file
	// descriptors for, and in the next three no limit.
	MaxConnections int `key:"max_connections" min:"0" max:"100000000"`

	// The most channels that all connections together may have open.
	MaxChannels int `key:"max_channels" min:"0" max:"100000000"`

	// The most queues that all virtual hosts together may have. Those that are there stay.
	MaxQueues int `key:"max_queues" min:"0" max:"100000000"`

	// The most exchanges that all virtual hosts together may have, with those that every
	// virtual host begins with, and without the default ones.
	MaxExchanges int `key:"max_exchanges" min:"0" max:"100000000"`

	// How long a client may take to read what is written to it at once before it is cut off. A
	// plain number is milliseconds.
	WriteTimeout time.Duration `key:"write_timeout" bare:"ms" min:"1s" max:"1h"`

	// The bytes waiting to be sent to a client above which its consumers are given no more;
	// they are served again below a quarter of it. A size.
	OutboundHighWater Size `key:"outbound_high_water" min:"64KiB" max:"1GiB"`

	// How long a client may take to acknowledge a delivery, unless its queue, a policy or the
	// consumer says otherwise (x-consumer-timeout, consumer-timeout). 0 is for ever. A plain
	// number is milliseconds.
	ConsumerTimeout time.Duration `key:"consumer_timeout" bare:"ms" min:"0s" max:"4000h"`

	// What happens when a client takes longer. consumer puts what the consumer has back into
	// the queue and cancels it; a client that cannot be told so has its channel closed. channel
	// closes the channel of every client, as RabbitMQ did before 4.3.
	ConsumerTimeoutAction string `key:"consumer_timeout_action" oneof:"consumer channel"`

	// The product told to clients in server-properties. Some behave differently when it is
	// not RabbitMQ.
	CompatProduct string `key:"compat_product"`

	// The version told to clients in server-properties: the level of RabbitMQ they may expect.
	CompatVersion string `key:"compat_version"`
}

// TLS is what clients find where TLS is spoken, and what is asked of them.
type TLS struct {
	// The addresses AMQP clients connect to with TLS, each host:port, :port or a port; or off.
	Listen []string `key:"listen" empty:"off"`

	// The addresses that answer the management HTTP API over HTTPS, each host:port, :port or a
	// port; or off.
	ManagementListen []string `key:"management_listen" empty:"off"`

	// The file with the certificate of this broker, in PEM, followed by those between it and
	// its authority. When empty there is no TLS. It and the files below are read again when they
	// have changed, and on SIGHUP; connections that are open stay.
	CertFile string `key:"cert_file" optional:"true"`

	// The file with the key of that certificate, in PEM, not encrypted.
	KeyFile string `key:"key_file" optional:"true"`

	// The file with the authorities, in PEM, that certificates of clients have to come from.
	CAFile string `key:"ca_file" optional:"true"`

	// A file with lists of revoked certificates, in PEM, each signed by an authority in ca_file.
	CRLFile string `key:"crl_file" optional:"true"`

	// What is asked of AMQP clients. none asks for no certificate, optional verifies one that a
	// client has, required refuses clients without one.
	Verify string `key:"verify" oneof:"none optional required"`

	// The same for clients of the management API, who log in with a password in any case.
	ManagementVerify string `key:"management_verify" oneof:"none optional required"`

	// What of a client's certificate names the user that the mechanism EXTERNAL logs in.
	LoginFrom string `key:"login_from" oneof:"common_name distinguished_name subject_alternative_name"`

	// The type of the subject alternative name that names the user, with login_from:
	// subject_alternative_name.
	LoginSANType string `key:"login_san_type" oneof:"dns email uri ip"`

	// Which of the names of that type, from 0.
	LoginSANIndex int `key:"login_san_index" min:"0" max:"1000"`

	// The oldest version of TLS that is spoken.
	MinVersion string `key:"min_version" oneof:"1.2 1.3"`

	// How long a client may take to agree on TLS. It is part of amqp.handshake_timeout. A plain
	// number is milliseconds.
	HandshakeTimeout time.Duration `key:"handshake_timeout" bare:"ms" min:"100ms" max:"10m"`

	// How often the files are looked at. 0 is only on SIGHUP. A plain number is seconds.
	ReloadInterval time.Duration `key:"reload_interval" bare:"s" min:"0s" max:"24h"`
}

// Enabled tells whether there is TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// Store is where messages and declarations are kept.
type Store struct {
	// badger keeps them in the data directory. memory keeps them nowhere: they end with the
	// process.
	Backend string `key:"backend" oneof:"badger memory"`

	// The bytes that may wait to be written to disk before publishers are held back. A size.
	MaxUnstored Size `key:"max_unstored" min:"64KiB" max:"1GiB"`

	// The bytes of messages that all queues together keep in memory. What goes beyond is on
	// disk only, transient messages as well, and read again when it is needed. Each queue
	// keeps 64KiB of its own. A size.
	QueueMemory Size `key:"queue_memory" min:"1MiB" max:"1024GiB"`

	// The bytes of the journal, where messages of all queues lie as they came, before the
	// oldest are written again to places of their queues. At twice that publishers are held
	// back. Messages that are consumed before are written once, and a start after a crash
	// reads it. A size.
	JournalMax Size `key:"journal_max" min:"16MiB" max:"16GiB"`

	// adaptive tells the kernel to write single pages of the store's logs while little is
	// committed at once, and large ones otherwise; on Linux only. system leaves it to the
	// kernel.
	Readahead string `key:"readahead" oneof:"adaptive system"`

	// The size of a file that only takes up room. It is deleted when the disk is too full for
	// the broker to start otherwise, so that it can start and be drained, and made again when
	// there is room. Disks smaller than 8 GiB have none. A size; 0 is none.
	Ballast Size `key:"ballast" min:"0" max:"16GiB"`

	// A file with the key that everything in the store is encrypted with (AES): 16, 24 or 32
	// octets, in hexadecimal, in base64, or as they are. A store is encrypted from its first
	// start on, or never, and keeps its key: to change it, or to begin or end encrypting, copy
	// the store with a backup into a new one. When empty nothing is encrypted.
	EncryptionKeyFile string `key:"encryption_key_file" optional:"true"`
}

// Log is what is logged, and how.
type Log struct {
	// The least important lines that are written.
	Level string `key:"level" oneof:"trace debug info warn error"`

	// console is for people, json for machines; auto is console on a terminal and json otherwise.
	Format string `key:"format" oneof:"auto console json"`
}

// Default is the configuration of a broker that was told nothing. NodeName is empty in
// it; Load fills it in.
func Default() Config {
	return Config{
		DataDir:          "./leveret-data",
		Listen:           []string{":5672"},
		MetricsListen:    []string{":15692"},
		ManagementListen: []string{":15672"},
		DefaultUser:      "guest",
		DefaultPass:      "guest",
		DefaultVHost:     "/",
		LoopbackUsers:    []string{"guest"},
		ShutdownTimeout:  3 * time.Second,
		AMQP: AMQP{
			FrameMax:               128 * KiB,
			ChannelMax:             2047,
			Heartbeat:              60 * time.Second,
			HandshakeTimeout:       10 * time.Second,
			MaxMessageSize:         16 * MiB,
			MaxConsumersPerChannel: 2500,
			MaxTransactionSize:     32 * MiB,
			WriteTimeout:           30 * time.Second,
			OutboundHighWater:      1 * MiB,
			ConsumerTimeoutAction:  "consumer",
			CompatProduct:          "RabbitMQ",
			CompatVersion:          "4.2.0",

			AuthMechanisms:               []string{"PLAIN", "AMQPLAIN", "EXTERNAL"},
			MaxWrongLogins:               10,
			MaxUnauthenticatedPerAddress: 100,
		},
		TLS: TLS{
			Listen:           []string{":5671"},
			ManagementListen: []string{":15671"},
			Verify:           "none",
			ManagementVerify: "none",
			LoginFrom:        "common_name",
			LoginSANType:     "dns",
			MinVersion:       "1.2",
			HandshakeTimeout: 5 * time.Second,
			ReloadInterval:   10 * time.Second,
		},
		Store: Store{
			Backend:     "badger",
			MaxUnstored: 8 * MiB,
			QueueMemory: 16 * MiB,
			JournalMax:  256 * MiB,
			Readahead:   "adaptive",
			Ballast:     256 * MiB,
		},
		Log: Log{
			Level:  "info",
			Format: "auto",
		},
	}
}
