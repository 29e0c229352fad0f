package auth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"

	"github.com/VictoriaMetrics/metrics"
)

// watchEvery is how often a keys file is looked at.
const watchEvery = time.Second

// settled is how long after its last change a file counts as the same when its
// times and size are: until then a second change could leave them as they are.
const settled = 2 * watchEvery

// keyFile reads a JWK Set from a file, again and again. Its methods are called
// by one goroutine at a time.
type keyFile struct {
	path    string
	secret  []byte
	signing string
	log     *slog.Logger

	stamp   stamp             // of the file when it was last read
	readAt  time.Time         // when that was
	content [sha256.Size]byte // what it held
	failure string            // why it is not in force; "" where it is

	loaded   *metrics.Gauge // when what is in force was read, Unix seconds
	failures *metrics.Counter
}

// stamp tells one state of a file from another.
type stamp struct {
	changed, statusChanged time.Time
	size                   int64
	inode                  uint64
}

func stampOf(info fs.FileInfo) stamp {
	s := stamp{changed: info.ModTime(), size: info.Size()}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok {
		s.inode, s.statusChanged = sys.Ino, time.Unix(sys.Ctim.Unix())
	}
	return s
}

func newKeyFile(o KeySetOptions) *keyFile {
	return &keyFile{
		path: o.File, secret: o.Secret, signing: o.SigningKey, log: o.Logger,
		loaded:   o.Metrics.NewGauge("throng_auth_keys_loaded_timestamp_seconds", nil),
		failures: o.Metrics.NewCounter("throng_auth_keys_reload_failures_total"),
	}
}

// watch looks at the file until stop, and hands every new content that can be
// used to use.
func (f *keyFile) watch(stop <-chan struct{}, use func(*keyring)) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		if !f.changed() {
			continue
		}
		before := f.content
		r, err := f.load()
		switch {
		case err != nil:
			f.failed(err)
		case f.content != before || f.failure != "":
			f.failure = ""
			use(r)
			f.log.LogAttrs(context.Background(), slog.LevelInfo, "the keys were read again",
				slog.String("file", f.path), slog.Int("keys", len(r.keys)))
		}
	}
}

// failed tells of a reload that failed, once for each reason.
func (f *keyFile) failed(err error) {
	if f.failure == err.Error() {
		return
	}
	f.failure = err.Error()
	f.failures.Inc()
	f.log.LogAttrs(context.Background(), slog.LevelError, "the keys cannot be read; those that were there stay in force",
		slog.Any("error", err))
}

// changed reports whether the file may hold something else than when it was
// last read, or could not be used then.
func (f *keyFile) changed() bool {
	if f.failure != "" {
		return true
	}
	info, err := os.Stat(f.path)
	return err != nil || stampOf(info) != f.stamp || f.readAt.Sub(f.stamp.statusChanged) < settled
}

// load reads the file as it is now.
func (f *keyFile) load() (*keyring, error) {
	r, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("auth.keys_file %s: %w", f.path, err)
	}
	f.loaded.Set(float64(f.readAt.Unix()))
	return r, nil
}

func (f *keyFile) read() (*keyring, error) {
	file, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hold up the end
	if err != nil {
		return nil, withoutPath(err)
	}
	defer file.Close()
	info, err := file.Stat()
	switch {
	case err != nil:
		return nil, withoutPath(err)
	case !info.Mode().IsRegular():
		return nil, errors.New("it is not a regular file")
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSetBytes+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	f.stamp, f.readAt, f.content = stampOf(info), time.Now(), sha256.Sum256(data)
	keys, err := parseKeys(data)
	if err != nil {
		return nil, err
	}
	if err := checkMode(info.Mode().Perm(), keys); err != nil {
		return nil, err
	}
	return newKeyring(f.secret, keys, f.signing)
}

// checkMode refuses a file that others can change, or, where it holds private
// keys or secrets, can read. Its group may read it.
func checkMode(mode fs.FileMode, keys []key) error {
	forbidden, others := fs.FileMode(0o022), "change"
	for _, k := range keys {
		if _, secret := k.public.([]byte); secret || k.private != nil {
			forbidden, others = 0o027, "read or change"
		}
	}
	if mode&forbidden != 0 {
		return fmt.Errorf("its mode is %04o, so that others can %s it; run chmod 600", mode, others)
	}
	return nil
}

// withoutPath leaves a path out of an error that is told with it.
func withoutPath(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}
