package room

import (
	"bytes"
	"testing"

	"github.com/thronghq/throng/proto"
)

// FuzzCursor gives the three kinds of cursors that clients send back what they
// never got: what one accepts stays within its room, its direction and its range,
// and is what the room would have given out for that place.
func FuzzCursor(f *testing.F) {
	r := &Room{name: "chat:1"}
	f.Add(r.cursorAt(&proto.Message{Offset: 42, Time: 1767323045123456}, false), false, uint64(7), uint64(90))
	f.Add(r.cursorAt(&proto.Message{Offset: 42, Time: 1767323045123456}, true), true, uint64(7), uint64(90))
	f.Add((&Room{name: "chat:2"}).cursorAt(&proto.Message{Offset: 1, Time: 1}, false), false, uint64(0), uint64(0))
	f.Add(membersCursor("chat:1", "ada"), false, uint64(0), uint64(0))
	f.Add(listCursor("chat:1"), false, uint64(0), uint64(0))
	f.Fuzz(func(t *testing.T, cursor string, reverse bool, after, before uint64) {
		rg := proto.Range{After: after, Before: before, Reverse: reverse}
		if err := r.applyCursor(&rg, cursor); err == nil {
			if rg.After < after || before != 0 && (rg.Before == 0 || rg.Before > before) || rg.Reverse != reverse {
				t.Errorf("%q widens (%d, %d) to %+v", cursor, after, before, rg)
			}
		} else if rg.After != after || rg.Before != before || rg.Hint != 0 {
			t.Errorf("%q is refused and changes the range to %+v", cursor, rg)
		}
		if user, err := r.membersAfter(cursor); err == nil && user == "" {
			t.Errorf("%q names no user", cursor)
		}
		if name, err := listAfter(cursor); err == nil && cursor != "" {
			if again, err := listAfter(listCursor(name)); again != name || err != nil {
				t.Errorf("%q names %q, and its own cursor %q, %v", cursor, name, again, err)
			}
		}
	})
}

// FuzzSettings gives a room settings as a damaged disk might: what is accepted is
// written again as what it was taken for.
func FuzzSettings(f *testing.F) {
	f.Add((&Settings{Host: "ada", MaxUsers: 3, Banned: []string{"eve"}, Version: 7}).marshal())
	f.Add([]byte(`{"host":1}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, stored []byte) {
		s, err := parseSettings(stored)
		if err != nil || s == nil {
			return
		}
		again, err := parseSettings(s.marshal())
		if err != nil || !bytes.Equal(again.marshal(), s.marshal()) {
			t.Errorf("%q became %q, %v", stored, again.marshal(), err)
		}
	})
}
