package bench

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestCommandLine(t *testing.T) {
	f := func(want string, args ...string) {
		t.Helper()
		var out bytes.Buffer
		err := Command(t.Context(), "leveret bench", args, &out, &out)
		if err != nil {
			out.WriteString(err.Error())
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("got %q, want %q in it", &out, want)
		}
	}
	f("S2w1", "--list")
	f(`no scenario "S99"`, "S99")
	f("producers: -1 is less than 1", "--producers=-1", "S1a")
	f("needs a prefetch", "--prefetch=10", "S2")
	f("only amqp is spoken", "--uri=http://127.0.0.1/", "S1a")
	f("--broker-pid", "--help")
	f("--pid-a", "compare", "--help")
	f("leveret bench compare [flags]", "--help")
	f("0 pairs", "compare", "--a=amqp://127.0.0.1/", "--pairs=0", "S1a")
	f("a: read the URI", "compare", "S1a")
}

func TestWrongAnswersFailTheProgram(t *testing.T) {
	var out bytes.Buffer
	good := Result{Published: 1}
	if err := finish(&out, []Result{good, good}, false); err != nil {
		t.Error(err)
	}
	if err := finish(&out, []Result{good, {Lost: 1}}, true); !errors.Is(err, errWrong) {
		t.Errorf("got %v, want %v", err, errWrong)
	}
}
