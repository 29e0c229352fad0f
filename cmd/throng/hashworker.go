package main

import (
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

// newDeriver returns the deriver of a hashing process: the program that runs,
// also where its file has been replaced by another version's.
func newDeriver() auth.Deriver { return hashworker.New("/proc/self/exe", hashWorkerName) }
