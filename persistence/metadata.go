package persistence

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/leveretmq/leveret/amqp"
	"github.com/leveretmq/leveret/auth"
	"github.com/leveretmq/leveret/binding"
	"github.com/leveretmq/leveret/exchange"
	"github.com/leveretmq/leveret/policy"
	"github.com/leveretmq/leveret/queue"
	"github.com/leveretmq/leveret/topology"
)

// The kinds of declared things, second byte of a metadata key. Virtual hosts, users,
// permissions, policies and global parameters follow by name; exchanges, queues and bindings by their numbers,
// so that the late delete of a predecessor cannot hit its successor of the same name.
const (
	kindVHost           = 1
	kindUser            = 2
	kindPermission      = 3
	kindPolicy          = 4
	kindExchange        = 5
	kindQueue           = 6
	kindBinding         = 7
	kindTopicPermission = 9
	kindGlobalParameter = 10
)

// metadataVersion is the version of a record under 01: tag, length, value in a row. Tags
// that are not known are skipped.
const metadataVersion = 1

// metadataPart is how much of a record goes into one value, so that it stays inline.
const metadataPart = 4000

const (
	exchangeDurable    = 1 << 0
	exchangeAutoDelete = 1 << 1
	exchangeInternal   = 1 << 2

	vhostTracing   = 1 << 0
	vhostProtected = 1 << 1

	queueDurable    = 1 << 0
	queueExclusive  = 1 << 1
	queueAutoDelete = 1 << 2
)

// appendMetadataKey appends the key of r without its part number.
func appendMetadataKey(dst []byte, r topology.Record) []byte {
	dst = append(dst, keyMetadata)
	switch r := r.(type) {
	case topology.VHost:
		return appendName(append(dst, kindVHost), r.Name)
	case topology.User:
		return appendName(append(dst, kindUser), r.Name)
	case topology.Permission:
		return appendName(appendName(append(dst, kindPermission), r.User), r.VHost)
	case topology.TopicPermission:
		return appendName(appendName(appendName(append(dst, kindTopicPermission), r.User), r.VHost), r.Exchange)
	case topology.Policy:
		return appendName(appendName(append(dst, kindPolicy, byte(flagBits(r.Operator, 1))), r.VHost), r.Name)
	case topology.GlobalParameter:
		return appendName(append(dst, kindGlobalParameter), r.Name)
	case topology.Exchange:
		return binary.BigEndian.AppendUint64(append(dst, kindExchange), r.ID)
	case topology.Queue:
		return binary.BigEndian.AppendUint64(append(dst, kindQueue), uint64(r.ID))
	case topology.Binding:
		dst = binary.BigEndian.AppendUint64(append(dst, kindBinding), r.SourceID)
		dst = binary.BigEndian.AppendUint64(dst, r.DestinationID)
		// The whole identity could be longer than a key may be.
		sum := sha256.Sum256([]byte(r.Binding.Key()))
		return append(dst, sum[:16]...)
	}
	panic(fmt.Sprintf("persistence: no key for a %T", r))
}

func appendName(dst []byte, name string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(name))), name...)
}

