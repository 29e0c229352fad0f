package storagetest

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FaultMode says what becomes of an operation that fails.
type FaultMode int

const (
	NotDone FaultMode = iota // nothing happened
	Torn                     // of a write, half happened; of anything else, nothing
	Done                     // it happened, and is reported as failed all the same
)

// FaultModes are all there are.
var FaultModes = []FaultMode{NotDone, Torn, Done}

// String returns the mode's name.
func (m FaultMode) String() string { return [...]string{"not done", "torn", "done"}[m] }

// ErrFault is the error of the operation that fails.
var ErrFault = errors.New("the disk fails, as the test wants it")

// Fault fails one operation of a file system that changes something: the n-th
// write, sync, creation, renaming, linking, removal or closing. Its methods are
// safe for concurrent use.
type Fault struct {
	mu    sync.Mutex
	after int64 // operations before the one that fails; below 0 none does
	mode  FaultMode
	log   bool // only writes and syncs of a write-ahead log count

	hit atomic.Pointer[string]
}

// NewFault returns a fault of the operation with the index at, from 0.
func NewFault(at int64, mode FaultMode) *Fault { return &Fault{after: at, mode: mode} }

// FailLog has a write or a sync of a write-ahead log fail, the one with the index
// at from now on, instead of what was to fail before; none where at is below 0.
func (f *Fault) FailLog(at int64, mode FaultMode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.after, f.mode, f.log = at, mode, true
}

// due counts an operation, and reports whether it is the one, and how it fails.
func (f *Fault) due(what, name string) (mode FaultMode, fails bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.log && (!strings.HasSuffix(name, ".log") || what != "writing" && what != "syncing") {
		return 0, false
	}
	if f.after >= 0 {
		f.after--
		fails = f.after < 0
	}
	return f.mode, fails
}

// Happened returns which operation failed, "" where none has.
func (f *Fault) Happened() string {
	if what := f.hit.Load(); what != nil {
		return *what
	}
	return ""
}

// FS returns the file system with the fault. What was opened before has none.
func (f *Fault) FS(fs vfs.FS) vfs.FS { return faultyFS{fs, f} }

// do does an operation, or has it fail.
func (f *Fault) do(what, name string, op func() error) error {
	mode, fails := f.due(what, name)
	if !fails {
		return op()
	}
	what += " " + name
	f.hit.Store(&what)
	if mode == Done {
		if err := op(); err != nil {
			return err
		}
	}
	return ErrFault
}

// open is do for an operation that opens a file.
func (f *Fault) open(what, name string, op func() (vfs.File, error)) (file vfs.File, err error) {
	err = f.do(what, name, func() error {
		file, err = op()
		return err
	})
	if err != nil {
		if file != nil {
			err = errors.Join(err, file.Close())
		}
		return nil, err
	}
	return &faultyFile{file, f, name}, nil
}

// torn reports whether a write that fails has half happened.
func (f *Fault) torn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mode == Torn
}

type faultyFS struct {
	vfs.FS
	fault *Fault
}

// Unwrap implements vfs.FS.
func (fs faultyFS) Unwrap() vfs.FS { return fs.FS }

// Create implements vfs.FS.
func (fs faultyFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.fault.open("creating", name, func() (vfs.File, error) { return fs.FS.Create(name, category) })
}

// ReuseForWrite implements vfs.FS.
func (fs faultyFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.fault.open("reusing", newname, func() (vfs.File, error) {
		return fs.FS.ReuseForWrite(oldname, newname, category)
	})
}

// OpenDir implements vfs.FS. That it is opened changes nothing; its sync does.
func (fs faultyFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{f, fs.fault, name}, nil
}

// Link implements vfs.FS.
func (fs faultyFS) Link(oldname, newname string) error {
	return fs.fault.do("linking", newname, func() error { return fs.FS.Link(oldname, newname) })
}

// Remove implements vfs.FS.
func (fs faultyFS) Remove(name string) error {
	return fs.fault.do("removing", name, func() error { return fs.FS.Remove(name) })
}

// Rename implements vfs.FS.
func (fs faultyFS) Rename(oldname, newname string) error {
	return fs.fault.do("renaming", newname, func() error { return fs.FS.Rename(oldname, newname) })
}

type faultyFile struct {
	vfs.File
	fault *Fault
	name  string
}

// Write implements vfs.File.
func (f *faultyFile) Write(p []byte) (n int, err error) {
	done := false
	err = f.fault.do("writing", f.name, func() error {
		n, err = f.File.Write(p)
		done = true
		return err
	})
	if errors.Is(err, ErrFault) && !done && f.fault.torn() {
		n, _ = f.File.Write(p[:len(p)/2])
	}
	return n, err
}

// Sync implements vfs.File.
func (f *faultyFile) Sync() error { return f.fault.do("syncing", f.name, f.File.Sync) }

// SyncData implements vfs.File.
func (f *faultyFile) SyncData() error { return f.fault.do("syncing", f.name, f.File.SyncData) }

// SyncTo implements vfs.File.
func (f *faultyFile) SyncTo(length int64) (fullSync bool, err error) {
	err = f.fault.do("syncing", f.name, func() error {
		fullSync, err = f.File.SyncTo(length)
		return err
	})
	return fullSync, err
}

// Close implements vfs.File.
func (f *faultyFile) Close() error { return f.fault.do("closing", f.name, f.File.Close) }
