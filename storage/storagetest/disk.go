// Package storagetest gives tests of other packages a disk for a store: one in
// memory, which can lose what was not synced, as a machine does that loses its
// power, and whose syncs can be held back.
//
// It keeps nothing in files and is not meant for anything but tests.
package storagetest

import (
	"math/rand/v2"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Disk is a disk in memory. Its methods are safe for concurrent use.
type Disk struct {
	mem *vfs.MemFS

	mu   sync.Mutex
	held chan struct{} // closed by Release, nil while syncs go through
}

// NewDisk returns an empty disk.
func NewDisk() *Disk { return &Disk{mem: vfs.NewCrashableMem()} }

// FS is the disk as storage.Options takes it.
func (d *Disk) FS() vfs.FS { return fileSystem{d.mem, d} }

// Crash returns the disk as a power failure at this moment would leave it: what
// was synced is there, and of the rest about percent in a hundred, which the
// seed chooses. The disk itself goes on as it was.
func (d *Disk) Crash(percent int, seed uint64) *Disk {
	return &Disk{mem: d.mem.CrashClone(vfs.CrashCloneCfg{
		UnsyncedDataPercent: percent,
		RNG:                 rand.New(rand.NewPCG(seed, 0)),
	})}
}

// HoldSyncs lets syncs of the write-ahead log wait until Release: what is
// written meanwhile is not safe. The writes themselves go on.
func (d *Disk) HoldSyncs() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held == nil {
		d.held = make(chan struct{})
	}
}

// Release lets held syncs happen, and those that follow.
func (d *Disk) Release() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held != nil {
		close(d.held)
		d.held = nil
	}
}

// await blocks while syncs are held.
func (d *Disk) await() {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
	if held != nil {
		<-held
	}
}

// fileSystem gives out write-ahead logs whose syncs wait for the disk.
type fileSystem struct {
	vfs.FS
	disk *Disk
}

// Create implements vfs.FS.
func (fs fileSystem) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	return fs.wrap(name, f), err
}

// ReuseForWrite implements vfs.FS.
func (fs fileSystem) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.ReuseForWrite(oldname, newname, category)
	return fs.wrap(newname, f), err
}

func (fs fileSystem) wrap(name string, f vfs.File) vfs.File {
	if f == nil || !strings.HasSuffix(name, ".log") {
		return f
	}
	return file{f, fs.disk}
}

type file struct {
	vfs.File
	disk *Disk
}

// Sync implements vfs.File.
func (f file) Sync() error {
	f.disk.await()
	return f.File.Sync()
}

// SyncData implements vfs.File.
func (f file) SyncData() error {
	f.disk.await()
	return f.File.SyncData()
}

// SyncTo implements vfs.File.
func (f file) SyncTo(length int64) (fullSync bool, err error) {
	f.disk.await()
	return f.File.SyncTo(length)
}
