package bench

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memoryMoment is what memory a process and its machine's kernel have in use at
// one moment. All but counts are bytes.
type memoryMoment struct {
	Moment    string `json:"moment"`
	RSS       int64  `json:"rss_bytes"`        // of the process
	PSS       int64  `json:"pss_bytes"`        // its proportional set size
	Sockets   int64  `json:"tcp_sockets"`      // of the machine: both ends, where both are on it
	SocketMem int64  `json:"tcp_buffer_bytes"` // what they hold in buffers
	Slab      int64  `json:"kernel_slab_bytes"`
	Available int64  `json:"machine_available_bytes"`
}

// readMoment reads smaps_rollup, proc_meminfo(5), and /proc/net/sockstat.
func readMoment(pid int, moment string) (m memoryMoment, err error) {
	of, err := readMemory(pid)
	if err != nil {
		return m, err
	}
	m.Moment, m.RSS, m.PSS = moment, of.rss, of.pss
	var pages int64
	for _, f := range []struct {
		path, line, field string
		value             *int64
		unit              int64
	}{
		{"/proc/meminfo", "Slab:", "", &m.Slab, 1 << 10},
		{"/proc/meminfo", "MemAvailable:", "", &m.Available, 1 << 10},
		{"/proc/net/sockstat", "TCP:", "inuse", &m.Sockets, 1},
		{"/proc/net/sockstat", "TCP:", "mem", &pages, int64(os.Getpagesize())},
	} {
		text, err := os.ReadFile(f.path)
		if err != nil {
			return m, err
		}
		n, err := procNumber(string(text), f.line, f.field)
		if err != nil {
			return m, fmt.Errorf("%s: %w", f.path, err)
		}
		*f.value = n * f.unit
	}
	m.SocketMem = pages
	return m, nil
}

// procNumber returns the number that follows the field in the line with the
// given first word, or the line's first number for the field "".
func procNumber(text, line, field string) (int64, error) {
	for l := range strings.Lines(text) {
		words := strings.Fields(l)
		if len(words) == 0 || words[0] != line {
			continue
		}
		for i, word := range words[:len(words)-1] {
			if word == field || field == "" {
				return strconv.ParseInt(words[i+1], 10, 64)
			}
		}
	}
	return 0, errors.New("there is no " + strings.TrimSpace(line+" "+field))
}

func (m memoryMoment) String() string { return m.Moment + ": " + m.figures() }

func (m memoryMoment) figures() string {
	return fmt.Sprintf("RSS %.1f MiB, PSS %.1f MiB; kernel: %d TCP sockets, %.1f MiB in slabs, %.1f MiB in buffers",
		mib(m.RSS), mib(m.PSS), m.Sockets, mib(m.Slab), mib(m.SocketMem))
}
