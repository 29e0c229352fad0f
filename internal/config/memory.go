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

// usableMemory returns the machine's memory or the least limit of the cgroups, of
// either version, that the process is in, whichever is less. Where the kernel says
// nothing it takes 1 GiB.
func usableMemory(proc, cgroups string) int {
	usable := gib
	if total, ok := memTotal(filepath.Join(proc, "meminfo")); ok {
		usable = total
	}
	own := filepath.Join(proc, "self/cgroup")
	if path, ok := lineWith(own, "0::"); ok {
		usable = min(usable, leastLimit(cgroups, path, "memory.max"))
	}
	if path, ok := lineWith(own, ":memory:"); ok { // version 1
		usable = min(usable, leastLimit(filepath.Join(cgroups, "memory"), path, "memory.limit_in_bytes"))
	}
	return usable
}

// leastLimit returns the least limit that the named files hold of a cgroup and
// those above it, which are the folders of root. In a container root may be the
// container's own, and the path none that is seen there: what there is counts.
func leastLimit(root, path, name string) int {
	least := math.MaxInt
	for path = filepath.Clean("/" + path); ; path = filepath.Dir(path) {
		if text, err := os.ReadFile(filepath.Join(root, path, name)); err == nil {
			if limit, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && limit > 0 {
				least = min(least, limit)
			}
		}
		if path == "/" {
			return least
		}
	}
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

// lineWith returns what follows the mark in the first line that has it: at the
// line's beginning, or, where the mark begins with a colon, after digits, as the
// hierarchies' numbers in /proc/self/cgroup (cgroups(7)).
func lineWith(path, mark string) (rest string, ok bool) {
	file, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(mark, ":") {
			line = strings.TrimLeft(line, "0123456789")
		}
		if rest, ok := strings.CutPrefix(line, mark); ok {
			return rest, true
		}
	}
	return "", false
}
