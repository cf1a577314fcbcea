package crash

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A process is the broker's binary, its data and the life it has, if any.
type process struct {
	binary string
	dir    string // the log of all lives, and what there is beside the data
	data   string // the broker's data directory
	addr   string
	wrap   []string // a command that runs the broker in its own place, and its arguments
	env    []string // beside what the test has

	metrics, management string // addresses of theirs, "" for none

	began time.Time // the life
	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
}

// newProcess builds the broker and picks a free port.
func newProcess(dir string) (*process, error) {
	p := &process{binary: filepath.Join(dir, "leveret"), dir: dir, data: filepath.Join(dir, "data")}
	build := exec.Command("go", "build", "-o", p.binary, "github.com/leveretmq/leveret/cmd/leveret")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	var err error
	p.addr, err = freeAddress()
	return p, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (p *process) url() string { return "amqp://guest:guest@" + p.addr + "/" }

// launch begins a life, without waiting for anything.
func (p *process) launch() error {
	log, err := os.OpenFile(p.logName(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own copy
	args := append(slices.Clone(p.wrap), p.binary, "--data-dir", p.data, "--listen", p.addr, "--metrics-listen", cmp.Or(p.metrics, "off"), "--management-listen", cmp.Or(p.management, "off"))
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.began = time.Now()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait() // how it ended is in cmd.ProcessState
		close(ended)
	}(p.cmd, p.ended)
	return nil
}

// start begins a life and returns when AMQP clients are served, and how long that took. A
// start that takes longer than stopLimit, or that ends by itself, is an error.
func (p *process) start(limit time.Duration) (time.Duration, error) {
	begin := time.Now()
	if err := p.launch(); err != nil {
		return 0, err
	}
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	late := time.After(limit)
	for {
		if conn, err := amqp.Dial(p.url()); err == nil {
			return time.Since(begin), conn.Close()
		}
		select {
		case <-p.ended:
			return 0, fmt.Errorf("the broker ended while starting: %v\n%s", p.cmd.ProcessState, p.lastWords())
		case <-late:
			return 0, fmt.Errorf("the broker does not serve AMQP after %v\n%s", limit, p.lastWords())
		case <-retry.C:
		}
	}
}

// count asks how many messages are ready in a durable queue.
func (p *process) count(name string) (int, error) {
	conn, err := amqp.Dial(p.url())
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	return q.Messages, err
}

// waitEnd waits until the broker has ended by itself.
func (p *process) waitEnd(limit time.Duration) error {
	select {
	case <-p.ended:
		return nil
	case <-time.After(limit):
		return fmt.Errorf("the broker is still there after %v\n%s", limit, p.lastWords())
	}
}

// alive tells whether the broker's process is there.
func (p *process) alive() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// forget empties the log, so that the last words are those of the lives to come.
func (p *process) forget() error { return os.WriteFile(p.logName(), nil, 0o600) }

// stopLimit is how long a broker may take to stop; 10 s of it are for clients that do not
// answer.
const stopLimit = 15 * time.Second

// terminate ends the life with SIGTERM, and returns how long that took. It is an error when
// the broker was dead already, takes longer than stopLimit, or ends with a status other than 0.
func (p *process) terminate() (time.Duration, error) {
	select {
	case <-p.ended:
		return 0, fmt.Errorf("the broker ended by itself: %v\n%s", p.cmd.ProcessState, p.lastWords())
	default:
	}
	begin := time.Now()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	select {
	case <-p.ended:
	case <-time.After(stopLimit):
		return 0, fmt.Errorf("the broker is still there %v after SIGTERM\n%s", stopLimit, p.lastWords())
	}
	if !p.cmd.ProcessState.Success() {
		return 0, fmt.Errorf("the broker ended after SIGTERM with %v\n%s", p.cmd.ProcessState, p.lastWords())
	}
	return time.Since(begin), nil
}

// kill ends the life with SIGKILL. It is an error when the broker was dead already.
func (p *process) kill() error {
	select {
	case <-p.ended:
		return fmt.Errorf("the broker ended by itself: %v\n%s", p.cmd.ProcessState, p.lastWords())
	default:
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	<-p.ended
	return nil
}

func (p *process) logName() string { return filepath.Join(p.dir, "broker.log") }

// words is the broker's log.
func (p *process) words() string {
	log, err := os.ReadFile(p.logName())
	if err != nil {
		return err.Error()
	}
	return string(log)
}

// lastWords is the end of it.
func (p *process) lastWords() string {
	log := p.words()
	return log[max(0, len(log)-8000):]
}
