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

	// The user that is created when the data directory is new and has no user.
	DefaultUser string `key:"default_user" file:"true"`

	// The password of that user. In the environment, LEVERET_DEFAULT_PASS_FILE names a file that
	// holds it.
	DefaultPass string `key:"default_pass" file:"true" secret:"true"`

	// The virtual host that is created when the data directory is new.
	DefaultVHost string `key:"default_vhost" file:"true"`

	// The users that may connect only from this machine; or none.
	LoopbackUsers []string `key:"loopback_users" empty:"none"`

	// How long a shutdown waits for clients to answer connection.close before it cuts them off.
	// A plain number is milliseconds.
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

	// What is agreed with AMQP clients, and what they are held to.
	AMQP AMQP `key:"amqp"`

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

	// The largest body a message may have; a larger one closes the channel. A size.
	MaxMessageSize Size `key:"max_message_size" min:"1" max:"512MiB"`

	// The most consumers a channel may have.
	MaxConsumersPerChannel int `key:"max_consumers_per_channel" min:"1" max:"1000000"`

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
		ShutdownTimeout:  10 * time.Second,
		AMQP: AMQP{
			FrameMax:               128 * KiB,
			ChannelMax:             2047,
			Heartbeat:              60 * time.Second,
			HandshakeTimeout:       10 * time.Second,
			MaxMessageSize:         128 * MiB,
			MaxConsumersPerChannel: 65535,
			OutboundHighWater:      1 * MiB,
			ConsumerTimeoutAction:  "consumer",
			CompatProduct:          "RabbitMQ",
			CompatVersion:          "4.2.0",
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
