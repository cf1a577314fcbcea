package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStorageThatIsTakenAway holds P1, P6 and P10, rows E9 to E11: a disk that is full, read
// only, limited, removed or somebody else's.
func TestStorageThatIsTakenAway(t *testing.T) {
	tab := newTable(t)
	for _, megabytes := range []int64{64, 128} {
		tab.row("E9", fmt.Sprintf("a disk of %d MiB filled by another program", megabytes), func(t *testing.T, p *process) string {
			return fullDisk(t, p, megabytes<<20)
		})
	}
	tab.row("E9", "a start on a full disk after a clean stop", func(t *testing.T, p *process) string {
		v := mounted(t, 128<<20)
		p.data = filepath.Join(v.dir, "data")
		w, c := startFilled(t, p, 100)
		c.close()
		_, err := p.terminate()
		must(t, err)
		filler := fill(t, v)
		outcome := startsOrExplains(t, p, w)
		must(t, os.Remove(filler))
		whole(t, p, w)
		return outcome
	})
	tab.row("E10", "a limit on the size of files that allows none of the store's", func(t *testing.T, p *process) string {
		p.wrap = limited(1 << 20)
		return startsOrExplains(t, p, newWitness())
	})
	tab.row("E10", "a limit on the size of files that is reached when a log is rotated", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 10)
		// Growing files is refused from now on; those that are there are large enough for a while.
		must(t, command("prlimit", "--pid", fmt.Sprint(p.cmd.Process.Pid), "--fsize=1048576:1048576"))
		if err := c.publishSingly(10_000); err == nil {
			t.Fatal("10000 messages were confirmed without a new log")
		}
		outcome := failsAsPromised(t, p, w)
		whole(t, p, w)
		return outcome
	})
	tab.row("E10", "the file system turned read only", func(t *testing.T, p *process) string {
		v := mounted(t, 512<<20)
		p.data = filepath.Join(v.dir, "data")
		w, c := startFilled(t, p, 100)
		device, err := v.device()
		must(t, err)
		must(t, v.remount("errors=remount-ro"))
		must(t, os.WriteFile(filepath.Join("/sys/fs/ext4", device, "trigger_fs_error"), []byte("a test\n"), 0))
		outcome := breaks(t, p, w, c)
		must(t, v.unmount())
		must(t, v.mount()) // with an error noted, it takes one mount to clean it
		must(t, v.unmount())
		must(t, v.mount("ro"))
		outcome += "; when started there: " + startsOrExplains(t, p, newWitness())
		must(t, v.unmount())
		must(t, v.mount())
		whole(t, p, w)
		return outcome
	})
	tab.row("E10", "the data directory removed while it is used", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 100)
		must(t, os.RemoveAll(p.data))
		return breaks(t, p, w, c)
	})
	tab.row("E10", "the data directory moved while it is used", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 100)
		must(t, os.Rename(p.data, p.data+"-moved"))
		outcome := breaks(t, p, w, c)
		must(t, os.Rename(p.data+"-moved", p.data))
		whole(t, p, w)
		return outcome
	})
	tab.row("E11", "a second broker on the same directory", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 100)
		second := tab.process(t)
		second.data = p.data
		outcome := startsOrExplains(t, second, newWitness())
		if !strings.Contains(outcome, fmt.Sprintf("in use by pid %d", p.cmd.Process.Pid)) {
			t.Errorf("got %q, want who has it", outcome)
		}
		must(t, c.publish(100, time.Minute)) // the first one was not disturbed
		c.close()
		must(t, p.kill())
		whole(t, p, w)
		return outcome
	})
	tab.row("E11", "a directory that belongs to another user", func(t *testing.T, p *process) string {
		asOther(t, p)
		must(t, os.Mkdir(p.data, 0o700))
		outcome := startsOrExplains(t, p, newWitness())
		expect(t, outcome, refused)
		return outcome
	})
	tab.row("E11", "a directory of its own that it may not write to", func(t *testing.T, p *process) string {
		asOther(t, p)
		must(t, os.Mkdir(p.data, 0o700))
		must(t, os.Chown(p.data, otherUser, otherUser))
		must(t, os.Chmod(p.data, 0o500))
		outcome := startsOrExplains(t, p, newWitness())
		expect(t, outcome, refused)
		if left, err := os.ReadDir(p.data); err != nil || len(left) > 0 {
			t.Errorf("it left %v, %v", left, err)
		}
		return outcome
	})
	tab.row("E11", "a store whose files are another user's", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 100)
		c.close()
		must(t, p.kill())
		must(t, os.Chown(p.data, otherUser, otherUser))
		must(t, os.Chown(filepath.Join(p.data, "store"), otherUser, otherUser))
		asOther(t, p)
		must(t, os.Chmod(p.data, 0o700))
		outcome := startsOrExplains(t, p, w)
		expect(t, outcome, refused)
		whole(t, p, w) // by the one who has them
		return outcome
	})
	tab.row("E11", "a file where the directory should be", func(t *testing.T, p *process) string {
		must(t, os.WriteFile(p.data, []byte("a file\n"), 0o600))
		outcome := startsOrExplains(t, p, newWitness())
		expect(t, outcome, refused)
		return outcome
	})
	tab.row("E11", "a directory in memory", func(t *testing.T, p *process) string {
		if os.Geteuid() != 0 {
			cannotRun(t, "it mounts file systems, which takes root")
		}
		must(t, os.Mkdir(p.data, 0o700))
		if err := command("mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", p.data); err != nil {
			cannotRun(t, err.Error())
		}
		t.Cleanup(func() { must(t, command("umount", "-l", p.data)) })
		w, c := startFilled(t, p, 100)
		c.close()
		if !strings.Contains(p.words(), "in memory") {
			t.Errorf("it does not warn\n%s", p.words())
		}
		must(t, p.kill())
		whole(t, p, w)
		return "started, and warned"
	})
}

