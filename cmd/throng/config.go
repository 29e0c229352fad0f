package main

import (
	"fmt"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/internal/config"
)

// runConfig checks the configuration that throng serve would run with, or
// prints it.
func runConfig(args []string, o outside) int {
	if len(args) == 0 {
		return usageError(o, "config", fmt.Errorf("config takes check or print"))
	}
	show := printConfig
	switch args[0] {
	case "-h", "--help":
		fmt.Fprint(o.out, configUsage())
		return exitOK
	case "check":
		show = confirmConfig
	case "print":
	default:
		return usageError(o, "config", fmt.Errorf("config takes check or print, not %q", args[0]))
	}
	cfg, code, ok := loadConfig(newFlagSet("config"), args[1:], o, configUsage())
	switch {
	case ok:
		return show(cfg, o)
	case code == exitConfig:
		return exitFailure // what was asked for is the answer, not a server
	default:
		return code
	}
}

func confirmConfig(cfg *config.Config, o outside) int {
	for _, warning := range cfg.Warnings() {
		fmt.Fprintf(o.err, "warning: %s\n", warning)
	}
	keys, err := auth.OpenKeySet(auth.KeySetOptions{File: cfg.Auth.KeysFile, SigningKey: cfg.Auth.SigningKey})
	if err != nil {
		return failure(o, err)
	}
	keys.Close()
	fmt.Fprintln(o.out, "ok")
	return exitOK
}

func printConfig(cfg *config.Config, o outside) int {
	if _, err := o.out.Write(cfg.AppendTOML(nil)); err != nil {
		return failure(o, err)
	}
	return exitOK
}

func configUsage() string {
	return fmt.Sprintf(`Usage: throng config check|print [FLAGS]

check prints everything that is wrong with the configuration that throng serve
would run with, its keys file included, and exits with 1, or prints ok. print writes all of it as TOML,
secrets masked.

%s`, config.Usage())
}
