package main

import (
	"log/slog"
	"os"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/auth/hashworker"
)

// hashWorkerName is the subcommand that the server starts for itself, to hash
// passwords. People have no use for it.
const hashWorkerName = "hash-worker"

func runHashWorker(o outside) int {
	if err := hashworker.Serve(os.Stdin, o.out); err != nil {
		return failure(o, err)
	}
	return exitOK
}

// newDeriver returns what makes the server's hashing processes; nil, which is
// to hash within the server, where it cannot find its own program.
func newDeriver(log *slog.Logger) func() auth.Deriver {
	self, err := os.Executable()
	if err != nil {
		log.Warn("passwords are hashed within the server: its own program was not found", slog.Any("error", err))
		return nil
	}
	return func() auth.Deriver { return hashworker.New(self, hashWorkerName) }
}
