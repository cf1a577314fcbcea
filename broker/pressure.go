package broker

// Before memory is so short that publishers are stopped, those who have taken much and not
// acknowledged it get no more: what is noted of a delivery that is out cannot leave memory,
// and whoever is stopped cannot acknowledge either, so that there would be no end to it (E18).

// relievable is a Session that may hold deliveries back while memory is under pressure.
type relievable interface {
	// Relieved tells that memory is not under pressure any more. It must not block and may
	// come from any goroutine.
	Relieved()
}

// UnderPressure reports whether deliveries are held back from those who have much out. It
// takes no lock.
func (b *Broker) UnderPressure() bool { return b.pressure.Load() }

// SetPressure says whether there is so little memory left that deliveries are held back.
func (b *Broker) SetPressure(on bool) {
	if b.pressure.Swap(on) == on || on {
		return
	}
	for _, s := range b.Sessions() {
		if r, ok := s.(relievable); ok {
			r.Relieved()
		}
	}
}
