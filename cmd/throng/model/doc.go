// Package model is a test: it drives a whole server below its sockets (session,
// room and storage on a disk in memory) with random programs of many clients,
// and compares every frame that any of them gets with a simple model of
// docs/protocol.md. What it finds is shrunk to a short program.
//
// docs/design/0070-model-test.md says how it works, how to run it for long, and
// how to replay a failure.
package model
