// Package telemetry sets up the process's log: structured lines on standard
// error, for a machine or for a person. It keeps no global logger; what it
// returns is handed to whoever logs.
package telemetry

import (
	"io"
	"log/slog"
	"os"
)

// NewLogger returns a logger that writes lines of the given level and above to
// w, as text or as JSON, one object a line; durations are written as in 1m30s
// in both. It may be used from any goroutine.
func NewLogger(w io.Writer, level slog.Level, text bool) *slog.Logger {
	if text {
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: durationAsText}))
}

func durationAsText(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}

// IsTerminal reports whether a person is likely to read what is written to the
// file: it is a character device.
func IsTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
