package bench

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/flate"
)

// inflater reads compressed messages (permessage-deflate, RFC 7692, without
// context takeover). All members of a room get the same bytes, so that each
// message is inflated once in a process: for the others it is enough that the
// bytes are the same. It belongs to its loop's thread.
type inflater struct {
	known  map[string][]byte // messages by what was sent for them
	bytes  int               // of both, in known
	source bytes.Reader
	reader io.ReadCloser
	frames uint64 // that were compressed
}

// maxKnown bounds what an inflater remembers; past it, it begins anew.
const maxKnown = 16 << 20

func newInflater() *inflater {
	i := &inflater{known: make(map[string][]byte)}
	i.reader = flate.NewReader(&i.source)
	return i
}

// count is how many frames were compressed since forget.
func (i *inflater) count() uint64 {
	if i == nil {
		return 0
	}
	return i.frames
}

// forget begins to count anew.
func (i *inflater) forget() {
	if i != nil {
		i.frames = 0
	}
}

// inflate returns the message, which must not be changed.
func (i *inflater) inflate(payload []byte) ([]byte, error) {
	i.frames++
	if message, ok := i.known[string(payload)]; ok {
		return message, nil
	}
	const tail, final = "\x00\x00\xff\xff", "\x01\x00\x00\xff\xff" // RFC 7692, section 7.2.2, and an empty last block
	i.source.Reset(append(append(bytes.Clone(payload), tail...), final...))
	if err := i.reader.(flate.Resetter).Reset(&i.source, nil); err != nil {
		return nil, err
	}
	message, err := io.ReadAll(io.LimitReader(i.reader, maxFrame+1))
	if err != nil {
		return nil, fmt.Errorf("a compressed message of %d bytes: %w", len(payload), err)
	}
	if len(message) > maxFrame {
		return nil, fmt.Errorf("a compressed message stands for more than %d bytes", maxFrame)
	}
	if i.bytes += len(payload) + len(message); i.bytes > maxKnown {
		clear(i.known)
		i.bytes = len(payload) + len(message)
	}
	i.known[string(payload)] = message
	return message, nil
}
