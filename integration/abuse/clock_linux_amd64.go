package main

import (
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"time"
)

// movedClock is a copy of the broker's binary whose wall clock can be moved, while that of the
// machine stays as it is. The runtime of Go asks a function that the kernel brings along for
// the time, and looks for it when it starts, in runtime.vdsoauxv. In the copy that function is
// exchanged: it puts one of ours in that place, which asks the kernel by a system call, and
// adds to what it says of the wall clock a number of seconds that is kept beside it.
type movedClock struct {
	path   string
	file   int64  // where the seconds are in the file
	memory uint64 // and in the process
}

// moveClock makes such a copy.
func moveClock(binaryPath, copyPath string) (m *movedClock, err error) {
	b, err := os.ReadFile(binaryPath)
	if err != nil {
		return nil, err
	}
	f, err := elf.Open(binaryPath)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	var place, asked elf.Symbol
	for _, s := range symbols {
		switch s.Name {
		case "runtime.vdsoauxv":
			place = s
		case "runtime.vdsoClockgettimeSym":
			asked = s
		}
	}
	if place.Value == 0 || asked.Value == 0 || f.Type != elf.ET_EXEC {
		return nil, fmt.Errorf("%s is not a binary of Go that has its symbols", binaryPath)
	}
	text := f.Sections[place.Section]
	at := int64(place.Value-text.Addr) + int64(text.Offset)
	const oursAt, secondsAt = 16, 48
	relative := func(to, next uint64) []byte { // of an instruction that ends at next
		return binary.LittleEndian.AppendUint32(nil, uint32(to-next))
	}
	var code []byte
	add := func(octets ...byte) { code = append(code, octets...) }
	add(0x48, 0x8d, 0x0d) // lea rcx, ours
	add(relative(place.Value+oursAt, place.Value+7)...)
	add(0x48, 0x89, 0x0d) // mov vdsoClockgettimeSym, rcx
	add(relative(asked.Value, place.Value+14)...)
	add(0xc3, 0x90)                     // ret
	add(0xb8, 228, 0, 0, 0, 0x0f, 0x05) // ours: mov eax, clock_gettime; syscall
	add(0x85, 0xff, 0x75, 10)           // test edi, edi; jne to the end: not the wall clock
	add(0x48, 0x8b, 0x0d)               // mov rcx, seconds
	add(relative(place.Value+secondsAt, place.Value+oursAt+18)...)
	add(0x48, 0x01, 0x0e, 0xc3) // add [rsi], rcx; ret
	if len(code) > secondsAt || place.Size < secondsAt+8 {
		return nil, fmt.Errorf("%d octets of code do not fit into %d", len(code)+8, place.Size)
	}
	copy(b[at:], code)
	clear(b[at+secondsAt:][:8])
	m = &movedClock{path: copyPath, file: at + secondsAt, memory: place.Value + secondsAt}
	return m, os.WriteFile(copyPath, b, 0o755)
}

// startWith moves the clock of whoever starts the copy from now on.
func (m *movedClock) startWith(by time.Duration) error { return m.put(m.path, m.file, by) }

// move moves the clock of one that runs.
func (m *movedClock) move(pid int, by time.Duration) error {
	return m.put(fmt.Sprintf("/proc/%d/mem", pid), int64(m.memory), by)
}

func (m *movedClock) put(file string, at int64, by time.Duration) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close() // what was written is there
	_, err = f.WriteAt(binary.LittleEndian.AppendUint64(nil, uint64(int64(by/time.Second))), at)
	return err
}
