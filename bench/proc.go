package bench

import (
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

// readUsage reads the CPU time of a process, all its threads together, and of the
// processes that work for it.
func readUsage(pid int) (usage, error) {
	return overFamily(pid, func(pid int) (usage, error) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return usage{}, err
		}
		return parseUsage(stat)
	}, func(a, b usage) usage { return usage{a.user + b.user, a.system + b.system} })
}

// parseUsage reads fields 14 to 17 of /proc/PID/stat (proc_pid_stat(5)): the CPU
// time of the process and of its children that have ended. The command's name,
// in parentheses, may hold anything.
func parseUsage(stat []byte) (usage, error) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 15 {
		return usage{}, errors.New("/proc/PID/stat has too few fields")
	}
	var ticks [4]time.Duration
	for i := range ticks {
		n, err := strconv.ParseInt(string(fields[11+i]), 10, 64)
		if err != nil {
			return usage{}, err
		}
		ticks[i] = time.Duration(n)
	}
	return usage{(ticks[0] + ticks[2]) * tick, (ticks[1] + ticks[3]) * tick}, nil
}

// overFamily adds up what read says of a process and of its children, such as
// those in which throng hashes passwords. Only the process itself must be there:
// a child may end at any time, and a kernel need not tell of them.
func overFamily[T any](pid int, read func(pid int) (T, error), add func(a, b T) T) (T, error) {
	sum, err := read(pid)
	if err != nil {
		return sum, err
	}
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		return sum, err
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, field := range bytes.Fields(text) {
			child, err := strconv.Atoi(string(field))
			if err != nil {
				return sum, err
			}
			if one, err := overFamily(child, read, add); err == nil {
				sum = add(sum, one)
			}
		}
	}
	return sum, nil
}

// ownUsage is the CPU time of this process.
func ownUsage() usage {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		panic("bench: getrusage: " + err.Error()) // its arguments are constant
	}
	return usage{time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano())}
}

// memory is what a process has of it, without the kernel's buffers, in bytes.
type memory struct {
	pss int64 // pages that others have mapped, too, divided among all that have
	rss int64 // all pages that it has mapped
}

// readMemory reads the memory of a process and its children.
func readMemory(pid int) (memory, error) {
	return overFamily(pid, readOwnMemory, func(a, b memory) memory { return memory{a.pss + b.pss, a.rss + b.rss} })
}

func readOwnMemory(pid int) (memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	found := 0
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		field := map[string]*int64{"Pss": &m.pss, "Rss": &m.rss}[name]
		if field == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
		if err != nil {
			return memory{}, err
		}
		*field = kib << 10
		found++
	}
	if found != 2 {
		return memory{}, errors.New("/proc/PID/smaps_rollup has no lines Pss and Rss")
	}
	return m, nil
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
