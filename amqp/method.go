package amqp

// Method is one method of the protocol with its arguments. Each is a struct of its own
// in methods_gen.go; arguments the specification reserves are not in the struct, are
// skipped when decoding and written as zero.
type Method interface {
	// Decode reads the arguments, which are all of b: what follows class and method id
	// in a method frame. On failure it returns an *Error and leaves the method in no
	// particular state:
	//
	//	missing or surplus octets       hard 501 on this method (W-24)
	//	a shortstr that is not UTF-8    hard 501 on no method (W-28)
	//	a table that cannot be read     hard 502 on this method
	Decode(b []byte) error

	// Append appends class id, method id and arguments to dst: the payload of a method
	// frame. A short string longer than 255 octets is cut as Truncate cuts it, because a
	// wrong length would spoil everything after it; names are checked on the way in.
	Append(dst []byte) []byte

	// ID returns the method's class and method id.
	ID() (class, method uint16)

	// Name returns the method's name, such as basic.publish.
	Name() string
}
