// Package config holds what an operator can set: one table of keys with their
// defaults, bounds and texts, from which the file, the environment, the flags,
// --help and docs/configuration.md all follow.
//
// Load fills a Config from the defaults, a TOML file, the environment and the
// flags, each overriding the one before it. What it returns has passed every
// check, and what it refuses is reported all at once, each problem with its
// key, where the value came from, the value and what would be accepted. The
// package opens nothing but the configuration and secret files, and logs
// nothing.
package config
