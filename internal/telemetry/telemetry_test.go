package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/telemetry"
)

func write(level slog.Level, text bool) string {
	var b bytes.Buffer
	log := telemetry.NewLogger(&b, level, text)
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelError} {
		log.LogAttrs(context.Background(), l, "hello", slog.Duration("within", 90*time.Second), slog.Any("error", errors.New("broken")))
	}
	return b.String()
}

func TestJSON(t *testing.T) {
	lines := strings.Split(strings.TrimSpace(write(slog.LevelInfo, false)), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want those of info and error", len(lines))
	}
	var line map[string]string
	if err := json.Unmarshal([]byte(lines[1]), &line); err != nil {
		t.Fatal(err)
	}
	if line["level"] != "ERROR" || line["msg"] != "hello" || line["within"] != "1m30s" || line["error"] != "broken" || line["time"] == "" {
		t.Errorf("got %v", line)
	}
}

func TestText(t *testing.T) {
	got := write(slog.LevelDebug, true)
	if strings.Count(got, "\n") != 3 || !strings.Contains(got, "level=DEBUG msg=hello within=1m30s error=broken") {
		t.Errorf("got %q", got)
	}
}

func TestIsTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if telemetry.IsTerminal(file) {
		t.Error("a file is taken for a terminal")
	}
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	if !telemetry.IsTerminal(device) {
		t.Error("a character device is not taken for a terminal")
	}
}
