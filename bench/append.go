package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/storage"
)

// The values of --durability. A room that keeps nothing on disk has no log that
// could be measured here.
const (
	durabilityAsync = "async"
	durabilitySync  = "sync"
)

// appendResult is what appending costs in this process.
type appendResult struct {
	appendFigures
	File *appendFigures `json:"file,omitempty"` // the same bytes to a plain file; nil where the log stays
}

type appendFigures struct {
	PerSecond     float64 `json:"messages_per_second"`
	CPUPerMessage float64 `json:"cpu_us_per_message"` // user and system, all threads
}

func figures(messages uint64, elapsed time.Duration, used usage) appendFigures {
	return appendFigures{
		PerSecond:     float64(messages) / elapsed.Seconds(),
		CPUPerMessage: float64(used.total()) / float64(time.Microsecond) / float64(messages),
	}
}

// runAppend measures the log without sockets: as many writers as there are
// cores append to many rooms, with thousands of messages on their way. A log that
// is to stay has no plain file beside it.
func runAppend(ctx context.Context, o *options, p *progress) (_ *result, err error) {
	if o.Messages == 0 {
		return nil, &UsageError{errors.New("--messages 0: at least 1")}
	}
	if o.Keep != "" {
		if err := os.MkdirAll(o.Keep, 0o700); err != nil {
			return nil, err
		}
		return appendToLog(ctx, filepath.Join(o.Keep, storeFolder), o, p)
	}
	dir, err := os.MkdirTemp(o.Dir, "throng-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	p.stage("appending %d messages to a plain file", o.Messages)
	file, err := appendToFile(ctx, filepath.Join(dir, "plain"), o)
	if err != nil {
		return nil, fmt.Errorf("the plain file: %w", err)
	}
	r, err := appendToLog(ctx, filepath.Join(dir, storeFolder), o, p)
	if err == nil {
		r.Append.File = &file
	}
	return r, err
}

func appendToLog(ctx context.Context, dir string, o *options, p *progress) (*result, error) {
	p.stage("appending %d messages to the log", o.Messages)
	a, err := newAppender(dir, o)
	if err != nil {
		return nil, err
	}
	r, err := a.run(ctx)
	return r, errors.Join(err, a.store.Close())
}

const (
	storeFolder  = "store"       // of the log in a data directory
	keptMessages = 1_000_000_000 // of each room, in a log that is kept: no retention's doing is measured
)

// appender appends through the store.
type appender struct {
	options *options
	store   *storage.Store
	rooms   []*storage.Room
	free    chan *proto.Publish // as many as may be on their way
	content []byte

	begun  atomic.Uint64
	failed atomic.Pointer[proto.Error]
	tally  *tally   // owned by the sinks, which one goroutine calls
	states []stream // by the room; as tally
	clock  clock
}

func newAppender(dir string, o *options) (*appender, error) {
	ns := proto.NewNamespace(proto.DefaultNamespace)
	if err := ns.Durability.UnmarshalText([]byte(o.Durability)); err != nil {
		return nil, err
	}
	if o.Keep != "" {
		ns.HistorySize = keptMessages
	}
	a := &appender{options: o, free: make(chan *proto.Publish, o.Outstanding), tally: newTally(), states: make([]stream, o.Rooms), clock: newClock()}
	a.content = appendContent(nil, stamp{}, o.Size)
	for range o.Outstanding {
		a.free <- &proto.Publish{}
	}
	var err error
	if a.store, err = storage.Open(dir, storage.Options{Namespaces: []proto.Namespace{ns}}); err != nil {
		return nil, err
	}
	for i := range o.Rooms {
		r, err := a.store.Room(roomName(o.Prefix, int32(i)), func(pubs []*proto.Publish) { a.landed(i, pubs) })
		if err != nil {
			return nil, errors.Join(err, a.store.Close())
		}
		a.rooms, a.states[i].last = append(a.rooms, r), r.Head().Offset
	}
	return a, nil
}

// appendVaried appends content that differs from message to message as that of
// fan-outs does: where the log stays, what it takes on the disk matters, and
// what reading it costs.
func appendVaried(dst []byte, n uint64, size int) []byte {
	return appendContent(dst, stamp{author: int32(n % (1 << 14)), seq: uint32(n), due: int64(n * 0x9e3779b97f4a7c15)}, size)
}

// landed is the rooms' sink: it checks and times what has been appended.
func (a *appender) landed(room int, pubs []*proto.Publish) {
	now := a.clock.now()
	for _, p := range pubs {
		if p.Err != nil {
			a.failed.CompareAndSwap(nil, p.Err)
		} else {
			a.states[room].see(p.Offset, &a.tally.Violations)
		}
		a.tally.Delivered++
		a.tally.Latency.record(p.Origin.(int64), now)
		a.free <- p
	}
}

func (a *appender) run(ctx context.Context) (*result, error) {
	start, before := time.Now(), ownUsage()
	var writers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		writers.Go(func() { a.write(ctx) })
	}
	writers.Wait()
	for range a.options.Outstanding { // the last ones have landed
		<-a.free
	}
	elapsed, used := time.Since(start), ownUsage().since(before)
	if err := a.failed.Load(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := a.tally
	t.Sent = a.options.Messages
	t.Violations.Lost += t.Sent - t.Delivered
	t.CPU, t.BusiestCPU = used.total().Seconds(), used.total().Seconds()/float64(runtime.GOMAXPROCS(0))
	r := newResult(t, elapsed, nil)
	r.LimitedBy, r.Why = "", "" // the generator and the log are one process
	r.Append = &appendResult{appendFigures: figures(t.Sent, elapsed, used)}
	return r, nil
}

// write appends until all messages have begun. The time at which a message was
// due is when its place was free.
func (a *appender) write(ctx context.Context) {
	for ctx.Err() == nil && a.failed.Load() == nil {
		n := a.begun.Add(1)
		if n > a.options.Messages {
			return
		}
		p := <-a.free
		content := a.content
		if a.options.Keep != "" {
			content = appendVaried(nil, n, a.options.Size)
		}
		*p = proto.Publish{Message: proto.Message{From: userName0, Content: content}, Origin: a.clock.now()}
		if err := a.rooms[n%uint64(len(a.rooms))].Append(p); err != nil {
			a.failed.CompareAndSwap(nil, err)
			a.free <- p
			return
		}
	}
}

// fileBatch is how many records go to the plain file in one write, which is
// about what the log's committer gathers under load.
const fileBatch = 256

// appendToFile writes records with the same parts as the log's: the room, the
// offset, the time, the author, the content. An async file is synced by a tick
// of 5 ms beside the writes, a sync one after each batch.
func appendToFile(ctx context.Context, path string, o *options) (_ appendFigures, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return appendFigures{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	content := appendContent(nil, stamp{}, o.Size)
	names := make([]string, o.Rooms)
	for i := range names {
		names[i] = roomName(o.Prefix, int32(i))
	}
	start, before := time.Now(), ownUsage()
	stop := func() error { return nil }
	if o.Durability == durabilityAsync {
		stop = syncOnTick(f)
	}
	record := make([]byte, 0, 64+len(content))
	out := bufio.NewWriterSize(f, fileBatch*cap(record))
	for n := range o.Messages {
		record = append(record[:0], names[n%uint64(len(names))]...)
		record = binary.BigEndian.AppendUint64(record, n)
		record = binary.BigEndian.AppendUint64(record, uint64(time.Now().UnixMicro()))
		record = append(record, userName0...)
		record = append(record, content...)
		if _, err = out.Write(record); err == nil && n%fileBatch == fileBatch-1 {
			if err = out.Flush(); err == nil && o.Durability == durabilitySync {
				err = f.Sync()
			}
			err = errors.Join(err, ctx.Err())
		}
		if err != nil {
			return appendFigures{}, errors.Join(err, stop())
		}
	}
	if err := errors.Join(out.Flush(), stop(), f.Sync()); err != nil {
		return appendFigures{}, err
	}
	return figures(o.Messages, time.Since(start), ownUsage().since(before)), nil
}

var userName0 = userName(0)

// syncInterval is the log's own, by default.
const syncInterval = 5 * time.Millisecond

// syncOnTick syncs a file again and again until it is stopped.
func syncOnTick(f *os.File) (stop func() error) {
	done, ended := make(chan struct{}), make(chan error)
	go func() {
		ticker := time.NewTicker(syncInterval)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				ended <- nil
				return
			case <-ticker.C:
				if err := f.Sync(); err != nil {
					<-done
					ended <- err
					return
				}
			}
		}
	}()
	return func() error {
		close(done)
		return <-ended
	}
}
