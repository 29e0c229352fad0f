package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strconv"
	"testing"
)

// TestHoldMissesPings holds connections at a server that never pings: that they
// are all there is not enough.
func TestHoldMissesPings(t *testing.T) {
	f := startFaulty(t, func(_ int, send func([]byte), payload []byte) { send(payload) })
	var out, table bytes.Buffer
	err := Run(t.Context(), []string{
		"hold", "--codec", "floor", "--connections", "3", "--rooms", "1", "--settle", "0", "--duration", "20ms",
		"--url", f.listener.Addr().String(), "--pid", strconv.Itoa(os.Getpid()),
	}, Streams{Out: &out, Err: &table})
	if !errors.Is(err, ErrNotHeld) {
		t.Errorf("the error is %v, want %v", err, ErrNotHeld)
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	if h := r.Hold; h.Joined != 3 || h.Reached != 3 || h.InLargest != 3 || h.Survived != 3 || h.Pinged != 0 {
		t.Errorf("%+v", *h)
	}
}

func TestWhole(t *testing.T) {
	all := holdResult{Joined: 9, Reached: 9, Pinged: 9, Survived: 9}
	if !all.whole() {
		t.Error("nothing is missing")
	}
	for name, spoil := range map[string]func(*holdResult){
		"one was not reached": func(r *holdResult) { r.Reached-- },
		"one was not pinged":  func(r *holdResult) { r.Pinged-- },
		"one was lost":        func(r *holdResult) { r.Survived-- },
	} {
		r := all
		if spoil(&r); r.whole() {
			t.Error(name)
		}
	}
}

func TestRoomOf(t *testing.T) {
	for _, test := range []struct {
		conns, rooms, largest int
		want                  []int // members of each room
	}{
		{10, 3, 0, []int{4, 3, 3}},
		{10, 3, 6, []int{6, 2, 2}},
		{10, 3, 8, []int{8, 1, 1}},
		{10, 3, 1, []int{1, 5, 4}},
	} {
		o := options{Conns: test.conns, Rooms: test.rooms, Largest: test.largest}
		got := make([]int, test.rooms)
		for i := range test.conns {
			room := o.roomOf(i)
			if got[room]++; i < test.rooms && room != int32(i) {
				t.Errorf("%+v: connection %d, an author, is in room %d", test, i, room)
			}
		}
		for i, want := range test.want {
			if got[i] != want {
				t.Errorf("%+v: %d in room %d", test, got[i], i)
			}
		}
	}
}

func TestProcNumber(t *testing.T) {
	const text = "sockets: used 9\nTCP: inuse 7 orphan 0 tw 2 alloc 8 mem 31\nVmRSS:\t   45000 kB\n"
	for _, test := range []struct {
		line, field string
		want        int64
		ok          bool
	}{
		{"TCP:", "inuse", 7, true},
		{"TCP:", "mem", 31, true},
		{"VmRSS:", "", 45000, true},
		{"VmHWM:", "", 0, false},
		{"TCP:", "memory", 0, false},
	} {
		got, err := procNumber(text, test.line, test.field)
		if got != test.want || (err == nil) != test.ok {
			t.Errorf("%s %s: %d, %v", test.line, test.field, got, err)
		}
	}
}
