//go:build heapprofile

package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/pprof"
	"syscall"
)

// A build with this tag, which make flame makes and nothing else, counts every
// allocation, and on SIGUSR2 writes what lives of them to the file that
// THRONG_HEAPPROFILE names. The variable is not for the server, which is told of
// it no more.
var _ = profileHeap()

func profileHeap() bool {
	path := os.Getenv("THRONG_HEAPPROFILE")
	_ = os.Unsetenv("THRONG_HEAPPROFILE")
	if path == "" {
		return false
	}
	runtime.MemProfileRate = 1
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR2)
	go func() {
		for range asked {
			if err := writeHeapProfile(path); err != nil {
				fmt.Fprintln(os.Stderr, "heap profile:", err)
			}
		}
	}()
	return true
}

// writeHeapProfile leaves a whole file or none.
func writeHeapProfile(path string) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	defer f.Close()
	runtime.GC()
	if err := pprof.WriteHeapProfile(f); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
