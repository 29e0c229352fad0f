package bench

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestTargetIsThisMachine(t *testing.T) {
	for _, test := range []struct {
		text   string
		remote bool
		want   string // the address, or a part of the error behind a "!"
	}{
		{"ws://127.0.0.1:8080", false, "127.0.0.1:8080"},
		{"127.0.0.1:8080", false, "127.0.0.1:8080"},
		{"http://127.9.9.9", false, "127.9.9.9:80"},
		{"ws://[::1]:8080/", false, "[::1]:8080"},
		{"ws://localhost:8080", false, "127.0.0.1:8080"},
		{"ws://192.0.2.1:8080", false, "!192.0.2.1 is not a loopback address"},
		{"ws://0.0.0.0:8080", false, "!--allow-remote must be given"},
		{"ws://[::ffff:192.0.2.1]:8080", false, "!not a loopback address"},
		{"ws://192.0.2.1:8080", true, "192.0.2.1:8080"},
		{"wss://127.0.0.1:8080", false, "127.0.0.1:8080"},
		{"https://127.0.0.1", false, "127.0.0.1:443"},
		{"ftp://127.0.0.1:8080", false, `!the scheme is "ftp"`},
		{"ws://127.0.0.1:0", false, "!the port is not a number"},
		{"ws://127.0.0.1:x", false, "!port"},
	} {
		got, err := parseTarget(t.Context(), test.text, test.remote)
		if part, refused := strings.CutPrefix(test.want, "!"); refused {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want an error with %q", test.text, err, part)
			}
		} else if err != nil || got.addr.String() != test.want {
			t.Errorf("%s: %v, %v, want %s", test.text, got.addr, err, test.want)
		}
	}
}

func TestFindServerFindsTheListener(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err) // a machine may have no IPv6
			continue
		}
		addr := netip.MustParseAddrPort(listener.Addr().String())
		if pid, err := findServer(addr); err != nil || pid != os.Getpid() {
			t.Errorf("%s: process %d, %v, want %d", addr, pid, err, os.Getpid())
		}
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		if pid, err := findServer(addr); err == nil {
			t.Errorf("%s is closed, and process %d was found", addr, pid)
		}
	}
}

func TestParseUsage(t *testing.T) {
	stat := "618 (a ) name (x) S 1 618 618 0 -1 4194304 2500 0 3 0 123 4567 8 9 20 0 6 0"
	got, err := parseUsage([]byte(stat))
	if err != nil || got.user != 1310*time.Millisecond || got.system != 45760*time.Millisecond {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseUsage([]byte("1 (x) S 1")); err == nil {
		t.Error("a line without CPU times was taken")
	}
	if own, err := readUsage(os.Getpid()); err != nil || own.total() < 0 {
		t.Errorf("this process: %+v, %v", own, err)
	}
	if m, err := readMemory(os.Getpid()); err != nil || m.pss < 1<<20 || m.rss < m.pss {
		t.Errorf("this process has a memory of %+v bytes, %v", m, err)
	}
}

// TestFamily counts what a process's child and its child use.
func TestFamily(t *testing.T) {
	spin := exec.Command("sh", "-c", `sh -c 'i=0; while :; do i=$((i+1)); done' & echo started; wait`)
	spin.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := spin.StdoutPipe()
	if err == nil {
		err = spin.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = syscall.Kill(-spin.Process.Pid, syscall.SIGKILL) // the group: both shells
		_ = spin.Wait()
	}()
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil {
		t.Skip("this kernel does not tell of children")
	}
	poll := time.NewTicker(tick)
	defer poll.Stop()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-poll.C {
		switch used, err := readUsage(spin.Process.Pid); {
		case err != nil:
			t.Fatal(err)
		case used.total() >= 5*tick: // the outer shell does nothing but wait
			return
		}
	}
	t.Error("the time of a child that never rests does not count")
}
