package storage

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/thronghq/throng/proto"
)

func TestAppendAndRead(t *testing.T) {
	for _, name := range []string{"lobby", "safe:lobby"} {
		t.Run(name, func(t *testing.T) {
			fs, clock := vfs.NewMem(), newClock()
			s := mustOpen(t, testOptions(fs, clock))
			m := join(t, s, name)
			if h := m.Head(); h.Offset != 0 || h.Epoch == "" {
				t.Fatalf("head of a new room: %+v", h)
			}
			got := m.send("1", "2", "3")
			for i, p := range got {
				if p.Err != nil || p.Offset != uint64(i+1) || p.Time != clock.Now().UnixMicro()+int64(i) {
					t.Fatalf("publish %d: offset %d, time %d, error %v", i, p.Offset, p.Time, p.Err)
				}
			}
			h := m.Head()
			if h.Offset != 3 || h.Time != got[2].Time {
				t.Fatalf("head: %+v", h)
			}
			check := func(m *member) {
				t.Helper()
				msgs := m.read(proto.Range{})
				wantOffsets(t, "all", msgs, upTo(1, 3))
				for i := range msgs {
					want := got[i].Message
					want.To = name
					if msgs[i].ID != want.ID || msgs[i].Time != want.Time || msgs[i].From != "ada" || msgs[i].To != name || !bytes.Equal(msgs[i].Content, want.Content) {
						t.Fatalf("message %d: %+v, want %+v", i, msgs[i], want)
					}
				}
			}
			check(m)
			if _, err := tryJoin(t, s, name); !errors.Is(err, errOpen) {
				t.Fatalf("a second open room: %v", err)
			}
			m.Close()
			m = join(t, s, name)
			if m.Head() != h {
				t.Fatalf("head after idling: %+v, want %+v", m.Head(), h)
			}
			check(m)
			mustClose(t, s)

			s = mustOpen(t, testOptions(fs, clock))
			m = join(t, s, name)
			if m.Head() != h {
				t.Fatalf("head after a restart: %+v, want %+v", m.Head(), h)
			}
			check(m)
			mustClose(t, s)
		})
	}
}
