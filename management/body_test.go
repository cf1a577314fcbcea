package management

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestBodyOfAnyLengthIsReadAsItIs(t *testing.T) {
	f := func(size int, through func(io.Reader) io.Reader) {
		t.Helper()
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(i * 7)
		}
		got, err := readAll(through(bytes.NewReader(want)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("got %d bytes and %v, want the %d that there are", len(got), err, size)
		}
	}
	as := func(r io.Reader) io.Reader { return r }
	for _, size := range []int{0, 1, 4095, 4096, 4097, 12288, piece, 3*piece + 5} {
		f(size, as)
	}
	f(10000, iotest.OneByteReader)
	broken := errors.New("broken")
	if _, err := readAll(iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("got %v, want what is wrong", err)
	}
}
