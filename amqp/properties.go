package amqp

// Has reports whether all the properties of flags are there.
func (p *Properties) Has(flags uint16) bool { return p.Flags&flags == flags }

// PropertyView is what publishing asks of a message's properties, found in one pass
// over the bytes. Its strings and Headers alias those bytes.
type PropertyView struct {
	Flags         uint16 // which properties are there
	DeliveryMode  uint8
	Priority      uint8
	CorrelationID string
	ReplyTo       string
	Expiration    string
	MessageID     string
	Timestamp     uint64 // seconds, or whatever the publisher meant
	UserID        string
	Headers       []byte // the entries of the header table, for FindHeader; well formed
}

// Has reports whether all the properties of flags are there.
func (v *PropertyView) Has(flags uint16) bool { return v.Flags&flags == flags }

// HasHeaders reports whether there is a header table. It may be empty.
func (v *PropertyView) HasHeaders() bool { return v.Flags&FlagHeaders != 0 }

// ScanProperties checks the property flags and the properties, which are all of b, and
// returns the ones publishing needs. It accepts exactly what Properties.Decode accepts,
// with the same errors, and does not allocate.
func ScanProperties(b []byte) (v PropertyView, err error) {
	d := decoder{b: b}
	v.Flags = d.flags()
	if v.Flags&FlagContentType != 0 {
		d.skipShortstr()
	}
	if v.Flags&FlagContentEncoding != 0 {
		d.skipShortstr()
	}
	if v.Flags&FlagHeaders != 0 {
		v.Headers = d.tableBody()
	}
	if v.Flags&FlagDeliveryMode != 0 {
		v.DeliveryMode = d.octet()
	}
	if v.Flags&FlagPriority != 0 {
		v.Priority = d.octet()
	}
	if v.Flags&FlagCorrelationID != 0 {
		v.CorrelationID = borrow(d.skipShortstr())
	}
	if v.Flags&FlagReplyTo != 0 {
		v.ReplyTo = borrow(d.skipShortstr())
	}
	if v.Flags&FlagExpiration != 0 {
		v.Expiration = borrow(d.skipShortstr())
	}
	if v.Flags&FlagMessageID != 0 {
		v.MessageID = borrow(d.skipShortstr())
	}
	if v.Flags&FlagTimestamp != 0 {
		v.Timestamp = d.longlong()
	}
	if v.Flags&FlagType != 0 {
		d.skipShortstr()
	}
	if v.Flags&FlagUserID != 0 {
		v.UserID = borrow(d.skipShortstr())
	}
	if v.Flags&FlagAppID != 0 {
		d.skipShortstr()
	}
	if v.Flags&FlagClusterID != 0 {
		d.skipShortstr()
	}
	if err := d.endProperties(b); err != nil {
		return PropertyView{}, err
	}
	return v, nil
}
