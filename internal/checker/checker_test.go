package checker

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// good is a history of six messages of two authors and one reader, who came back
// once, which breaks no promise.
func good() *History {
	h := &History{Durable: true, Window: time.Second, Kills: []time.Time{start.Add(time.Minute)}}
	events := []Event{{Joined: true, Epoch: "e1"}}
	for i := range 6 {
		author := string(rune('a' + i%2))
		m := Delivered{ID: fmt.Sprint("id", i+1), Offset: uint64(i + 1), Content: fmt.Sprint(author, i/2+1)}
		h.Log = append(h.Log, m)
		h.Sent = append(h.Sent, Sent{Author: author, Number: i/2 + 1, Acked: start, ID: m.ID, Offset: m.Offset, Content: m.Content})
		events = append(events, Event{Message: m})
		if i == 3 {
			events = append(events, Event{Joined: true, Recovered: true, Epoch: "e2", Offset: 4})
		}
	}
	h.Readers = [][]Event{events}
	return h
}

func TestAGoodHistory(t *testing.T) {
	if wrong := good().Check(); len(wrong) > 0 {
		t.Error(wrong)
	}
}

// TestWhatIsCaught breaks the good history in each way that there is.
func TestWhatIsCaught(t *testing.T) {
	cut := func(h *History, n int) { h.Log = h.Log[:n] }
	tests := []struct {
		name   string
		change func(h *History)
		want   string // "" for nothing
	}{
		{"an acknowledged message is lost", func(h *History) {
			cut(h, 5)
			h.Readers = nil
		}, "a loss: message 3 of b"},
		{"one that was not acknowledged is lost", func(h *History) {
			cut(h, 5)
			h.Readers, h.Sent[5].Acked = nil, time.Time{}
		}, ""},
		{"async: lost just before the kill", func(h *History) {
			cut(h, 5)
			h.Readers, h.Durable, h.Sent[5].Acked = nil, false, h.Kills[0].Add(-time.Millisecond)
		}, ""},
		{"async: lost long before the kill", func(h *History) {
			cut(h, 5)
			h.Readers, h.Durable = nil, false
		}, "a loss"},
		{"async: lost just after the kill", func(h *History) {
			cut(h, 5)
			h.Readers, h.Durable, h.Sent[5].Acked = nil, false, h.Kills[0].Add(time.Millisecond)
		}, "a loss"},
		{"async: lost, and its reader is not told", func(h *History) {
			cut(h, 5)
			h.Durable, h.Sent[5].Acked = false, h.Kills[0]
		}, "was not told"},
		{"async: lost, and its reader is told", func(h *History) {
			cut(h, 5)
			h.Durable, h.Sent[5].Acked = false, h.Kills[0]
			h.Readers[0] = append(h.Readers[0], Event{Joined: true, Epoch: "e3", Offset: 5})
		}, ""},
		{"async: another message in the place of a lost one, taken up", func(h *History) {
			h.Durable, h.Sent[5].Acked = false, h.Kills[0]
			h.Log[5] = Delivered{"id7", 6, "a4"}
			h.Readers[0] = append(h.Readers[0], Event{Joined: true, Recovered: true, Epoch: "e3", Offset: 6})
		}, "was not told"},
		{"stored twice", func(h *History) { h.Log = append(h.Log, Delivered{"id7", 7, "b3"}) }, "a duplicate"},
		{"delivered twice", func(h *History) {
			h.Readers[0] = append(h.Readers[0], h.Readers[0][7])
		}, "a silent gap or a repeat"},
		{"the same message at the next offset", func(h *History) {
			m := h.Log[5]
			m.Offset = 7
			h.Readers[0] = append(h.Readers[0], Event{Message: m})
		}, "a duplicate: reader 0"},
		{"delivered in another order", func(h *History) {
			r := h.Readers[0]
			r[1], r[2] = r[2], r[1]
		}, "a silent gap or a repeat"},
		{"stored in another order", func(h *History) {
			h.Log[0].Content, h.Log[2].Content = h.Log[2].Content, h.Log[0].Content
			h.Readers = nil
		}, "another order"},
		{"a silent gap", func(h *History) { h.Readers[0] = append(h.Readers[0][:3], h.Readers[0][4:]...) }, "a silent gap"},
		{"a hole in the log", func(h *History) { h.Log = append(h.Log[:2], h.Log[3:]...) }, "a hole"},
		{"ids that fall", func(h *History) { h.Log[1].ID, h.Readers = "id0", nil }, "ids do not rise"},
		{"acknowledged elsewhere", func(h *History) { h.Sent[3].Offset = 9 }, "was acknowledged as"},
		{"a durable room that does not take up", func(h *History) { h.Readers[0][5].Recovered = false }, "was not taken up"},
		{"a message before the join", func(h *History) { h.Readers[0] = h.Readers[0][1:] }, "before it had joined"},
		{"other content", func(h *History) { h.Readers[0][2].Message.Content = "b9" }, "was not told"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := good()
			test.change(h)
			wrong := h.Check()
			if test.want == "" && len(wrong) > 0 || test.want != "" && !strings.Contains(strings.Join(wrong, "\n"), test.want) {
				t.Errorf("%q, want %q", wrong, test.want)
			}
		})
	}
}

func TestLost(t *testing.T) {
	h := good()
	h.Log = h.Log[:4]
	h.Sent[5].Acked = time.Time{}
	if n, earliest := h.Lost(); n != 1 || earliest != time.Minute {
		t.Errorf("%d are lost, of up to %v before the kill", n, earliest)
	}
}
