package binding

// Keys matches routing keys that are equal, octet by octet: the matcher of direct
// (EX-30). The zero value is empty.
type Keys struct {
	byKey map[string]*destinations
}

// Add lets messages with b's routing key lead to d.
func (k *Keys) Add(b Binding, d *Destination) {
	to := k.byKey[b.RoutingKey]
	if to == nil {
		to = new(destinations)
		if k.byKey == nil {
			k.byKey = make(map[string]*destinations)
		}
		k.byKey[b.RoutingKey] = to
	}
	to.add(d)
}

// Remove takes back one Add of b's routing key to d. What was never added is ignored.
func (k *Keys) Remove(b Binding, d *Destination) {
	to := k.byKey[b.RoutingKey]
	if to == nil {
		return
	}
	if to.remove(d); len(to.each) == 0 {
		delete(k.byKey, b.RoutingKey)
	}
}

// Match appends to dst the destinations of key.
func (k *Keys) Match(dst []*Destination, key string) []*Destination {
	if to := k.byKey[key]; to != nil {
		return append(dst, to.each...)
	}
	return dst
}
