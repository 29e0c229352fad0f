package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// syncs are the system calls that wait for the disk.
const syncs = "fsync,fdatasync,sync_file_range"

// injection is a fault in a server's system calls, which strace brings about.
type injection struct {
	t      *testing.T
	strace *exec.Cmd
}

// inject has the running server's system calls fail, or last, as strace's
// inject= says it, where they concern one of the paths, or all where there are
// none. It returns once that is so.
func inject(t *testing.T, s *throngtest.Server, calls, fault string, paths ...string) *injection {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal(err) // needStrace was not called
	}
	args := []string{"-f", "-o", os.DevNull, "-e", "trace=" + calls, "-e", "inject=" + calls + ":" + fault, "-p", fmt.Sprint(s.PID())}
	for _, path := range paths {
		args = append(args, "-P", path)
	}
	i := &injection{t, exec.Command("strace", args...)}
	output, err := i.strace.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := i.strace.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(i.end)
	var said []string
	lines := bufio.NewScanner(output)
	for lines.Scan() {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "attached") {
			go func() { // so that strace never waits for a reader
				for lines.Scan() {
				}
			}()
			return i
		}
	}
	if strings.Contains(strings.Join(said, "\n"), "Operation not permitted") && os.Getuid() != 0 {
		t.Skip("the kernel lets only root trace a running process (kernel.yama.ptrace_scope)")
	}
	t.Fatalf("strace: %s", said)
	return nil
}

// end lets the server go on without the fault: what was held goes on, too.
func (i *injection) end() {
	if i.strace.ProcessState != nil {
		return
	}
	_ = i.strace.Process.Signal(syscall.SIGTERM) // it may have ended with the server
	_ = i.strace.Wait()                          // says by which signal
}

// needStrace skips the test where strace is missing.
func needStrace(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("strace is not installed; make test installs it")
	}
}

// durableConfig returns the path of a configuration whose namespace safe is sync.
func durableConfig(t *testing.T) string {
	t.Helper()
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte("[namespace.safe]\ndurability = \"sync\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return config
}

// logFiles returns the write-ahead logs of a server, as the kernel names them.
func logFiles(t *testing.T, s *throngtest.Server) []string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(filepath.Join(s.DataDir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("there is no log in %s: %v", dir, err)
	}
	return logs
}

// TestADiskThatFailsEndsTheServerInOrder has the kernel refuse the real server's
// fsyncs or its writes to the log, as a broken disk, one that has turned
// read-only and one that is full without a warning do. The clients are told, the
// exit code and the log say so, and the next life has everything that was
// acknowledged in a sync room, once.
func TestADiskThatFailsEndsTheServerInOrder(t *testing.T) {
	needStrace(t)
	for _, fault := range []struct {
		name, calls, fault string
		logs               bool // only on the write-ahead log
		says               string
	}{
		{"an fsync fails", syncs, "error=EIO", false, "input/output error"},
		{"the disk has turned read-only", "write,pwrite64,writev", "error=EROFS", true, "read-only file system"},
		{"the log finds no space", "write,pwrite64,writev", "error=ENOSPC", true, "no space left on device"},
	} {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", durableConfig(t)}})
			listener := throngtest.Dial(t, s.WSURL("/ws?user=bob"), throngtest.DialOptions{})
			listener.Expect("session")
			listener.Send(map[string]any{"type": "join", "id": "j", "room": "safe:vault"})
			epoch := listener.Expect("joined").Text("epoch")
			author := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
			author.Expect("session")
			publish := func(n int) (throngtest.Frame, error) {
				author.Send(safeMessage(n))
				return author.TryReceive()
			}
			var acked []throngtest.Frame
			for n := range 20 {
				f, err := publish(n)
				if err != nil || f.Type() != "ack" {
					t.Fatalf("before the fault: %v, %v", f, err)
				}
				acked = append(acked, f)
			}
			var paths []string
			if fault.logs {
				paths = logFiles(t, s)
			}
			inject(t, s, fault.calls, fault.fault, paths...)
			for {
				f, err := publish(len(acked))
				if err != nil {
					told(t, "the author", err)
					break
				}
				if f.Type() == "ack" { // it was on its way
					acked = append(acked, f)
					continue
				}
				if code := f["code"]; code != "storage_failed" && code != "shutting_down" {
					t.Fatalf("after %d messages: %v", len(acked), f)
				}
				_, err = author.TryReceive()
				told(t, "the author", err)
				break
			}
			heard := drainListener(t, listener)
			stderr := s.Output
			if code := s.Wait(); code != exitFailure {
				t.Errorf("exit code %d, want %d", code, exitFailure)
			}
			if !strings.Contains(stderr(), "the log failed") || !strings.Contains(stderr(), fault.says) {
				t.Errorf("standard error does not say what failed (%s):\n%s", fault.says, stderr())
			}
			s.Restart()
			checkAcknowledged(t, s, acked, epoch, heard)
			s.Stop()
		})
	}
}

// safeMessage is the n-th message of a test.
func safeMessage(n int) map[string]any {
	return map[string]any{"type": "message", "id": "m", "to": "safe:vault", "key": fmt.Sprint("k", n), "content": n}
}

