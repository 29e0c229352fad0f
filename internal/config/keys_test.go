package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/thronghq/throng/proto"
)

// TestEveryLimitIsAKey holds the table to proto.Limits: a field without a key
// could not be configured, and two keys for one field would be one too many.
func TestEveryLimitIsAKey(t *testing.T) {
	limits := proto.DefaultLimits()
	places := map[uintptr]string{}
	for _, k := range limitKeys(&limits) {
		places[place(k.value)] = k.name
	}
	fields := reflect.ValueOf(&limits).Elem()
	for i := range fields.NumField() {
		if places[fields.Field(i).Addr().Pointer()] == "" {
			t.Errorf("no key sets proto.Limits.%s", fields.Type().Field(i).Name)
		}
	}
	if len(places) != fields.NumField() || len(limitKeys(&limits)) != fields.NumField() {
		t.Errorf("%d keys set %d places of %d fields", len(limitKeys(&limits)), len(places), fields.NumField())
	}
}

func place(v value) uintptr {
	switch v := v.(type) {
	case intValue:
		return uintptr(unsafe.Pointer(v.at))
	case sizeValue:
		return uintptr(unsafe.Pointer(v.at))
	case durationValue:
		return uintptr(unsafe.Pointer(v.at))
	}
	return 0
}

func TestKeysAreDistinct(t *testing.T) {
	seen := map[string]bool{configFlag: true, configEnv: true}
	for _, k := range keys(Default()) {
		for _, name := range []string{k.flag(), k.env()} {
			if seen[name] {
				t.Errorf("%s: %s is taken", k.name, name)
			}
			seen[name] = true
		}
		if k.help == "" || strings.HasSuffix(k.help, ".") {
			t.Errorf("%s: the help %q is empty or ends with a full stop", k.name, k.help)
		}
	}
}

// TestDefaultsAreAccepted sets every key to its default, as text and as TOML.
func TestDefaultsAreAccepted(t *testing.T) {
	for _, k := range keys(Default()) {
		want := k.value.text()
		if err := k.value.set(want); err != nil {
			t.Errorf("%s: the default %q is refused: %v", k.name, want, err)
		}
		if got := k.value.text(); got != want {
			t.Errorf("%s: the default %q came back as %q", k.name, want, got)
		}
	}
	if problems := Default().Validate(); problems != nil {
		t.Errorf("the defaults are refused: %v", problems)
	}
}

func TestBounds(t *testing.T) {
	for _, k := range keys(Default()) {
		var inside, outside []string
		switch v := k.value.(type) {
		case intValue:
			inside, outside = []string{itoa(v.min), itoa(v.max)}, []string{itoa(v.min - 1), itoa(v.max + 1)}
		case sizeValue:
			inside, outside = []string{formatSize(v.min), formatSize(v.max)}, []string{itoa(v.min - 1), itoa(v.max + 1)}
		case durationValue:
			inside, outside = []string{v.min.String(), v.max.String()}, []string{(v.min - 1).String(), (v.max + 1).String()}
		}
		for _, text := range inside {
			if err := k.value.set(text); err != nil {
				t.Errorf("%s: %s is refused: %v", k.name, text, err)
			}
		}
		for _, text := range outside {
			before := k.value.text()
			if err := k.value.set(text); err == nil {
				t.Errorf("%s: %s is accepted", k.name, text)
			}
			if k.value.text() != before {
				t.Errorf("%s: refusing %s changed the value", k.name, text)
			}
		}
	}
}

func itoa(n int) string { return (intValue{at: &n}).text() }

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "17": 17, "17B": 17, "1KiB": 1024, "64 KiB": 65536, "3MiB": 3 << 20, "2GiB": 2 << 30, "1TiB": 1 << 40,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "1.5MiB", "1kb", "1 K", "99999999999999999999", "9999999999TiB", "1KiB1"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q is accepted as %d", text, got)
		}
	}
	for n, want := range map[int]string{0: "0", 1: "1B", 1023: "1023B", 1024: "1KiB", 1536: "1536B", 1 << 30: "1GiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", time.Minute: "1m", time.Hour: "1h",
		90 * time.Minute: "1h30m", 168 * time.Hour: "168h", time.Hour + 30*time.Second: "1h0m30s", 5 * time.Millisecond: "5ms",
		20 * time.Minute: "20m", 10 * time.Hour: "10h",
	} {
		if got := formatDuration(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
		if back, err := time.ParseDuration(want); err != nil || back != d {
			t.Errorf("%q reads as %v, %v", want, back, err)
		}
	}
}

func TestUsableMemory(t *testing.T) {
	write := func(root string, files map[string]string) string {
		for name, text := range files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return root
	}
	const meminfo = "MemTotal:        8388608 kB\nMemFree: 1 kB\n"
	tests := []struct {
		name    string
		proc    map[string]string
		cgroups map[string]string
		want    int
	}{
		{"nothing known", nil, nil, 1 << 30},
		{"the machine", map[string]string{"meminfo": meminfo}, nil, 8 << 30},
		{"nonsense", map[string]string{"meminfo": "MemTotal: lots\n"}, nil, 1 << 30},
		{"no limit", map[string]string{"meminfo": meminfo, "self/cgroup": "0::/a/b\n"}, map[string]string{"a/b/memory.max": "max\n"}, 8 << 30},
		{"own limit", map[string]string{"meminfo": meminfo, "self/cgroup": "0::/a/b\n"}, map[string]string{"a/b/memory.max": "1048576\n"}, 1 << 20},
		{"a parent's limit", map[string]string{"meminfo": meminfo, "self/cgroup": "1:cpu:/x\n0::/a/b\n"}, map[string]string{"a/b/memory.max": "2097152\n", "a/memory.max": "1048576\n"}, 1 << 20},
		{"version 1", map[string]string{"meminfo": meminfo, "self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/a/b\n0::/\n"}, map[string]string{"memory/a/b/memory.limit_in_bytes": "9223372036854771712\n", "memory/a/memory.limit_in_bytes": "1048576\n"}, 1 << 20},
		{"version 1 in a container", map[string]string{"meminfo": meminfo, "self/cgroup": "4:memory:/docker/abc\n"}, map[string]string{"memory/memory.limit_in_bytes": "1048576\n"}, 1 << 20},
		{"a limit above the machine", map[string]string{"meminfo": meminfo, "self/cgroup": "0::/\n"}, map[string]string{"memory.max": "1099511627776\n"}, 8 << 30},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := usableMemory(write(t.TempDir(), test.proc), write(t.TempDir(), test.cgroups)); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
	if c := (&Config{MemoryBudget: 5}); c.Memory() != 5 {
		t.Errorf("a configured budget of 5 came back as %d", c.Memory())
	}
	if c := (&Config{}); c.Memory() < 1<<20 {
		t.Errorf("this machine's budget is %d", c.Memory())
	}
}
