package main

import (
	"fmt"

	"github.com/thronghq/throng/internal/buildinfo"
)

func runVersion(args []string, io streams) int {
	if len(args) > 0 {
		return usageError(io, "", fmt.Errorf("unexpected argument %q", args[0]))
	}
	fmt.Fprintln(io.out, buildinfo.String())
	return exitOK
}