// appendMetadata appends the record's value, whole.
func appendMetadata(dst []byte, r topology.Record) []byte {
	dst = append(dst, metadataVersion)
	switch r := r.(type) {
	case topology.VHost:
		dst = appendTag(dst, 1, r.Name)
		dst = appendText(dst, 2, r.Description)
		for _, t := range r.Tags {
			dst = appendTag(dst, 3, t)
		}
		dst = appendText(dst, 4, r.DefaultQueueType)
		if flags := flagBits(r.Tracing, vhostTracing) | flagBits(r.Protected, vhostProtected); flags != 0 {
			dst = appendNumber(dst, 5, flags)
		}
		return appendLimits(dst, 6, r.Limits)
	case topology.User:
		dst = appendTag(dst, 1, r.Name)
		dst = appendTag(dst, 2, r.PasswordHash)
		dst = appendTag(dst, 3, r.Algorithm)
		for _, t := range r.Tags {
			dst = appendTag(dst, 4, t)
		}
		return appendLimits(dst, 5, r.Limits)
	case topology.Permission:
		dst = appendTag(dst, 1, r.User)
		dst = appendTag(dst, 2, r.VHost)
		dst = appendTag(dst, 3, r.Configure)
		dst = appendTag(dst, 4, r.Write)
		return appendTag(dst, 5, r.Read)
	case topology.TopicPermission:
		dst = appendTag(dst, 1, r.User)
		dst = appendTag(dst, 2, r.VHost)
		dst = appendTag(dst, 3, r.Exchange)
		dst = appendTag(dst, 4, r.Write)
		return appendTag(dst, 5, r.Read)
	case topology.Policy:
		dst = appendTag(dst, 1, r.VHost)
		dst = appendTag(dst, 2, r.Name)
		dst = appendNumber(dst, 3, flagBits(r.Operator, 1))
		dst = appendTag(dst, 4, r.Pattern)
		dst = appendTag(dst, 5, string(r.ApplyTo))
		dst = appendSigned(dst, 6, int64(r.Priority))
		return appendArguments(dst, 7, r.Definition)
	case topology.GlobalParameter:
		dst = appendTag(dst, 1, r.Name)
		return appendTag(dst, 2, r.Value)
	case topology.Exchange:
		dst = appendNumber(dst, 1, r.ID)
		dst = appendTag(dst, 2, r.Spec.VHost)
		dst = appendTag(dst, 3, r.Spec.Name)
		dst = appendTag(dst, 4, r.Spec.Type)
		dst = appendNumber(dst, 5, flagBits(r.Spec.Durable, exchangeDurable)|
			flagBits(r.Spec.AutoDelete, exchangeAutoDelete)|flagBits(r.Spec.Internal, exchangeInternal))
		return appendArguments(dst, 6, r.Spec.Arguments)
	case topology.Queue:
		dst = appendNumber(dst, 1, uint64(r.ID))
		dst = appendTag(dst, 2, r.Spec.VHost)
		dst = appendTag(dst, 3, r.Spec.Name)
		dst = appendNumber(dst, 4, flagBits(r.Spec.Durable, queueDurable)|
			flagBits(r.Spec.Exclusive, queueExclusive)|flagBits(r.Spec.AutoDelete, queueAutoDelete))
		return appendText(appendArguments(dst, 5, r.Spec.Arguments), 6, r.Spec.By)
	case topology.Binding:
		dst = appendTag(dst, 1, r.VHost)
		dst = appendNumber(dst, 2, r.SourceID)
		dst = appendNumber(dst, 3, r.DestinationID)
		dst = appendTag(dst, 4, r.Binding.Source)
		dst = appendNumber(dst, 5, uint64(r.Binding.Kind))
		dst = appendTag(dst, 6, r.Binding.Destination)
		dst = appendTag(dst, 7, r.Binding.RoutingKey)
		return appendText(appendArguments(dst, 8, r.Binding.Arguments), 9, r.Binding.By)
	}
	panic(fmt.Sprintf("persistence: no record for a %T", r))
}

func flagBits(set bool, bit uint64) uint64 {
	if set {
		return bit
	}
	return 0
}

func appendNumber(dst []byte, tag, n uint64) []byte {
	var b [binary.MaxVarintLen64]byte
	return appendTag(dst, tag, binary.AppendUvarint(b[:0], n))
}

func appendSigned(dst []byte, tag uint64, n int64) []byte {
	var b [binary.MaxVarintLen64]byte
	return appendTag(dst, tag, binary.AppendVarint(b[:0], n))
}

// appendText writes a text unless it is empty, so that records written before there was
// such a tag stay as they are.
func appendText(dst []byte, tag uint64, s string) []byte {
	if s == "" {
		return dst
	}
	return appendTag(dst, tag, s)
}

// appendLimits writes each limit as its value and then its name.
func appendLimits(dst []byte, tag uint64, limits auth.Limits) []byte {
	for _, l := range limits {
		dst = appendTag(dst, tag, append(binary.AppendVarint(nil, l.Value), l.Name...))
	}
	return dst
}

// appendArguments writes arguments as a field table in wire form. None are not written,
// so that none come back as none.
func appendArguments(dst []byte, tag uint64, t amqp.Table) []byte {
	if t == nil {
		return dst
	}
	return appendTag(dst, tag, amqp.AppendTable(nil, t))
}

// decodeMetadata reads a record of the kind in its key.
func decodeMetadata(kind byte, b []byte) (topology.Record, error) {
	c := cursor{b: b}
	if v := c.octet(); v != metadataVersion && !c.failed {
		return nil, &newerError{what: "a declaration", version: uint64(v)}
	}
	var f fields
	for len(c.b) > 0 && !c.failed {
		tag := c.uvarint()
		f.add(tag, c.bytes(c.uvarint()))
	}
	r := f.record(kind)
	if c.failed || f.err != nil {
		return nil, damaged("a declaration of kind %d cannot be read", kind)
	}
	if r == nil {
		return nil, &newerError{what: fmt.Sprintf("a declaration of kind %d", kind), version: metadataVersion}
	}
	return r, nil
}

