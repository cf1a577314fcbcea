package management

import (
	"errors"
	"io"
)

// piece is how much of a body is read and copied at once.
const piece = 1 << 20

// readAll reads all of r. Appending would copy a large body again and again, each time at one
// go, which the collector waits for and with it everybody else; so it is put together from
// pieces when its length is known.
func readAll(r io.Reader) ([]byte, error) {
	var pieces [][]byte
	size, length := 0, 4<<10
	for {
		p := make([]byte, length)
		n, err := io.ReadFull(r, p)
		if n > 0 {
			pieces = append(pieces, p[:n])
			size += n
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return joined(pieces, size), nil
		case err != nil:
			return nil, err
		}
		length = min(2*length, piece)
	}
}

// joined puts pieces of so many bytes together. A single one, which most bodies are, is taken
// as it is.
func joined(pieces [][]byte, size int) []byte {
	if len(pieces) == 1 {
		return pieces[0]
	}
	whole := make([]byte, 0, size)
	for _, p := range pieces {
		whole = append(whole, p...)
	}
	return whole
}
