package throngtest_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

func TestMain(m *testing.M) { throngtest.Main(m) }

func TestLifeOfAServer(t *testing.T) {
	t.Setenv("THRONG_NO_SUCH_KEY", "the test's own variables must not reach the server")
	s := throngtest.Start(t, throngtest.Options{})

	ada := throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	if user := ada.Expect("session").Text("userId"); user != "ada" {
		t.Errorf("the session is %q's, want ada's", user)
	}
	ada.Send(map[string]any{"type": "PING", "timestamp": 9007199254740991})
	if got := ada.Expect("PONG").Int("timestamp"); got != 9007199254740991 {
		t.Errorf("the timestamp came back as %d", got)
	}
	response, err := http.Get(s.URL("/healthz"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("/healthz answers %s (%v)", response.Status, err)
	}

	address, first := s.Addr(), s.PID()
	s.Kill()
	if frame, err := ada.TryReceive(); err == nil {
		t.Errorf("after the kill: %v", frame)
	}
	if _, _, err := throngtest.TryDial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{}); err == nil {
		t.Error("a killed server takes connections")
	}

	s.Restart()
	if s.Addr() != address || s.PID() == first {
		t.Errorf("it came back on %s as %d, want %s and not %d", s.Addr(), s.PID(), address, first)
	}
	ada = throngtest.Dial(t, s.WSURL("/ws?user=ada"), throngtest.DialOptions{})
	ada.Await("session")
	s.Stop()
	if !strings.Contains(s.Output(), "drain") {
		t.Errorf("standard error does not tell of the end:\n%s", s.Output())
	}
}

func TestExitCodes(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{})
	s.Signal(syscall.SIGKILL)
	if code := s.Wait(); code != -1 {
		t.Errorf("exit code %d of a killed server, want -1", code)
	}
	s.Restart()
	s.Signal(syscall.SIGINT)
	if code := s.Wait(); code != 0 {
		t.Errorf("exit code %d after SIGINT, want 0", code)
	}
}

func TestRunShowsWhatACommandSays(t *testing.T) {
	code, stdout, stderr := throngtest.Run(t, nil, "version")
	// The metrics library speaks up by itself where the kernel measures no
	// pressure (PSI).
	if code != 0 || !strings.HasPrefix(stdout, "throng ") || stderr != "" && !strings.Contains(stderr, "PSI") {
		t.Errorf("version: %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr = throngtest.Run(t, []string{"THRONG_LOG_LEVEL=loud"}, "config", "check")
	if code != 1 || stdout != "" || !strings.Contains(stderr, "THRONG_LOG_LEVEL") {
		t.Errorf("config check: %d, %q, %q", code, stdout, stderr)
	}
}

func TestDataOutlivesTheServer(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{DataDir: filepath.Join(t.TempDir(), "data"), NoDev: true})
	first, err := os.ReadFile(filepath.Join(s.DataDir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Restart()
	again, err := os.ReadFile(filepath.Join(s.DataDir, "secret"))
	if err != nil || string(again) != string(first) {
		t.Errorf("the secret changed with the restart (%v)", err)
	}
	code, token, stderr := throngtest.Run(t, nil, "token", "--user", "ada", "--data-dir", s.DataDir)
	if code != 0 {
		t.Fatalf("token: %d, %s", code, stderr)
	}
	header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(token)}}
	ada := throngtest.Dial(t, s.WSURL("/ws"), throngtest.DialOptions{Header: header, Subprotocols: []string{"throng.v1.json"}})
	if user := ada.Expect("session").Text("userId"); user != "ada" {
		t.Errorf("the session is %q's, want ada's", user)
	}
	if got := ada.Conn.Subprotocol(); got != "throng.v1.json" {
		t.Errorf("subprotocol %q", got)
	}
}

func TestCommandAroundTheBinary(t *testing.T) {
	s := throngtest.Start(t, throngtest.Options{Command: []string{"prlimit", "--nofile=1234:1234"}, Args: []string{"--log-level=info"}})
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`Max open files +1234 +1234 `).Match(limits) {
		t.Errorf("the command did not count:\n%s", limits)
	}
	s.AwaitStderr(`"msg":"serving"`)
	s.Stop()
}
