package model

import "testing"

// TestFound plays the programs that once showed a bug, as they were shrunk. A
// new one goes here when its bug is mended.
func TestFound(t *testing.T) {
	for _, f := range []struct {
		bug     string
		program []step
	}{
		{"a full outbox swallows the news of a member, and no count follows", []step{
			{Do: "join", Client: 2, Room: 0, N: 0, M: 0},
			{Do: "lazy", Client: 2, Room: 0, N: 0, M: 0},
			{Do: "publish", Client: 0, Room: 0, N: 2, M: 7},
			{Do: "join", Client: 0, Room: 0, N: 11, M: 24},
		}},
		{"a room that woke after a crash and got no message gives an offset out twice in one epoch", []step{
			{Do: "publish", Client: 0, Room: 1, N: 0, M: 0},
			{Do: "keyed", Client: 2, Room: 1, N: 0, M: 0},
			{Do: "publish", Client: 0, Room: 2, N: 0, M: 0},
			{Do: "crash", Client: 3, Room: 1, N: 15, M: 14},
			{Do: "keyed", Client: 2, Room: 1, N: 24, M: 10},
			{Do: "advance", Client: 2, Room: 1, N: 15, M: 4},
			{Do: "publish", Client: 4, Room: 1, N: 29, M: 6},
		}},
		{"a lagging author gets its acks before the gap that they stand behind", []step{
			{Do: "join", Client: 4, Room: 7, N: 0, M: 1},
			{Do: "lazy", Client: 4, Room: 7, N: 0, M: 0},
			{Do: "join", Client: 0, Room: 7, N: 0, M: 0},
			{Do: "publish", Client: 4, Room: 7, N: 1, M: 0},
		}},
		{"a host that closes its room loses it to who is put out after it", []step{
			{Do: "publish", Client: 1, Room: 2, N: 0, M: 0},
			{Do: "join", Client: 3, Room: 2, N: 0, M: 0},
			{Do: "join", Client: 4, Room: 2, N: 0, M: 0},
			{Do: "host", Client: 1, Room: 2, N: 7, M: 0},
		}},
		{"who was put out while behind hears of the deletion of what it never had", []step{
			{Do: "connect", Client: 0, Room: 0, N: 0, M: 0},
			{Do: "join", Client: 3, Room: 0, N: 0, M: 0},
			{Do: "lazy", Client: 3, Room: 0, N: 0, M: 0},
			{Do: "publish", Client: 0, Room: 0, N: 1, M: 0},
			{Do: "stall", Client: 0, Room: 0, N: 0, M: 0},
			{Do: "delete", Client: 3, Room: 0, N: 1, M: 15},
			{Do: "erase", Client: 0, Room: 0, N: 24, M: 0},
		}},
		{"who is behind hears of the deletion of what has expired since", []step{
			{Do: "lazy", Client: 2, Room: 0, N: 0, M: 0},
			{Do: "publish", Client: 0, Room: 0, N: 2, M: 21},
			{Do: "publish", Client: 2, Room: 0, N: 0, M: 0},
			{Do: "join", Client: 2, Room: 0, N: 25, M: 8},
			{Do: "delete", Client: 0, Room: 0, N: 0, M: 16},
			{Do: "advance", Client: 0, Room: 0, N: 7, M: 0},
		}},
		{"graces, and how long an empty room stays, go by a clock that jumps", []step{
			{Do: "clock", Client: 0, Room: 0, N: 4, M: 0},
			{Do: "join", Client: 0, Room: 0, N: 0, M: 0},
			{Do: "clock", Client: 1, Room: 2, N: 7, M: 0},
			{Do: "cut", Client: 0, Room: 0, N: 0, M: 0},
			{Do: "advance", Client: 0, Room: 0, N: 5, M: 0},
		}},
		{"who resumes gets what has expired since another's replay read it", []step{
			{Do: "connect", Client: 0, Room: 4, N: 0, M: 0},
			{Do: "history", Client: 2, Room: 4, N: 24, M: 18},
			{Do: "keyed", Client: 0, Room: 4, N: 14, M: 14},
			{Do: "members", Client: 1, Room: 4, N: 24, M: 28},
			{Do: "join", Client: 1, Room: 4, N: 1, M: 25},
			{Do: "clock", Client: 3, Room: 4, N: 15, M: 29},
			{Do: "join", Client: 2, Room: 4, N: 25, M: 18},
		}},
		{"the model's own: an author is closed as too slow between two of its messages", []step{
			{Do: "join", Client: 1, Room: 5, N: 30, M: 10},
			{Do: "join", Client: 2, Room: 5, N: 0, M: 9},
			{Do: "publish", Client: 1, Room: 5, N: 11, M: 28},
		}},
	} {
		if err := run(t, f.program, faults{}); err != nil {
			t.Errorf("%s: %v", f.bug, err)
		}
	}
}
