package bench

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"
)

// partsOfARun is how many parts a long run is told in.
const partsOfARun = 10

// sampleInterval is how often memory and disk are looked at in a run.
const sampleInterval = 100 * time.Millisecond

// Part is one stretch of a run of a known number of messages, of about as many as every
// other, to see whether a broker gets slower or larger with what has passed through it.
type Part struct {
	Received int64   `json:"received"` // in this part
	Seconds  float64 `json:"seconds"`

	CPUMicrosPerMessage float64 `json:"cpu_us_per_message"` // of the broker; 0 when it is not looked at
	RSSAnonBytes        int64   `json:"rss_anon_bytes"`     // the most there was
	DataBytes           int64   `json:"data_bytes"`         // the most on disk under Options.DataDir
}

// sampler follows a run.
type sampler struct {
	dataDir   string
	total     int64 // deliveries to come in all; 0 for no parts
	parts     []Part
	begin     snapshot // of the present part
	next      time.Duration
	present   Part
	peak      int64 // most RssAnon so far
	trend     trend
	publishes func(received int64) int64 // bytes published with so many deliveries
}

// look takes a sample when it is time, and ends a part when it is full. last ends the
// last one, whatever it has.
func (m *sampler) look(r *run, last bool) error {
	now, received := r.elapsed(), int64(0)
	for _, c := range r.consumers {
		received += c.received.Load()
	}
	full := m.total > 0 && received*partsOfARun >= m.total*int64(len(m.parts)+1)
	if now < m.next && !full && !last {
		return nil
	}
	m.next = now + sampleInterval
	if r.options.BrokerPID != 0 {
		u, err := readUsage(r.options.BrokerPID)
		if err != nil {
			return err
		}
		m.peak = max(m.peak, u.rssAnon)
		m.present.RSSAnonBytes = max(m.present.RSSAnonBytes, u.rssAnon)
	}
	if m.dataDir != "" {
		n, err := diskBytes(m.dataDir)
		if err != nil {
			return err
		}
		m.present.DataBytes = max(m.present.DataBytes, n)
		if len(m.parts) > 0 { // the first fills what will stay full
			m.trend.add(float64(m.publishes(received)), float64(n))
		}
	}
	if !full && !last || m.total == 0 {
		return nil
	}
	var end snapshot
	if err := r.snap(&end); err != nil {
		return err
	}
	if end.received == m.begin.received {
		return nil
	}
	m.present.Received = end.received - m.begin.received
	m.present.Seconds = (end.at - m.begin.at).Seconds()
	cpu := end.broker.user + end.broker.system - m.begin.broker.user - m.begin.broker.system
	m.present.CPUMicrosPerMessage = cpu.Seconds() * 1e6 / float64(m.present.Received)
	m.parts = append(m.parts, m.present)
	m.present, m.begin = Part{}, end
	return nil
}

// trend is a line through points, by least squares.
type trend struct{ n, x, y, xx, xy float64 }

func (t *trend) add(x, y float64) {
	t.n++
	t.x += x
	t.y += y
	t.xx += x * x
	t.xy += x * y
}

// slope is how much y grows with each x, 0 where there is too little to tell.
func (t *trend) slope() float64 {
	d := t.n*t.xx - t.x*t.x
	if t.n < 3 || d <= 0 {
		return 0
	}
	return (t.n*t.xy - t.x*t.y) / d
}

// diskBytes is how much room the files under dir take on disk. Files that go while it
// looks count for nothing.
func diskBytes(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				sum += allocated(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) && path != dir {
			return nil
		}
		return err
	})
	return sum, err
}

// beginSampling is called when the run begins.
func (r *run) beginSampling() {
	m := &r.sampler
	m.dataDir, m.begin = r.options.DataDir, r.mark
	reach := int64(len(r.plan.streams[0]))
	m.publishes = func(received int64) int64 { return received / reach * int64(r.scenario.BodyBytes) }
	if r.options.BrokerPID != 0 || m.dataDir != "" {
		m.total = int64(r.limit()) * reach
	}
}

// timeless tells whether a run is as long as its messages take.
func (r *run) timeless() bool { return r.scenario.Messages > 0 || r.options.Only != "" }

// mostData is the most there was on disk.
func (r Result) mostData() (most int64) {
	for _, p := range r.Parts {
		most = max(most, p.DataBytes)
	}
	return most
}

// partRows are a line for each part, and what the last has to say about the first.
func (r Result) partRows(row rowFunc) {
	if len(r.Parts) < 2 || r.Scenario.Messages == 0 {
		return
	}
	for i, p := range r.Parts {
		line := fmt.Sprintf("%d in %.1f s", p.Received, p.Seconds)
		if p.CPUMicrosPerMessage > 0 {
			line += fmt.Sprintf(", %.2f µs of the broker each, RssAnon %.1f MiB", p.CPUMicrosPerMessage, mib(p.RSSAnonBytes))
		}
		if p.DataBytes > 0 {
			line += fmt.Sprintf(", %.0f MiB on disk", mib(p.DataBytes))
		}
		row(fmt.Sprintf("part %d", i+1), "%s", line)
	}
	first, last := r.Parts[0], r.Parts[len(r.Parts)-1]
	if first.CPUMicrosPerMessage > 0 {
		row("last ÷ first", "%.2f, of processor time each", last.CPUMicrosPerMessage/first.CPUMicrosPerMessage)
	}
	if most := r.mostData(); most > 0 {
		row("on disk", "%.0f MiB at most, %+.1f MiB for each GiB published", mib(most), r.DataTrend*1024)
	}
}
