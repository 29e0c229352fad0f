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
// w, as text or as JSON, one object a line. It may be used from any goroutine.
func NewLogger(w io.Writer, level slog.Level, text bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if text {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// IsTerminal reports whether a person is likely to read what is written to the
// file: it is a character device.
func IsTerminal(file *os.File) bool {
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
