package sim

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

var planted = flag.Bool("sim.planted", false, "build the broker with one bug at a time and see that the simulation finds it")

// shareFlag is which of the bugs are planted: all of them take minutes.
var shareFlag = flag.String("sim.share", "0/1", "with 1/3, the second third of the bugs and of the broken rules")

// share is what shareFlag says: every of-th one, from which on.
func share(t *testing.T) (which, of int) {
	t.Helper()
	if n, err := fmt.Sscanf(*shareFlag, "%d/%d", &which, &of); n != 2 || err != nil || of < 1 || which < 0 || which >= of {
		t.Fatalf("-sim.share %s", *shareFlag)
	}
	return which, of
}

// bug is a mistake somebody could make: in file, old reads new instead.
type bug struct {
	name, file, old, new string
}

var bugs = []bug{
	{"a confirm goes out when its message is collected, before the commit", "queue/collect.go",
		"w.group = b.Group\n",
		"w.group = b.Group\n\t\t\tif w.confirm != nil {\n\t\t\t\tvar now message.Wakes\n\t\t\t\tw.confirm.Release(&now)\n\t\t\t\tnow.Wake()\n\t\t\t\tw.confirm = nil\n\t\t\t}\n"},
	{"a commit confirms what came after it was collected", "queue/collect.go",
		"if w.message != nil && (w.group == 0 || w.group > group) {", "if w.message != nil && w.group > group {"},
	{"a returned message is lost", "queue/settle.go",
		"q.comeBack(lv, p.Slot, sl, out)", "q.settle(lv, e, out)\n\t\t\tq.slots.put(p.Slot)"},
	{"a confirm is released twice", "queue/settle.go",
		"w.confirm.Release(&out.Wakes)\n", "w.confirm.Release(&out.Wakes)\n\t\tw.confirm.Release(&out.Wakes)\n"},
	{"a letter is settled at its source before its target has it", "queue/publish.go",
		"p.Transfer.Hold()\n", "p.Transfer = nil\n"},
	{"a letter is settled at its source when it leaves", "queue/letters.go",
		"l.Transfer = NewTransfer(q, Position{Seq: e.seq, Slot: i, Level: lv.number}, nil)",
		"sl.state = slotFree\n\t\t\tq.slots.put(i)\n\t\t\tq.settle(lv, e, out)"},
	{"a letter that was never stored forgets its publisher", "queue/letters.go",
		"l.Confirm, l.Transfer = w.confirm, w.transfer", "w.confirm.Release(&out.Wakes)\n\t\t\tl.Transfer = w.transfer"},
	{"a delayed message is settled before it is stored in another bucket", "queue/delayed.go",
		"q.await(Put{Message: e.msg, Transfer: t}, e.expiry, out)", "q.await(Put{Message: e.msg}, e.expiry, out)"},
	{"a delayed message stays when it moves to another bucket", "queue/delayed.go",
		"\tt.Release(out)\n", ""},
	{"a delayed message that is read to stay is forgotten", "queue/delayed.go",
		"q.stay(lv, e)", "q.settle(lv, &e, out)"},
	{"a delayed message is early", "queue/delayed.go",
		"h.heap[0].at <= q.wheel.now;", "h.heap[0].at <= q.wheel.now+5;"},
	{"a delayed message is settled where it waited when its time has come", "broker/delayed.go",
		"queue.Put{Message: l.Message, Confirm: l.Confirm, Transfer: l.Transfer}", "queue.Put{Message: l.Message, Confirm: l.Confirm}"},
	{"a purge takes what is out", "queue/delete.go",
		"\tq.dropReady(out)\n", "\tq.dropReady(out)\n\tfor i := range q.slots.pages {\n\t\tfor j := range q.slots.pages[i] {\n\t\t\tif sl := &q.slots.pages[i][j]; sl.state == slotOut {\n\t\t\t\tq.cameIn(sl)\n\t\t\t\tq.settle(&q.levels[sl.level], &sl.entry, out)\n\t\t\t\tq.slots.put(uint32(i*slotsPerPage + j))\n\t\t\t}\n\t\t}\n\t}\n"},
	{"restored messages count as never delivered", "queue/reading.go",
		"if m.Redelivered || m.Seq <= lv.marked || e.count > 0 {", "if m.Redelivered {"},
	{"a restart forgets how often a message came back", "queue/queue.go",
		"lv.counts.restore(rl.Counts)", ""},
	{"what leaves memory is not on disk yet", "queue/paging.go",
		"if e.ordinal == 0 && b.spill != spillDone || e.ordinal >= lv.pending.base {", "if e.ordinal == 0 && b.spill != spillDone {"},
	{"what leaves memory has not been copied yet", "queue/spill.go",
		"b.spill, b.last = spillUnderway,", "b.spill, b.last = spillDone,"},
	{"what could not be copied leaves memory", "queue/spill.go",
		"q.copied(s, err == nil)", "q.copied(s, true)"},
	{"a copy stays when its messages have gone", "queue/ready.go",
		"\tr.leave(b)\n\tif r.spare == nil {", "\tif r.spare == nil {"},
	{"a copy is forgotten when one of its messages expires", "queue/reading.go",
		"*lv.runs.at(i) = left\n", "*lv.runs.at(i) = left\n\t\t\tq.forgetRun(lv, run)\n"},
	{"a copy of what is out stays when it is settled", "queue/settle.go",
		"\t\tq.forgetCopy(lv, e)\n\t\treturn\n", "\t\treturn\n"},
	{"a letter under way is read with its neighbours", "queue/paging.go",
		"if !lv.acks.has(seq) {\n\t\t\treturn a, false\n", "if false {\n\t\t\treturn a, false\n"},
	{"a letter under way is read again as ready", "queue/reading.go",
		"if _, leaving := lv.skips[m.Seq]; leaving {", "if _, leaving := lv.skips[m.Seq]; leaving && len(found) == 0 {"},
	{"what was settled is read again as ready", "queue/reading.go",
		"if lv.acks.has(m.Seq) {\n\t\t\tcontinue\n\t\t}", ""},
	{"what is read goes behind what came later", "queue/reading.go",
		"\t\t\tlv.ready.push(e)\n", "\t\t\tlv.push(e)\n"},
	{"a purge forgets what is on disk", "queue/paging.go",
		"\t\tq.settleRun(lv, r)\n", ""},
	{"the numbers of settled messages are used again", "queue/queue.go",
		"lv.next = max(rl.Next, 1)", "lv.next = 1"},
	{"an acknowledgement of many takes one too many", "connection/unacked.go",
		"end = i + 1\n", "end = min(i+2, len(u.entries))\n"},
	{"a prefetch lets one too many through", "connection/channel.go",
		"w.limit > 0 && w.out >= w.limit", "w.limit > 0 && w.out > w.limit"},
	{"confirms of many answer those that still wait", "connection/confirms.go",
		"if kind == unsettled {\n\t\t\tbreak\n\t\t}", "if kind == unsettled {\n\t\t\tkind = settledOK\n\t\t\tc.ready++\n\t\t}"},
	{"a confirm precedes its return", "connection/basic_publish.go",
		"ch.route(m, x, ch.publish.mandatory, confirm)\n\tconfirm.Release(&c.effects.Wakes)",
		"confirm.Release(&c.effects.Wakes)\n\tch.sendConfirms(&c.effects.Wakes)\n\tch.route(m, x, ch.publish.mandatory, nil)"},
	{"what a channel did not acknowledge goes with it", "connection/channel.go",
		"ch.apply(back, settlement{rejected: true, requeue: true})", "_ = back"},
	{"a durable queue is not written down", "broker/queues.go",
		"if n.durable {\n\t\tn.commit.Store(", "if n.durable && len(spec.Arguments) > 0 {\n\t\tn.commit.Store("},
}

