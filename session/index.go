package session

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"
	"sync"

	"github.com/thronghq/throng/room"
)

const (
	indexShards = 64 // a power of two
	shardBits   = 6

	// A shard has as many chains as it has sessions, or half as many: it
	// doubles above the first and halves far below the second.
	mostPerChain = 2
	sparseChains = 8 // chains for each session that are too many
)

// Directory finds the sessions whose users are known, by user and by id, and
// walks all of them in the order of their ids. To a hub it is the people who are
// connected. It is safe for concurrent use.
//
// A session's id begins with 32 bits of its user's hash, which say where the
// session is: the high ones its shard, the next ones its chain there. So the
// chains stand in the order of the ids, a table grows without looking at any
// user's name, and an id finds its session. The chains are the sessions' own
// links: a session costs two pointers and its share of a table.
type Directory struct {
	seed   maphash.Seed
	shards [indexShards]indexShard
}

type indexShard struct {
	mu     sync.Mutex
	chains []*Session // a power of two of them, or none
	count  int
}

// NewDirectory returns a directory without sessions.
func NewDirectory() *Directory { return &Directory{seed: maphash.MakeSeed()} }

// hash is the place of a user's sessions.
func (x *Directory) hash(user string) uint32 { return uint32(maphash.String(x.seed, user) >> 32) }

// hash is the place of the session.
func (s *Session) hash() uint32 { return binary.BigEndian.Uint32(s.id[:]) }

func (x *Directory) shard(hash uint32) *indexShard { return &x.shards[hash>>(32-shardBits)] }

// chain returns the number of the chain in which sessions of that hash are.
func (t *indexShard) chain(hash uint32) int {
	return int(uint64(hash<<shardBits) >> (33 - bits.Len(uint(len(t.chains)))))
}

// newID returns an id for a session of the user.
func (x *Directory) newID(user string) (id [16]byte) {
	_, _ = rand.Read(id[:]) // never fails: crypto/rand ends the process instead
	binary.BigEndian.PutUint32(id[:], x.hash(user))
	return id
}

// add puts the session, which has its id, where its user's sessions are.
func (x *Directory) add(s *Session) {
	t := x.shard(s.hash())
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count++; t.count > mostPerChain*len(t.chains) {
		t.resize(max(1, 2*len(t.chains)))
	}
	t.push(s)
}

// remove takes the session out.
func (x *Directory) remove(s *Session) {
	t := x.shard(s.hash())
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.next != nil {
		s.next.prev = s.prev
	}
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		t.chains[t.chain(s.hash())] = s.next
	}
	s.next, s.prev = nil, nil
	if t.count--; sparseChains*t.count < len(t.chains) {
		t.resize(len(t.chains) / 2)
	}
}

// reach has the session sent what is for its user, wherever it is. Its status is
// that of the user's other sessions.
func (x *Directory) reach(s *Session) {
	t := x.shard(s.hash())
	t.mu.Lock()
	defer t.mu.Unlock()
	user := s.UserID()
	for other := range t.reached(s.hash(), user) {
		s.status = other.status
		break
	}
	s.reached = true
}

// setStatus takes the status that a user gives itself on any connection. With its
// last one it is forgotten.
func (x *Directory) setStatus(user string, status room.Status) {
	hash := x.hash(user)
	t := x.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.reached(hash, user) {
		s.status = status
	}
}

// Members implements room.People.
func (x *Directory) Members(dst []room.Member, user string) []room.Member {
	hash := x.hash(user)
	t := x.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.reached(hash, user) {
		dst = append(dst, s)
	}
	return dst
}

// Status implements room.People.
func (x *Directory) Status(user string) room.Status {
	hash := x.hash(user)
	t := x.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := range t.reached(hash, user) {
		return s.status
	}
	return room.Online
}

