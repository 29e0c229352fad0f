package config

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// budgetShare of the memory that the process may use is the budget where none
// is configured. The rest is for sockets, the storage's cache and memtables,
// and the kernel's own buffers, of which an idle connection takes 4 KiB.
const budgetShare = 4

// Memory returns the memory budget in bytes: the configured one, or a quarter
// of what the process may use.
func (c *Config) Memory() int {
	if c.MemoryBudget > 0 {
		return c.MemoryBudget
	}
	return usableMemory("/proc", "/sys/fs/cgroup") / budgetShare
}

// heapShare of the memory that the process may use, in percent, is what Go's heap
// may take. The rest is the kernel's, for sockets above all, and that of the
// processes that hash passwords.
const heapShare = 80

// HeapLimit returns the bytes from which the garbage collector should give its
// best to keep the heap below them: most of what the process may use, whatever the
// budget is.
func (c *Config) HeapLimit() int { return usableMemory("/proc", "/sys/fs/cgroup") / 100 * heapShare }

// usableMemory returns the machine's memory or the least limit of the cgroups
// (version 2) that the process is in, whichever is less. Where the kernel says
// nothing it takes 1 GiB.
func usableMemory(proc, cgroups string) int {
	usable := gib
	if total, ok := memTotal(filepath.Join(proc, "meminfo")); ok {
		usable = total
	}
	path, ok := ownCgroup(filepath.Join(proc, "self/cgroup"))
	for ok {
		if text, err := os.ReadFile(filepath.Join(cgroups, path, "memory.max")); err == nil {
			if limit, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
				usable = min(usable, limit)
			}
		}
		ok = path != "/"
		path = filepath.Dir(path)
	}
	return usable
}

// memTotal reads the MemTotal line of /proc/meminfo (proc_meminfo(5)).
func memTotal(path string) (bytes int, ok bool) {
	line, ok := lineWith(path, "MemTotal:")
	if !ok {
		return 0, false
	}
	kilobytes, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(line, "kB")))
	if err != nil || kilobytes <= 0 || kilobytes > math.MaxInt/kib {
		return 0, false
	}
	return kilobytes * kib, true
}

// ownCgroup reads the version 2 line of /proc/self/cgroup (cgroups(7)).
func ownCgroup(path string) (cgroup string, ok bool) {
	line, ok := lineWith(path, "0::")
	return filepath.Clean("/" + line), ok
}

// lineWith returns what follows the prefix in the first line that begins so.
func lineWith(path, prefix string) (rest string, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			return rest, true
		}
	}
	return "", false
}
