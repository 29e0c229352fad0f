package budget

import (
	"sync"
	"unsafe"
)

// shares counts the queues that hold each of some shared slices, so that one
// counts once, however many hold it and whichever kinds they are of. It has an
// entry only for what waits in a queue.
type shares [shareShards]shareShard

const shareShards = 16

type shareShard struct {
	mu   sync.Mutex
	held map[*byte]share // by the first byte
}

type share struct {
	kind *Kind // of the first holder, which counts it
	refs int
	size int
}

// shard returns where a slice, which is not empty, is counted.
func (s *shares) shard(b []byte) (*shareShard, *byte) {
	first := unsafe.SliceData(b)
	return &s[uintptr(unsafe.Pointer(first))/64%shareShards], first
}

// Hold notes that one more queue holds the slice, which is shared, not empty, and
// does not change. Slices with the same first byte are the same.
func (k *Kind) Hold(b []byte) {
	s, first := k.budget.share.shard(b)
	s.mu.Lock()
	if s.held == nil {
		s.held = make(map[*byte]share)
	}
	sh, there := s.held[first]
	if !there {
		sh.kind = k
	}
	added := max(0, len(b)-sh.size)
	s.held[first] = share{sh.kind, sh.refs + 1, sh.size + added}
	s.mu.Unlock()
	if added > 0 {
		sh.kind.Add(int64(added))
	}
}

// Drop notes that one queue fewer holds it.
func (k *Kind) Drop(b []byte) {
	s, first := k.budget.share.shard(b)
	s.mu.Lock()
	sh := s.held[first]
	if sh.refs--; sh.refs > 0 {
		s.held[first] = sh
		s.mu.Unlock()
		return
	}
	delete(s.held, first)
	s.mu.Unlock()
	sh.kind.Add(-int64(sh.size))
}
