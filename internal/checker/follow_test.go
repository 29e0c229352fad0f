package checker

import (
	"fmt"
	"strings"
	"testing"
)

// TestAnAudience plays what a member of a room of ten messages gets, right and
// wrong.
func TestAnAudience(t *testing.T) {
	content := func(offset uint64) string { return fmt.Sprint("m", offset) }
	read := func(s *Seat, from, to uint64) {
		for i := from; i <= to; i++ {
			s.Message(i, content(i))
		}
	}
	tests := []struct {
		name   string
		latest bool
		keeps  uint64
		play   func(s *Seat)
		want   string // "" for nothing
	}{
		{"everything", false, 0, func(s *Seat) { read(s, 1, 10) }, ""},
		{"own messages", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Ack(5, content(5))
			read(s, 6, 10)
		}, ""},
		{"an ack out of its place", false, 0, func(s *Seat) {
			s.Ack(5, content(5))
			read(s, 1, 4)
		}, "then came the ack 5"},
		{"lag", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			read(s, 5, 10)
		}, ""},
		{"a lag of elsewhere", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(5)
		}, "a lag behind offset 5"},
		{"a resume", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Joined(4, true, 9)
			read(s, 5, 10)
		}, ""},
		{"a second join, with more on its way", false, 0, func(s *Seat) {
			read(s, 1, 6)
			s.Joined(4, true, 9)
			read(s, 5, 10)
		}, ""},
		{"a resume that fails", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Joined(4, false, 9)
			read(s, 10, 10)
		}, "did not take up"},
		{"a resume too late", false, 4, func(s *Seat) {
			read(s, 1, 4)
			s.Joined(4, false, 9)
			read(s, 10, 10)
		}, ""},
		{"a resume that should not be too late", false, 5, func(s *Seat) {
			read(s, 1, 4)
			s.Joined(4, false, 9)
			read(s, 10, 10)
		}, "did not take up"},
		{"a gap", false, 3, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			s.Gap(4, 8)
			read(s, 8, 10)
		}, ""},
		{"a gap of what is kept", false, 3, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			s.Gap(4, 9)
			read(s, 9, 10)
		}, "was told that offset 8 is gone"},
		{"a gap that begins elsewhere", false, 3, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			s.Gap(5, 8)
		}, "a gap after 5"},
		{"a gap of nothing", false, 3, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			s.Gap(4, 5)
			read(s, 5, 10)
		}, "a gap after 4"},
		{"a gap without a lag", false, 3, func(s *Seat) {
			read(s, 1, 4)
			s.Gap(4, 8)
			read(s, 8, 10)
		}, "where none may be"},
		{"a gap where all is kept", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			s.Gap(4, 8)
			read(s, 8, 10)
		}, "where none may be"},
		{"a message that is missing", false, 3, func(s *Seat) {
			read(s, 1, 4)
			s.Lag(4)
			read(s, 6, 10)
		}, "then came the message 6"},
		{"a repeat", false, 0, func(s *Seat) {
			read(s, 1, 4)
			read(s, 4, 10)
		}, "then came the message 4"},
		{"another content", false, 0, func(s *Seat) {
			s.Message(1, content(2))
		}, `saw "m2" at offset 1`},
		{"the end is missing", false, 0, func(s *Seat) { read(s, 1, 9) }, "ended at offset 9"},
		{"before the join", false, 0, func(s *Seat) {
			s.joined = false
			read(s, 1, 10)
		}, "before the join"},
		{"the latest", true, 0, func(s *Seat) {
			read(s, 1, 2)
			read(s, 7, 7)
			read(s, 10, 10)
		}, ""},
		{"an older one after the latest", true, 0, func(s *Seat) {
			read(s, 7, 7)
			read(s, 6, 6)
		}, "then came the message 6"},
		{"a lag where the latest counts", true, 0, func(s *Seat) {
			read(s, 1, 2)
			s.Lag(2)
		}, "a lag where"},
		{"the head of before", false, 0, func(s *Seat) {
			read(s, 1, 4)
			s.Joined(4, true, 3)
		}, "found the head at 3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := &Audience{Latest: test.latest, Keeps: test.keeps}
			author := a.Seat("author")
			author.Joined(0, false, 0)
			for i := range uint64(10) {
				author.Ack(i+1, content(i+1))
			}
			s := a.Seat("member")
			s.Joined(0, false, 0)
			test.play(s)
			wrong := a.Check(10)
			if test.want == "" && len(wrong) > 0 || test.want != "" && !strings.Contains(strings.Join(wrong, "\n"), test.want) {
				t.Errorf("%q, want %q", wrong, test.want)
			}
		})
	}
}

func TestAnAudienceSeesWhatIsStoredTwice(t *testing.T) {
	a := new(Audience)
	s := a.Seat("member")
	s.Joined(0, false, 0)
	s.Message(1, "m1")
	s.LateAck(1, "m1")
	s.Message(2, "m1")
	if wrong := strings.Join(a.Check(2), "\n"); !strings.Contains(wrong, `"m1" stands at the offsets`) {
		t.Error(wrong)
	}
	if wrong := strings.Join(a.Check(3), "\n"); !strings.Contains(wrong, "3 messages were acknowledged") {
		t.Error(wrong)
	}
}