func TestPlantedBugsAreFound(t *testing.T) {
	if !*planted {
		t.Skip("builds the broker once for each bug; ask for it with -sim.planted")
	}
	which, of := share(t)
	for i, b := range bugs {
		if i%of != which {
			continue
		}
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			t.Parallel() // much of a build and all of a simulation have one processor
			binary := b.plant(t, "integration/sim")
			out, err := exec.Command(binary, "-test.run", "TestNothingIsLost", "-sim.seeds", "600", "-test.timeout", "120s").CombinedOutput()
			if err == nil {
				t.Fatalf("nobody noticed:\n%s", out)
			}
			for _, line := range strings.Split(string(out), "\n") {
				if strings.Contains(line, "seed") || strings.HasPrefix(line, "panic:") {
					t.Log(strings.TrimSpace(line))
					break
				}
			}
		})
	}
}

// root is where the module is, seen from this package.
const root = "../.."

// source is the file that b changes, with the bug.
func (b *bug) source() (path, text string, err error) {
	path, err = filepath.Abs(filepath.Join(root, filepath.FromSlash(b.file)))
	if err != nil {
		return "", "", err
	}
	was, err := os.ReadFile(path)
	if err != nil {
		return "", "", err
	}
	if n := strings.Count(string(was), b.old); n != 1 {
		return "", "", fmt.Errorf("%s has %q %d times: the bug %q can not be planted", b.file, b.old, n, b.name)
	}
	return path, strings.Replace(string(was), b.old, b.new, 1), nil
}

// plant builds the tests of the package in dir with the bug, and returns the binary.
func (b *bug) plant(t *testing.T, dir string) (binary string) {
	t.Helper()
	path, text, err := b.source()
	if err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	changed := filepath.Join(temp, "changed.go")
	if err := os.WriteFile(changed, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(temp, "overlay.json")
	if err := os.WriteFile(file, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(temp, "planted.test")
	build := exec.Command("go", "test", "-c", "-overlay", file, "-o", binary, "./"+dir)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("the bug does not build: %v\n%s", err, out)
	}
	return binary
}
