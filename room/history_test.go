package room

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/thronghq/throng/proto"
)

// page asks for one page and returns its events' offsets and the next cursor.
func (h *house) page(c *client, room string, q proto.History, cursor string) ([]uint64, string, event) {
	h.t.Helper()
	h.hub.History(c, room, h.namespace(room), HistoryRequest{ID: "h", Query: q, Cursor: cursor}, func() {})
	events := c.readAll(h.t)
	if len(events) != 1 {
		h.t.Fatalf("%d answers", len(events))
	}
	var got []uint64
	for _, m := range events[0].Messages {
		got = append(got, m.Offset)
	}
	return got, events[0].nextCursor(h.t), events[0]
}

func reversed(list []uint64) []uint64 {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

func TestHistoryPages(t *testing.T) {
	const total = 700 // more than two rings
	for _, room := range []string{"r", "mem:r"} {
		t.Run(room, func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				oldest := uint64(1)
				if room == "mem:r" {
					oldest = total - ringMessages + 1
				}
				ana := h.client("ana")
				ana.bound = 1 << 30
				for i := range total {
					h.publish(ana, nil, room, "", fmt.Sprint(i+1))
				}
				ana.readAll(t)
				for _, c := range []struct {
					name string
					q    proto.History
					want []uint64
				}{
					{"all", proto.History{}, span(oldest, total)},
					{"all, newest first", proto.History{Reverse: true}, reversed(span(oldest, total))},
					{"after", proto.History{After: 650}, span(651, total)},
					{"before", proto.History{Before: 460}, span(oldest, 459)},
					{"between", proto.History{After: 460, Before: 500}, span(461, 499)},
					{"around the ring's end", proto.History{After: 440, Before: 450, Reverse: true}, reversed(span(max(oldest, 441), 449))},
					{"nothing after the head", proto.History{After: total}, nil},
					{"nothing after what will be", proto.History{After: total + 50, Reverse: true}, nil},
				} {
					for _, size := range []int{0, 1, 7, 100, 1000} {
						if size == 1 && len(c.want) > 100 {
							continue
						}
						q := c.q
						q.Limit = size
						var got []uint64
						pages, cursor := 0, ""
						for {
							part, next, _ := h.page(ana, room, q, cursor)
							got = append(got, part...)
							pages++
							if cursor = next; cursor == "" || pages > total {
								break
							}
						}
						want := c.want
						if len(want) == 0 {
							want = nil
						}
						if !slices.Equal(got, want) {
							t.Errorf("%s in pages of %d: %d messages, want %d: %v", c.name, size, len(got), len(want), got)
						}
						if size > 0 && len(want) > 0 && pages != (len(want)+size-1)/size {
							t.Errorf("%s in pages of %d: %d pages for %d messages", c.name, size, pages, len(want))
						}
					}
				}
			})
		})
	}
}

func TestACursorIsGoodForItsOwnQueryOnly(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		for range 10 {
			h.publish(ana, nil, "r", "", "1")
			h.publish(ana, nil, "other", "", "1")
		}
		ana.readAll(t)
		_, next, _ := h.page(ana, "r", proto.History{Limit: 3}, "")
		for name, ask := range map[string]func() event{
			"another room":        func() event { _, _, e := h.page(ana, "other", proto.History{}, next); return e },
			"the other direction": func() event { _, _, e := h.page(ana, "r", proto.History{Reverse: true}, next); return e },
			"cut":                 func() event { _, _, e := h.page(ana, "r", proto.History{}, next[:8]); return e },
			"longer":              func() event { _, _, e := h.page(ana, "r", proto.History{}, next+"AA"); return e },
			"no base64":           func() event { _, _, e := h.page(ana, "r", proto.History{}, "***"); return e },
		} {
			if e := ask(); e.Code != "invalid_cursor" {
				t.Errorf("%s: %+v", name, e)
			}
		}
		got, _, _ := h.page(ana, "r", proto.History{}, next)
		if !slices.Equal(got, span(4, 10)) {
			t.Errorf("the cursor itself: %v", got)
		}
	})
}

func TestAPageIsBoundedInBytes(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.hub.limits.HistoryBytes = 1000
		ana := h.client("ana")
		big := fmt.Sprintf(`"%0398d"`, 0) // 400 bytes
		for range 5 {
			h.publish(ana, nil, "r", "", big)
		}
		ana.readAll(t)
		got, next, _ := h.page(ana, "r", proto.History{}, "")
		if !slices.Equal(got, span(1, 2)) || next == "" {
			t.Errorf("%v, next %q", got, next)
		}
		h.hub.limits.HistoryBytes = 10 // a page always holds one message
		if got, next, _ = h.page(ana, "r", proto.History{}, next); !slices.Equal(got, span(3, 3)) || next == "" {
			t.Errorf("%v, next %q", got, next)
		}
	})
}

func TestOwnMessagesCarryTheirKeys(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana, bob := h.client("ana"), h.client("bob")
		h.publishKeyed(ana, nil, "r", "", "k", "1")
		ana.readAll(t)
		_, _, mine := h.page(ana, "r", proto.History{}, "")
		_, _, theirs := h.page(bob, "r", proto.History{}, "")
		if mine.Messages[0].Key != "k" || theirs.Messages[0].Key != "" {
			t.Errorf("mine %+v, theirs %+v", mine.Messages, theirs.Messages)
		}
	})
}

func TestTheNewestPageReadsNoLog(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		for range 100 {
			h.publish(ana, nil, "r", "", "1")
		}
		ana.readAll(t)
		h.page(ana, "r", proto.History{Limit: 50, Reverse: true}, "")
		h.page(ana, "r", proto.History{After: 60}, "")
		h.join(ana, "r", position(20, "e1"))
		synctest.Wait()
		if n := h.log.rooms["r"].reads; n != 0 {
			t.Errorf("%d reads of the log", n)
		}
	})
}
