package systemd_test

import (
	"net"
	"path/filepath"
	"testing"

	"github.com/thronghq/throng/internal/systemd"
)

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for state, want := range map[string]string{systemd.Ready: "READY=1", systemd.Stopping: "STOPPING=1"} {
		if err := systemd.Notify(state); err != nil {
			t.Fatal(err)
		}
		message := make([]byte, 64)
		n, err := manager.Read(message)
		if err != nil || string(message[:n]) != want {
			t.Errorf("got %q (%v), want %q", message[:n], err, want)
		}
	}
}

func TestNotifyWithoutAManager(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := systemd.Notify(systemd.Ready); err != nil {
		t.Error(err)
	}
	t.Setenv("NOTIFY_SOCKET", filepath.Join(t.TempDir(), "gone"))
	if err := systemd.Notify(systemd.Ready); err == nil {
		t.Error("a manager that is gone was told")
	}
}
