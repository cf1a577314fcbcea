package node

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMemoryIsThatOfTheContainer(t *testing.T) {
	f := func(want int64, files map[string]string) {
		t.Helper()
		root := t.TempDir()
		for name, text := range files {
			file := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got := memoryOf(root); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	const machine = "MemTotal:        4096 kB\nMemFree:          100 kB\n"
	f(0, nil)
	f(4<<20, map[string]string{"proc/meminfo": machine})
	// Version 2: in a container its own group is at the top.
	f(1<<20, map[string]string{
		"proc/meminfo": machine, "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1048576\n",
	})
	f(4<<20, map[string]string{
		"proc/meminfo": machine, "proc/self/cgroup": "0::/a.slice/b.service\n", "sys/fs/cgroup/a.slice/b.service/memory.max": "max\n",
	})
	f(2<<20, map[string]string{ // a group above is smaller
		"proc/meminfo": machine, "proc/self/cgroup": "0::/a.slice/b.service\n",
		"sys/fs/cgroup/a.slice/b.service/memory.max": "3145728\n", "sys/fs/cgroup/a.slice/memory.max": "2097152\n",
	})
	// Version 1, and a path of the machine that the container does not see.
	f(3<<20, map[string]string{
		"proc/meminfo": machine, "proc/self/cgroup": "5:cpu:/x\n4:memory:/docker/0123\n0::/y\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes": "3145728\n",
	})
	f(4<<20, map[string]string{ // without a limit it is a very large number
		"proc/meminfo": machine, "proc/self/cgroup": "4:memory:/\n",
		"sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
	})
}

// keep holds on to what a test allocates.
var keep []byte

func TestGaugeTellsWhatIsInUse(t *testing.T) {
	h := new(heap)
	// What other tests have left goes, and what was only waiting to be finalized.
	h.Collect()
	h.Collect()
	before, collections := h.Live(), h.Collections()
	keep = make([]byte, 64<<20)
	if got := h.Used() - before; got < 63<<20 {
		t.Errorf("got %d more in use, want 64 MiB", got)
	}
	h.Collect()
	if got := h.Live() - before; got < 63<<20 || h.Collections() == collections {
		t.Errorf("got %d more alive after a collection, want 64 MiB", got)
	}
	keep = nil
	h.Collect()
	if got := h.Live() - before; got > 32<<20 {
		t.Errorf("got %d more alive after everything was let go", got)
	}
}
