package main

import (
	"fmt"

	"github.com/thronghq/throng/internal/buildinfo"
)

func runVersion(args []string, o outside) int {
	if len(args) > 0 {
		return usageError(o, "", fmt.Errorf("unexpected argument %q", args[0]))
	}
	fmt.Fprintln(o.out, buildinfo.String())
	return exitOK
}
