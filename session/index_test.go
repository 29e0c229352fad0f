package session

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/thronghq/throng/auth"
)

// TestASessionIsSmall: there is one for each connection.
func TestASessionIsSmall(t *testing.T) {
	const most = 112 // bytes, a size class of the allocator
	if size := unsafe.Sizeof(Session{}); size > most {
		t.Errorf("a session has %d bytes, more than %d", size, most)
	}
}

// TestIndexFindsWhatIsInIt holds the index to a plain list, while it grows and
// shrinks.
func TestIndexFindsWhatIsInIt(t *testing.T) {
	x := NewDirectory()
	rng := rand.New(rand.NewPCG(1, 2))
	var all []*Session
	check := func() {
		t.Helper()
		if n := x.count(); n != len(all) {
			t.Fatalf("%d sessions counted, want %d", n, len(all))
		}
		want := slices.SortedFunc(slices.Values(all), byID)
		var got []*Session
		x.walk([16]byte{}, func(s *Session) bool { got = append(got, s); return true })
		if !slices.Equal(got, want) {
			t.Fatalf("walked over %d sessions in another order than the %d of the list", len(got), len(want))
		}
		if len(want) == 0 {
			return
		}
		after := want[rng.IntN(len(want))]
		got = got[:0]
		x.walk(after.id, func(s *Session) bool { got = append(got, s); return len(got) < 10 })
		rest := want[slices.Index(want, after)+1:]
		if !slices.Equal(got, rest[:min(10, len(rest))]) {
			t.Fatalf("from a session on, walked over %d, want %d", len(got), min(10, len(rest)))
		}
		if x.find(after.id) != after {
			t.Fatal("a session is not found by its id")
		}
		user := after.UserID()
		mine := slices.DeleteFunc(slices.Clone(want), func(s *Session) bool { return s.UserID() != user })
		got = got[:0]
		x.walkUser(user, [16]byte{}, func(s *Session) bool { got = append(got, s); return true })
		if !slices.Equal(got, mine) {
			t.Fatalf("user %s has %d sessions, want %d", user, len(got), len(mine))
		}
	}
	for _, target := range []int{1, 0, 40, 5000, 300, 7000, 0} {
		for len(all) != target {
			if len(all) < target {
				s := &Session{}
				id := auth.NewIdentity(fmt.Sprint("user", rng.IntN(2000)))
				s.id = x.newID(id.UserID)
				s.identity.Store(id)
				x.add(s)
				all = append(all, s)
				continue
			}
			i := rng.IntN(len(all))
			x.remove(all[i])
			if x.find(all[i].id) != nil {
				t.Fatal("a session that was removed is found")
			}
			all = slices.Delete(all, i, i+1)
		}
		check()
	}
	for i := range x.shards {
		if n := len(x.shards[i].chains); n > sparseChains {
			t.Errorf("an empty shard keeps %d chains", n)
		}
	}
}

// TestIndexMemory bounds the table's share of a session.
func TestIndexMemory(t *testing.T) {
	x := NewDirectory()
	const sessions = 20_000
	for i := range sessions {
		s := &Session{}
		s.id = x.newID(fmt.Sprint(i))
		x.add(s)
	}
	chains := 0
	for i := range x.shards {
		chains += len(x.shards[i].chains)
	}
	if bytes := chains * int(unsafe.Sizeof((*Session)(nil))); bytes > 8*sessions {
		t.Errorf("the chains take %d bytes for %d sessions", bytes, sessions)
	}
}

func TestSessionIDs(t *testing.T) {
	id := [16]byte{1, 2, 3, 250}
	if got, ok := parseID(formatID(id)); !ok || got != id {
		t.Errorf("%x, %v", got, ok)
	}
	for _, text := range []string{"", "x", formatID(id)[1:], formatID(id) + "A", formatID(id)[:21] + "B", formatID(id) + "\n", string(bytes.Repeat([]byte("="), 22))} {
		if _, ok := parseID(text); ok {
			t.Errorf("%q is taken for an id", text)
		}
	}
}

// FuzzParseID: only the one text that stands for an id is taken for it.
func FuzzParseID(f *testing.F) {
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, 16)))
	f.Add("AAAAAAAAAAAAAAAAAAAAAB")
	f.Add("AAAAAAAAAAAAAAAAAAAA\nA")
	f.Fuzz(func(t *testing.T, text string) {
		if id, ok := parseID(text); ok && base64.RawURLEncoding.EncodeToString(id[:]) != text {
			t.Errorf("%q is taken for %x", text, id)
		}
	})
}