// drainListener returns the last offset that a listener got before the server
// told it to go.
func drainListener(t *testing.T, c *throngtest.Client) (last int64) {
	t.Helper()
	for {
		f, err := c.TryReceive()
		if err != nil {
			told(t, "a listener", err)
			return last
		}
		if f.Type() == "message" {
			last = f.Int("offset")
		}
	}
}

// checkAcknowledged looks for what was acknowledged in the next life of a server:
// it is in history, its repeat is one, and who has heard it resumes.
func checkAcknowledged(t *testing.T, s *throngtest.Server, acked []throngtest.Frame, epoch string, heard int64) {
	t.Helper()
	c := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	c.Expect("session")
	c.Send(map[string]any{"type": "history", "id": "h", "room": "safe:vault", "limit": 1000})
	messages, _ := c.Expect("history")["messages"].([]any)
	for n, ack := range acked {
		if n >= len(messages) || throngtest.Frame(messages[n].(map[string]any)).Text("msgId") != ack.Text("msgId") {
			t.Fatalf("of %d acknowledged messages, number %d is not in a history of %d", len(acked), n+1, len(messages))
		}
		c.Send(safeMessage(n))
		again := c.Expect("ack")
		if !again.Bool("duplicate") || again.Text("msgId") != ack.Text("msgId") || again.Int("offset") != ack.Int("offset") {
			t.Fatalf("message %d was acknowledged with %v, and its repeat with %v", n, ack, again)
		}
	}
	if heard > int64(len(messages)) {
		t.Errorf("offset %d was heard in a sync room, and %d are there", heard, len(messages))
	}
	c.Send(map[string]any{"type": "join", "id": "j", "room": "safe:vault", "since": map[string]any{"offset": heard, "epoch": epoch}})
	if f := c.Expect("joined"); !f.Bool("recovered") {
		t.Errorf("who heard up to %d in the life before does not resume: %v", heard, f)
	}
	c.Cut()
}

// TestASlowDiskMakesPublishesWait holds the real server's fsyncs back: nothing
// is acknowledged in a sync room, the queue fills and refuses what comes beyond
// its bound, readers are served, and all that waits is acknowledged when the disk
// is back.
func TestASlowDiskMakesPublishesWait(t *testing.T) {
	needStrace(t)
	s := throngtest.Start(t, throngtest.Options{Args: []string{"--config", durableConfig(t)}})
	author := throngtest.Dial(t, s.WSURL("/ws?user=ana"), throngtest.DialOptions{})
	author.Expect("session")
	author.Send(safeMessage(0))
	author.Expect("ack")

	held := inject(t, s, syncs, "delay_enter=3600s")
	author.Send(safeMessage(1))
	filler := throngtest.Dial(t, s.WSURL("/ws?user=bob"), throngtest.DialOptions{})
	filler.Expect("session")
	const (
		bound = 64 << 20 // bytes of content in the store's queue
		size  = 60_000   // of a message
		sent  = bound/size + 100
	)
	message := fmt.Sprintf(`{"type":"message","id":"m","to":"lobby","content":%q}`, strings.Repeat("x", size-2))
	refused, acks := 0, 0
	var sending sync.WaitGroup
	sending.Go(func() {
		for range sent {
			filler.SendText(message)
		}
	})
	for refused == 0 {
		switch f := filler.Receive(); {
		case f.Type() == "ack": // before the disk was noticed to be slow
			acks++
		case f["code"] == "overloaded" && f["retry"] == true:
			refused++
		default:
			t.Fatalf("on a slow disk: %v", f)
		}
	}
	reader := throngtest.Dial(t, s.WSURL("/ws?user=cyd"), throngtest.DialOptions{})
	reader.Expect("session")
	reader.Send(map[string]any{"type": "history", "id": "h", "room": "safe:vault"})
	if page := reader.Expect("history")["messages"].([]any); len(page) != 1 {
		t.Errorf("a reader got %d messages of the sync room while nothing can be synced, want the first alone", len(page))
	}

	held.end()
	if f := author.Expect("ack"); f.Int("offset") != 2 {
		t.Errorf("the disk is back: %v", f)
	}
	sending.Wait()
	for acks+refused < sent {
		switch f := filler.Receive(); {
		case f.Type() == "ack":
			acks++
		case f["code"] == "overloaded":
			refused++
		default:
			t.Fatalf("after a slow disk: %v", f)
		}
	}
	if least := bound / size * 9 / 10; acks < least {
		t.Errorf("%d of %d messages were acknowledged; the queue takes at least %d", acks, sent, least)
	}
	reader.Send(map[string]any{"type": "history", "id": "h", "room": "lobby", "limit": 1, "reverse": true})
	last := throngtest.Frame(reader.Expect("history")["messages"].([]any)[0].(map[string]any))
	if last.Int("offset") != int64(acks) {
		t.Errorf("the room's head is %d after %d acks", last.Int("offset"), acks)
	}
	t.Logf("%d messages sent, %d acknowledged, %d refused", sent, acks, refused)
	reader.Cut()
	s.Stop()
}
