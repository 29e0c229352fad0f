package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc: USER_HZ is 100 on every platform that
// Go runs on.
const tick = 10 * time.Millisecond

// usage is what a process has used up to a moment.
type usage struct {
	user, system time.Duration
}

func (u usage) total() time.Duration { return u.user + u.system }

func (u usage) since(before usage) usage {
	return usage{u.user - before.user, u.system - before.system}
}

// readUsage reads the CPU time of a process, all its threads together.
func readUsage(pid int) (usage, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	return parseUsage(stat)
}

// parseUsage reads fields 14 and 15 of /proc/PID/stat (proc_pid_stat(5)). The
// command's name, in parentheses, may hold anything.
func parseUsage(stat []byte) (usage, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return usage{}, errors.New("/proc/PID/stat has too few fields")
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return usage{}, err
	}
	system, err := strconv.ParseInt(string(fields[12]), 10, 64)
	return usage{time.Duration(user) * tick, time.Duration(system) * tick}, err
}

// ownUsage is the CPU time of this process.
func ownUsage() usage {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic("bench: getrusage: " + err.Error()) // its arguments are constant
	}
	return usage{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}

// readPSS reads a process's proportional set size, in bytes: its share of the
// memory that it has mapped, without the kernel's buffers.
func readPSS(pid int) (int64, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		rest, ok := strings.CutPrefix(lines.Text(), "Pss:")
		if !ok {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(rest, "kB")), 10, 64)
		return kib << 10, err
	}
	return 0, errors.New("/proc/PID/smaps_rollup has no line Pss")
}

// cores is how many CPUs a process may run on.
func cores(pid int) int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil {
		return 0
	}
	return set.Count()
}

// errNoServer means that no process of this machine was found behind an address.
var errNoServer = errors.New("no process that listens there was found; name it with --pid")

// findServer returns the process that listens on a port of this machine: the
// socket's inode stands in /proc/net/tcp and among the process's descriptors.
func findServer(addr netip.AddrPort) (pid int, err error) {
	var sockets []string
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(table)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		sockets = append(sockets, listening(string(text), addr.Port())...)
	}
	descriptors, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return 0, err
	}
	for _, path := range descriptors {
		link, err := os.Readlink(path)
		if err != nil || !slices.Contains(sockets, link) {
			continue // closed meanwhile, or not ours to see
		}
		return strconv.Atoi(strings.Split(path, "/")[2])
	}
	return 0, fmt.Errorf("%s: %w", addr, errNoServer)
}

// listening returns the sockets of a table such as /proc/net/tcp that listen on
// the port, as their links read in /proc/PID/fd.
func listening(table string, port uint16) (links []string) {
	const stateListen = "0A"
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) > 9 && strings.HasSuffix(fields[1], suffix) && fields[3] == stateListen {
			links = append(links, "socket:["+fields[9]+"]")
		}
	}
	return links
}
