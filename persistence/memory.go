package persistence

// memory is the backend that keeps nothing and is always ready.
type memory struct{ group uint64 }

func (m *memory) next() uint64 { return m.group + 1 }

func (m *memory) write(*group) error {
	m.group++
	return nil
}

func (m *memory) close() error { return nil }
