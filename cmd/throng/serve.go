package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/internal/telemetry"
)

// runServe serves until a signal asks for the end. A second signal ends the
// process at once.
func runServe(args []string, o outside) int {
	cfg, code, ok := loadConfig(newFlagSet("serve"), args, o, serveUsage())
	if !ok {
		return code
	}
	log := newLogger(cfg)
	for _, warning := range cfg.Warnings() {
		log.LogAttrs(context.Background(), slog.LevelWarn, warning)
	}

	ctx, stop := untilSignal()
	defer stop()
	if err := serve(ctx, cfg, log); err != nil {
		log.LogAttrs(context.Background(), slog.LevelError, "the server ended", slog.Any("error", err))
		return exitFailure
	}
	return exitOK
}

// untilSignal returns a context that ends with the first SIGTERM or SIGINT. By
// then the process no longer catches them, so that the next one ends it. The
// caller calls stop in the end.
func untilSignal() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		cancel()
	}()
	return ctx, func() {
		cancel()
		<-done
	}
}

func serveUsage() string {
	return fmt.Sprintf("Usage: throng [serve] [FLAGS]\n\nServes connections until SIGTERM or SIGINT.\n\n%s", config.Usage())
}

func newLogger(cfg *config.Config) *slog.Logger {
	text := cfg.Log.Format == config.FormatText
	if cfg.Log.Format == config.FormatAuto {
		text = telemetry.IsTerminal(os.Stderr)
	}
	return telemetry.NewLogger(os.Stderr, cfg.Log.Level, text)
}