// fields are the tagged values of a record.
type fields struct {
	tags   []uint64
	values [][]byte
	err    error
}

func (f *fields) add(tag uint64, v []byte) {
	f.tags, f.values = append(f.tags, tag), append(f.values, v)
}

func (f *fields) record(kind byte) topology.Record {
	switch kind {
	case kindVHost:
		flags := f.number(5)
		return topology.VHost{Name: f.text(1), Description: f.text(2), Tags: f.texts(3), DefaultQueueType: f.text(4),
			Tracing:   flags&vhostTracing != 0,
			Protected: flags&vhostProtected != 0,
			Limits:    f.limits(6)}
	case kindUser:
		return topology.User{User: auth.User{
			Name: f.text(1), PasswordHash: f.text(2), Algorithm: f.text(3), Tags: f.texts(4), Limits: f.limits(5)}}
	case kindTopicPermission:
		return topology.TopicPermission{TopicPermission: auth.TopicPermission{
			User: f.text(1), VHost: f.text(2), Exchange: f.text(3), Write: f.text(4), Read: f.text(5)}}
	case kindPolicy:
		return topology.Policy{Operator: f.number(3) != 0, Policy: policy.Policy{
			VHost: f.text(1), Name: f.text(2), Pattern: f.text(4), ApplyTo: policy.ApplyTo(f.text(5)),
			Priority: int(f.signed(6)), Definition: f.arguments(7)}}
	case kindGlobalParameter:
		return topology.GlobalParameter{Name: f.text(1), Value: f.text(2)}
	case kindPermission:
		return topology.Permission{Permission: auth.Permission{
			User: f.text(1), VHost: f.text(2), Configure: f.text(3), Write: f.text(4), Read: f.text(5)}}
	case kindExchange:
		flags := f.number(5)
		return topology.Exchange{ID: f.number(1), Spec: exchange.Spec{
			VHost: f.text(2), Name: f.text(3), Type: f.text(4),
			Durable:    flags&exchangeDurable != 0,
			AutoDelete: flags&exchangeAutoDelete != 0,
			Internal:   flags&exchangeInternal != 0,
			Arguments:  f.arguments(6)}}
	case kindQueue:
		flags := f.number(4)
		return topology.Queue{ID: queue.ID(f.number(1)), Spec: queue.Spec{
			VHost: f.text(2), Name: f.text(3),
			Durable:    flags&queueDurable != 0,
			Exclusive:  flags&queueExclusive != 0,
			AutoDelete: flags&queueAutoDelete != 0,
			Arguments:  f.arguments(5),
			By:         f.text(6)}}
	case kindBinding:
		return topology.Binding{VHost: f.text(1), SourceID: f.number(2), DestinationID: f.number(3),
			Binding: binding.Binding{
				Source: f.text(4), Kind: binding.Kind(f.number(5)), Destination: f.text(6),
				RoutingKey: f.text(7), Arguments: f.arguments(8), By: f.text(9)}}
	}
	return nil
}

func (f *fields) find(tag uint64) ([]byte, bool) {
	for i, t := range f.tags {
		if t == tag {
			return f.values[i], true
		}
	}
	return nil, false
}

func (f *fields) text(tag uint64) string {
	v, _ := f.find(tag)
	return string(v)
}

func (f *fields) texts(tag uint64) []string {
	var all []string
	for i, t := range f.tags {
		if t == tag {
			all = append(all, string(f.values[i]))
		}
	}
	return all
}

func (f *fields) number(tag uint64) uint64 { return integer(f, tag, binary.Uvarint) }

func (f *fields) signed(tag uint64) int64 { return integer(f, tag, binary.Varint) }

// integer is 0 when there is no such field.
func integer[T uint64 | int64](f *fields, tag uint64, decode func([]byte) (T, int)) T {
	v, ok := f.find(tag)
	if !ok {
		return 0
	}
	n, used := decode(v)
	if used <= 0 {
		f.err = damaged("a number cannot be read")
	}
	return n
}

func (f *fields) limits(tag uint64) auth.Limits {
	var all auth.Limits
	for _, v := range f.texts(tag) {
		n, used := binary.Varint([]byte(v))
		if used <= 0 {
			f.err = damaged("a limit cannot be read")
			return nil
		}
		all = append(all, auth.Limit{Name: v[used:], Value: n})
	}
	return all
}

func (f *fields) arguments(tag uint64) amqp.Table {
	v, ok := f.find(tag)
	if !ok {
		return nil
	}
	t, _, err := amqp.DecodeTable(v)
	if err != nil {
		f.err = err
	}
	return t
}
