package storage

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// How Pebble's files are named.
const (
	logSuffix  = ".log"
	tempSuffix = ".dbtmp" // of the options, while they are written
)

// guard is the store's file system, and watches the files that the store cannot
// outlive: the write-ahead log, the options that Pebble writes when it opens, and
// the directory whose fsync makes files last.
//
// Pebble panics where it cannot create its next log, close the last one, or sync
// the directory, and does so in goroutines of its own and with locks held, where
// nobody can recover from it: no client would be told. The same comes of an Open
// that fails after it has begun work in the background. Here the failure ends the
// store before Pebble hears of it (Store.fail), and the goroutine that met it
// stays until the process has ended. A log that cannot be written or synced is
// told to Pebble, too, which gives the error to those who wait for it.
type guard struct {
	vfs.FS
	s *Store
}

// end ends the store, and does not return.
func (g *guard) end(what, name string, err error) {
	g.s.fail(fmt.Errorf("storage: %s %s: %w", what, name, err))
	select {}
}

// Unwrap implements vfs.FS.
func (g *guard) Unwrap() vfs.FS { return g.FS }

// Create implements vfs.FS.
func (g *guard) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.Create(name, category)
	switch {
	case !strings.HasSuffix(name, tempSuffix):
		return g.log("creating", name, f, err)
	case err != nil:
		g.end("creating", name, err)
	}
	return &guardedTemp{f, g, name}, nil
}

// Rename implements vfs.FS.
func (g *guard) Rename(oldname, newname string) error {
	err := g.FS.Rename(oldname, newname)
	if err != nil && strings.HasSuffix(oldname, tempSuffix) {
		g.end("renaming", oldname, err)
	}
	return err
}

// ReuseForWrite implements vfs.FS.
func (g *guard) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldname, newname, category)
	return g.log("reusing", newname, f, err)
}

// OpenDir implements vfs.FS.
func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedDir{f, g, name}, nil
}

// log guards a file that is a write-ahead log.
func (g *guard) log(what, name string, f vfs.File, err error) (vfs.File, error) {
	if !strings.HasSuffix(name, logSuffix) {
		return f, err
	}
	if err != nil {
		g.end(what, name, err)
	}
	return &guardedLog{f, g, name}, nil
}

// guardedDir is the directory of the store's files.
type guardedDir struct {
	vfs.File
	guard *guard
	name  string
}

// Sync implements vfs.File.
func (d *guardedDir) Sync() error {
	if err := d.File.Sync(); err != nil {
		d.guard.end("syncing", d.name, err)
	}
	return nil
}

// guardedLog is a write-ahead log that is written.
type guardedLog struct {
	vfs.File
	guard *guard
	name  string
}

func (l *guardedLog) report(what string, err error) error {
	if err != nil {
		l.guard.s.fail(fmt.Errorf("storage: %s %s: %w", what, l.name, err))
	}
	return err
}

// Write implements vfs.File.
func (l *guardedLog) Write(p []byte) (int, error) {
	n, err := l.File.Write(p)
	return n, l.report("writing", err)
}

// Sync implements vfs.File.
func (l *guardedLog) Sync() error { return l.report("syncing", l.File.Sync()) }

// SyncData implements vfs.File.
func (l *guardedLog) SyncData() error { return l.report("syncing", l.File.SyncData()) }

// SyncTo implements vfs.File.
func (l *guardedLog) SyncTo(length int64) (fullSync bool, err error) {
	fullSync, err = l.File.SyncTo(length)
	return fullSync, l.report("syncing", err)
}

// Close implements vfs.File. Pebble closes a log to begin the next one, also
// where it could not be written, and would panic then.
func (l *guardedLog) Close() error {
	err := l.report("closing", l.File.Close())
	if l.guard.s.failure() != nil {
		select {}
	}
	return err
}

// guardedTemp is the file of options that is written.
type guardedTemp struct {
	vfs.File
	guard *guard
	name  string
}

func (f *guardedTemp) must(what string, err error) {
	if err != nil {
		f.guard.end(what, f.name, err)
	}
}

// Write implements vfs.File.
func (f *guardedTemp) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.must("writing", err)
	return n, nil
}

// Sync implements vfs.File.
func (f *guardedTemp) Sync() error {
	f.must("syncing", f.File.Sync())
	return nil
}

// Close implements vfs.File.
func (f *guardedTemp) Close() error {
	f.must("closing", f.File.Close())
	return nil
}
