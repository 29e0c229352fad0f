package main

import (
	"fmt"
	"strings"

	"github.com/thronghq/throng/internal/config"
)

// runConfig checks the configuration that throng serve would run with, or
// prints it.
func runConfig(args []string, io streams) int {
	action := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		action, args = args[0], args[1:]
	}
	usage := fmt.Sprintf(`Usage: throng config check|print [FLAGS]

check prints everything that is wrong with the configuration that throng serve
would run with, and exits with 1, or prints ok. print writes all of it as TOML,
secrets masked.

%s`, config.Usage())
	cfg, code, ok := loadConfig(newFlagSet("config"), args, io, usage)
	switch {
	case code == exitConfig:
		return exitFailure
	case !ok:
		return code
	}
	switch action {
	case "check":
		for _, warning := range cfg.Warnings() {
			fmt.Fprintf(io.err, "warning: %s\n", warning)
		}
		fmt.Fprintln(io.out, "ok")
	case "print":
		if _, err := io.out.Write(cfg.AppendTOML(nil)); err != nil {
			return failure(io, err)
		}
	default:
		return usageError(io, "config", fmt.Errorf("config takes check or print, not %q", action))
	}
	return exitOK
}