// otherUser is nobody.
const otherUser = 65534

// asOther makes a broker run as another user, for whom the way to its data is open.
func asOther(t *testing.T, p *process) {
	t.Helper()
	if os.Geteuid() != 0 {
		cannotRun(t, "it runs a broker as another user, which takes root")
	}
	p.wrap = []string{"setpriv", fmt.Sprint("--reuid=", otherUser), "--clear-groups", "--"}
	for dir := p.dir; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		must(t, os.Chmod(dir, 0o755))
	}
	must(t, os.Chmod(filepath.Dir(p.binary), 0o755))
	must(t, os.Chmod(filepath.Dir(filepath.Dir(p.binary)), 0o755))
}

// limited runs a program that may not write files larger than so many bytes.
func limited(bytes int64) []string {
	return []string{"prlimit", fmt.Sprintf("--fsize=%d", bytes), "--"}
}

// breaks publishes until the store has failed, and checks what has to become of the broker.
func breaks(t *testing.T, p *process, w *witness, c *witnessing) (outcome string) {
	t.Helper()
	var err error
	for n := 0; n < 200 && err == nil; n++ {
		err = c.publish(1+n, 20*time.Second)
	}
	if err == nil {
		t.Fatalf("20000 messages were confirmed all the same\n%s", p.lastWords())
	}
	return failsAsPromised(t, p, w)
}

// fullDisk has another program take what is left of a small disk while messages come in. The
// library maps its files, so that a full disk is a SIGBUS that nothing can catch: the broker
// may die. What was confirmed is there, and it starts as soon as there is room.
func fullDisk(t *testing.T, p *process, size int64) string {
	v := mounted(t, size)
	p.data = filepath.Join(v.dir, "data")
	w, c := startFilled(t, p, 100)
	filler := fill(t, v)
	var err error
	for n := 0; n < 200 && err == nil; n++ {
		err = c.publish(1+n, 20*time.Second)
	}
	if err == nil {
		t.Fatal("20000 messages were confirmed on a full disk")
	}
	how := "it waits"
	if p.waitEnd(5*time.Second) == nil {
		how = "it ended with " + p.cmd.ProcessState.String()
		if p.cmd.ProcessState.Success() {
			t.Errorf("it ended well on a full disk\n%s", p.lastWords())
		}
	} else {
		must(t, p.kill())
	}
	full := startsOrExplains(t, p, w)
	must(t, os.Remove(filler))
	whole(t, p, w)
	return fmt.Sprintf("%s; on the full disk %s; with room %d confirmed, none lost", how, full, len(w.confirmed))
}

// fill takes all the room that a volume has left.
func fill(t *testing.T, v *volume) (filler string) {
	t.Helper()
	filler = filepath.Join(v.dir, "filler")
	if out, err := exec.Command("dd", "if=/dev/zero", "of="+filler, "bs=64k").CombinedOutput(); err == nil {
		t.Fatalf("the disk did not fill up: %s", out)
	}
	return filler
}

// remount changes the options of a volume that is in use.
func (v *volume) remount(options string) error {
	return command("mount", "-o", "remount,"+options, v.dir)
}

// TestSignals holds E22: a broker that is told to stop twice, or while it starts, ends at once
// and has lost nothing.
func TestSignals(t *testing.T) {
	tab := newTable(t)
	tab.row("E22", "SIGTERM under load", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 500)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_ = c.publish(1<<30, time.Minute) // until the broker is gone
		}()
		took, err := p.terminate()
		must(t, err)
		<-ended
		whole(t, p, w)
		return fmt.Sprintf("exit 0 after %v, %d confirmed, none lost", took.Round(time.Millisecond), len(w.confirmed))
	})
	tab.row("E22", "SIGTERM twice under load", func(t *testing.T, p *process) string {
		codes := map[int]int{}
		var w *witness
		for range 5 {
			var c *witnessing
			w, c = startFilled(t, p, 500)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_ = c.publish(1<<30, time.Minute) // until the broker is gone
			}()
			must(t, p.cmd.Process.Signal(syscall.SIGTERM))
			must(t, p.cmd.Process.Signal(syscall.SIGTERM))
			must(t, p.waitEnd(stopLimit))
			<-ended
			codes[p.cmd.ProcessState.ExitCode()]++
			whole(t, p, w)
			must(t, os.RemoveAll(p.data))
		}
		for code := range codes {
			if code != 0 && code != 1 {
				t.Errorf("exit codes and how often: %v", codes)
			}
		}
		return fmt.Sprintf("exit codes and how often: %v, none lost", codes)
	})
	tab.row("E22", "SIGTERM at 20 moments of the start", func(t *testing.T, p *process) string {
		w, c := startFilled(t, p, 5000)
		c.close()
		must(t, p.kill())
		codes := map[int]int{}
		for n := range 20 {
			must(t, p.launch())
			<-time.After(time.Duration(n*10) * time.Millisecond)
			must(t, p.cmd.Process.Signal(syscall.SIGTERM))
			must(t, p.waitEnd(stopLimit))
			codes[p.cmd.ProcessState.ExitCode()]++
		}
		whole(t, p, w)
		for code := range codes {
			if code > 0 { // before the first line of main, a signal simply ends it
				t.Errorf("exit codes and how often: %v\n%s", codes, p.lastWords())
			}
		}
		return fmt.Sprintf("exit codes and how often: %v, none lost", codes)
	})
}
