package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/thronghq/throng/bench"
)

// runBench loads a server, this one or another, and measures it.
func runBench(args []string, o outside) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := bench.Run(ctx, args, bench.Streams{In: os.Stdin, Out: o.out, Err: o.err})
	if usage, ok := errors.AsType[*bench.UsageError](err); ok {
		return usageError(o, "bench", usage)
	}
	if err != nil {
		return failure(o, err)
	}
	return exitOK
}
