package bench

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// progress is one line on a terminal that is written over; elsewhere, nothing.
type progress struct {
	terminal *os.File // nil for none
	name     string
	start    time.Time
	last     time.Time
	before   uint64
}

func newProgress(w io.Writer) *progress {
	p := &progress{start: time.Now()}
	if f, ok := w.(*os.File); ok {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
			p.terminal = f
		}
	}
	return p
}

// clearLine returns to the line's beginning and empties it.
const clearLine = "\r\x1b[K"

func (p *progress) stage(format string, args ...any) {
	p.name, p.last, p.before = fmt.Sprintf(format, args...), time.Now(), 0
	if p.terminal != nil {
		fmt.Fprintf(p.terminal, "%s%5.1f s  %s", clearLine, time.Since(p.start).Seconds(), p.name)
	}
}

// show writes what has been counted, or, where that is not known yet, the time
// alone.
func (p *progress) show(t *tally) {
	if p.terminal == nil {
		return
	}
	now := time.Now()
	if t == nil {
		fmt.Fprintf(p.terminal, "%s%5.1f s  %s", clearLine, now.Sub(p.start).Seconds(), p.name)
		return
	}
	done := max(t.Delivered, p.before) // a new count may have begun
	rate := float64(done-p.before) / now.Sub(p.last).Seconds()
	p.last, p.before = now, t.Delivered
	fmt.Fprintf(p.terminal, "%s%5.1f s  %s: %d sent, %d delivered, %.0f/s, p99 %.2f ms", clearLine, now.Sub(p.start).Seconds(), p.name, t.Sent, t.Delivered, rate, t.Latency.at(99))
}

// say writes what has been done of the stage so far.
func (p *progress) say(format string, args ...any) {
	if p.terminal != nil {
		fmt.Fprintf(p.terminal, "%s%5.1f s  %s: %s", clearLine, time.Since(p.start).Seconds(), p.name, fmt.Sprintf(format, args...))
	}
}

// note leaves a line that stays.
func (p *progress) note(format string, args ...any) {
	if p.terminal != nil {
		fmt.Fprintf(p.terminal, "%s%5.1f s  %s\n", clearLine, time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
	}
}

func (p *progress) end() {
	if p.terminal != nil {
		fmt.Fprint(p.terminal, clearLine)
	}
}