// reached visits the user's sessions that are sent what is for the user.
func (t *indexShard) reached(hash uint32, user string) iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		if len(t.chains) == 0 {
			return
		}
		for s := t.chains[t.chain(hash)]; s != nil; s = s.next {
			if s.reached && s.UserID() == user && !yield(s) {
				return
			}
		}
	}
}

func (t *indexShard) push(s *Session) {
	first := &t.chains[t.chain(s.hash())]
	if s.prev, s.next = nil, *first; s.next != nil {
		s.next.prev = s
	}
	*first = s
}

func (t *indexShard) resize(chains int) {
	old := t.chains
	t.chains = nil
	if chains > 0 {
		t.chains = make([]*Session, chains)
	}
	for _, s := range old {
		for s != nil {
			next := s.next
			t.push(s)
			s = next
		}
	}
}

// count is how many sessions there are.
func (x *Directory) count() int {
	n := 0
	for i := range x.shards {
		t := &x.shards[i]
		t.mu.Lock()
		n += t.count
		t.mu.Unlock()
	}
	return n
}

// walkUser is walk over one user's sessions.
func (x *Directory) walkUser(user string, after [16]byte, visit func(*Session) bool) {
	sessions := x.at(x.hash(user), nil)
	slices.SortFunc(sessions, byID)
	for _, s := range sessions {
		if bytes.Compare(s.id[:], after[:]) > 0 && s.UserID() == user && !visit(s) {
			return
		}
	}
}

// at appends the sessions of the chain that has the hash.
func (x *Directory) at(hash uint32, dst []*Session) []*Session {
	t := x.shard(hash)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.chains) > 0 {
		dst = t.append(dst, t.chain(hash))
	}
	return dst
}

func (t *indexShard) append(dst []*Session, chain int) []*Session {
	for s := t.chains[chain]; s != nil; s = s.next {
		dst = append(dst, s)
	}
	return dst
}

// find returns the session with that id, or nil.
func (x *Directory) find(id [16]byte) *Session {
	for _, s := range x.at(binary.BigEndian.Uint32(id[:]), nil) {
		if s.id == id {
			return s
		}
	}
	return nil
}

// walked is how many sessions are collected under one shard's lock, or a few
// more: pollers wait for it.
const walked = 256

// walk visits the sessions after an id in the order of their ids, until visit
// returns false. No lock is held during a visit, so that sessions may come and
// go.
func (x *Directory) walk(after [16]byte, visit func(*Session) bool) {
	var batch []*Session
	const all = 1 << 32
	for from := uint64(binary.BigEndian.Uint32(after[:])); from < all; {
		batch, from = x.collect(uint32(from), batch[:0])
		slices.SortFunc(batch, byID)
		for _, s := range batch {
			if bytes.Compare(s.id[:], after[:]) > 0 && !visit(s) {
				return
			}
		}
		clear(batch) // the sessions may end meanwhile
	}
}

// collect appends the sessions from a hash on, of one shard at the most, and
// tells where to go on.
func (x *Directory) collect(from uint32, dst []*Session) (_ []*Session, next uint64) {
	t := x.shard(from)
	const width = 1 << (32 - shardBits)
	next = (uint64(from)/width + 1) * width
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.chains) == 0 {
		return dst, next
	}
	start := next - width
	chainWidth := uint64(width / len(t.chains))
	for i := t.chain(from); i < len(t.chains); i++ {
		if len(dst) >= walked {
			return dst, start + uint64(i)*chainWidth
		}
		dst = t.append(dst, i)
	}
	return dst, next
}

func byID(a, b *Session) int { return bytes.Compare(a.id[:], b.id[:]) }

// ID is the session's name; "" until its user is known.
func (s *Session) ID() string {
	if s.id == [16]byte{} {
		return ""
	}
	return formatID(s.id)
}

func formatID(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// parseID reads what formatID writes.
func parseID(text string) (id [16]byte, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(len(id)) {
		return id, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, false
	}
	return [16]byte(b), true
}
