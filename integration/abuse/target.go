package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// target is the broker that is abused.
type target struct {
	address               string // of AMQP
	user, password, vhost string
	metrics, management   string        // URLs, "" when not known
	handshake             time.Duration // its handshake timeout
	stall                 time.Duration // the least that counts as one; 100 ms when 0
	memory                int64         // bytes it may use, 0 when not known
	pid                   int           // 0 when it runs elsewhere
	process               *process      // nil when it is not ours
	long                  bool
	deep                  int // how many messages are put into a queue to be purged
}

// targetOf reads a URI.
func targetOf(uri string) (t target, err error) {
	u, err := url.Parse(uri)
	if err != nil {
		return t, err
	}
	t.address = u.Host
	if u.Port() == "" {
		t.address = net.JoinHostPort(u.Hostname(), "5672")
	}
	t.user, t.vhost = u.User.Username(), strings.TrimPrefix(u.Path, "/")
	t.password, _ = u.User.Password()
	if t.vhost == "" {
		t.vhost = "/"
	}
	return t, nil
}

// gauges are what has to come back to where it was.
type gauges struct {
	goroutines, descriptors float64
	memory                  float64 // bytes, without what is mapped
	known                   bool
}

// read asks the broker how it is: over HTTP, or the operating system.
func (t *target) read() (g gauges, err error) {
	if t.metrics != "" {
		c := http.Client{Timeout: 10 * time.Second}
		answer, err := c.Get(t.metrics)
		if err != nil {
			return g, err
		}
		defer answer.Body.Close()
		for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
			name, value, _ := strings.Cut(lines.Text(), " ")
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				continue
			}
			switch name {
			case "go_goroutines":
				g.goroutines = v
			case "rabbitmq_process_open_fds":
				g.descriptors = v
			case "rabbitmq_process_resident_memory_bytes":
				g.memory = v
			}
		}
		g.known = g.descriptors > 0
		return g, nil
	}
	if t.pid != 0 {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", t.pid))
		if err != nil {
			return g, err
		}
		g.descriptors, g.known = float64(len(names)), true
		g.memory = statusOf(t.pid, "RssAnon:")
	}
	return g, nil
}

// statusOf is a number of kB in /proc/pid/status, in bytes.
func statusOf(pid int, name string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err == nil {
				return n * 1024
			}
		}
	}
	return 0
}

// cpu is the processor time the broker has used, 0 when it cannot be told.
func (t *target) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", t.pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		return 0
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// process is a broker of our own, under a limit of memory.
type process struct {
	dir, group string // group is the control group, "" without one
	cmd        *exec.Cmd
	ended      chan struct{}
}

// launch builds the broker, unless binary is one, and starts it with limit bytes of memory.
func launch(dir, binary string, limit int64, settings ...string) (t target, err error) {
	return launchWith(dir, binary, "", limit, settings...)
}

// launchWith is launch with something for the shell to do before.
func launchWith(dir, binary, before string, limit int64, settings ...string) (t target, err error) {
	if binary == "" {
		binary = filepath.Join(dir, "leveret")
		build := exec.Command("go", "build", "-o", binary, "github.com/leveretmq/leveret/cmd/leveret")
		if out, err := build.CombinedOutput(); err != nil {
			return t, fmt.Errorf("build the broker: %w\n%s", err, out)
		}
	}
	addresses, err := freeAddresses(3)
	if err != nil {
		return t, err
	}
	p := &process{dir: dir, ended: make(chan struct{})}
	if err := p.limit(limit); err != nil {
		fmt.Fprintf(os.Stderr, "no control group (%v): GOMEMLIMIT and memory_limit instead\n", err)
		p.group = ""
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return t, err
	}
	defer log.Close() // the process has its own
	script := before + `exec "$0" "$@"`
	if p.group != "" {
		script = fmt.Sprintf("echo $$ > %s/cgroup.procs && ", p.group) + script
	}
	p.cmd = exec.Command("sh", "-c", script, binary, "--data-dir", filepath.Join(dir, "data"),
		"--listen", addresses[0], "--metrics-listen", addresses[1], "--management-listen", addresses[2])
	p.cmd.Env = append(os.Environ(), settings...)
	if p.group == "" {
		p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("GOMEMLIMIT=%d", limit*85/100), fmt.Sprintf("LEVERET_MEMORY_LIMIT=%d", limit*6/10))
	}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return t, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended is in ProcessState
		close(p.ended)
	}()
	t = target{address: addresses[0], user: "guest", password: "guest", vhost: "/", memory: limit, pid: p.cmd.Process.Pid, process: p,
		metrics: "http://" + addresses[1] + "/metrics", management: "http://" + addresses[2], handshake: 10 * time.Second}
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		if c, err := net.Dial("tcp", t.address); err == nil {
			return t, c.Close()
		}
		select {
		case <-p.ended:
			return t, fmt.Errorf("the broker ended while starting: %s", p.lastWords())
		case <-time.After(10 * time.Millisecond):
		}
	}
	return t, fmt.Errorf("the broker does not start: %s", p.lastWords())
}

const memoryGroups = "/sys/fs/cgroup/memory"

// limit makes a control group of version 1.
func (p *process) limit(bytes int64) error {
	p.group = filepath.Join(memoryGroups, "leveret-abuse-"+filepath.Base(p.dir))
	if err := os.Mkdir(p.group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.WriteFile(filepath.Join(p.group, "memory.limit_in_bytes"), []byte(strconv.FormatInt(bytes, 10)), 0o644)
}

// up tells whether the process runs, and how it ended if not.
func (p *process) up() error {
	select {
	case <-p.ended:
		return fmt.Errorf("the broker is gone (%v): %s", p.cmd.ProcessState, p.lastWords())
	default:
		return nil
	}
}

func (p *process) lastWords() string {
	b, err := os.ReadFile(filepath.Join(p.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-1500):])
}

// stop ends the broker, and its control group.
func (p *process) stop() {
	if p.up() == nil {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by now
		select {
		case <-p.ended:
		case <-time.After(30 * time.Second):
			_ = p.cmd.Process.Kill() // as before
			<-p.ended
		}
	}
	if p.group != "" {
		_ = os.Remove(p.group) // a group that is left behind is empty
	}
}

func freeAddresses(n int) (all []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at once, so that they differ
		all = append(all, l.Addr().String())
	}
	return all, nil
}

// descriptors is how many this process may have.
func descriptors() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<20))
}
