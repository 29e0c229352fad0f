// Package storage keeps the rooms' messages and settings on disk, in one
// Pebble store, and gives every message its place: offset, time and id.
//
// All appends of all rooms go through one bounded queue to one committer, which
// writes what has gathered as one batch and then hands each room its messages
// in order. It never waits for a disk on behalf of a single message: rooms of an
// async namespace get theirs when the batch stands in the write-ahead log, rooms
// of a sync namespace when an fsync covers it.
//
// The package owns its data directory alone. It knows nothing of connections,
// members or permissions; it never deletes data to recover from an error, and
// it never answers a read with less than what the log holds without an error.
//
// What stands on disk is described in docs/storage-format.md.
package storage
