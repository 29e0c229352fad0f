package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/internal/telemetry"
)

// runServe serves until a signal asks for the end. A second signal hurries it,
// and a third ends the process at once.
func runServe(args []string, o outside) int {
	cfg, code, ok := loadConfig(newFlagSet("serve"), args, o, serveUsage())
	if !ok {
		return code
	}
	log := newLogger(cfg)
	for _, warning := range cfg.Warnings() {
		log.LogAttrs(context.Background(), slog.LevelWarn, warning)
	}

	stop := catchSignals()
	defer stop.release()
	if err := serve(stop, cfg, log); err != nil {
		log.LogAttrs(context.Background(), slog.LevelError, "the server ended", slog.Any("error", err))
		return exitFailure
	}
	return exitOK
}

// stopSignals is what SIGTERM and SIGINT ask for.
type stopSignals struct {
	ctx     context.Context // ends with the first of them
	hurry   context.Context // ends with the second
	release func()          // stops catching them; to be called in the end
}

// catchSignals catches SIGTERM and SIGINT. After the second it catches them no
// longer, so that a third ends the process.
func catchSignals() *stopSignals {
	ctx, stop := context.WithCancel(context.Background())
	hurry, hasten := context.WithCancel(context.Background())
	caught := make(chan os.Signal, 2)
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT)
	released, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(caught)
		last := func() {
			signal.Stop(caught)
			hasten()
		}
		for _, ask := range []func(){stop, last} {
			select {
			case <-caught:
				ask()
			case <-released:
				return
			}
		}
	}()
	return &stopSignals{ctx: ctx, hurry: hurry, release: func() {
		close(released)
		<-done
		stop()
		hasten()
	}}
}

// hurriedGrace is what a hurry leaves of the time for a step of the stop.
const hurriedGrace = time.Second

// within returns a context for a step of the stop that may take so long. The
// caller calls cancel when the step is done.
func (s *stopSignals) within(d time.Duration) (ctx context.Context, cancel func()) {
	ctx, end := context.WithTimeout(context.Background(), d)
	calm := context.AfterFunc(s.hurry, func() { time.AfterFunc(hurriedGrace, end) })
	return ctx, func() {
		calm()
		end()
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
