package room

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// TestAThousandRoomsOnOneSlowConnection has one outbox that holds some dozens of
// messages, and a thousand rooms that get some in turn, while the client reads at
// random moments. Each room's come in order, after a lag where it was behind, and
// each room ends at its head; while the client reads nothing, what waits for it
// does not grow.
func TestAThousandRoomsOnOneSlowConnection(t *testing.T) {
	const rooms, each, bound = 1000, 6, 32 << 10
	content := `"` + strings.Repeat("x", 500) + `"`
	inHouse(t, func(t *testing.T, h *house) {
		random := rand.New(rand.NewPCG(1, 2))
		slow, author := h.client("slow"), h.client("author")
		slow.bound, author.bound = bound, 1<<30
		var names []string
		for i := range rooms {
			names = append(names, fmt.Sprint("r", i))
			h.join(slow, names[i], proto.Since{})
		}
		synctest.Wait()
		slow.read(t)
		last := make(map[string]uint64)
		lags := 0
		take := func(events []event) {
			t.Helper()
			for _, e := range events {
				switch e.Type {
				case "message":
					if e.Offset != last[e.To]+1 {
						t.Fatalf("room %s: offset %d after %d", e.To, e.Offset, last[e.To])
					}
					last[e.To]++
				case "lag":
					if e.Offset != last[e.Room] {
						t.Fatalf("room %s: a lag behind %d at offset %d", e.Room, e.Offset, last[e.Room])
					}
					lags++
				default:
					t.Fatalf("%+v", e)
				}
			}
		}
		turns := 0
		for range each {
			random.Shuffle(rooms, func(i, j int) { names[i], names[j] = names[j], names[i] })
			for _, name := range names {
				h.publish(author, nil, name, "", content)
				if turns++; turns%100 == 0 && random.IntN(4) == 0 {
					synctest.Wait()
					take(slow.read(t))
				}
			}
		}
		synctest.Wait()
		slow.mu.Lock()
		waiting := len(slow.out)
		slow.mu.Unlock()
		if most := bound + len(content) + frameOverhead + rooms*100; waiting > most {
			t.Errorf("%d bytes wait, want %d at the most", waiting, most)
		}
		take(slow.readAll(t))
		for _, name := range names {
			if last[name] != each {
				t.Errorf("room %s: %d messages of %d", name, last[name], each)
			}
		}
		if lags < rooms/2 {
			t.Errorf("%d lags in %d rooms", lags, rooms)
		}
	})
}

// TestWhatExpiresOvertakesACursor has messages grow too old for a member that has
// stopped reading, in the ring as in the log: a gap names them, once, and what is
// young enough follows.
func TestWhatExpiresOvertakesACursor(t *testing.T) {
	for _, cleared := range []bool{false, true} {
		t.Run(fmt.Sprintf("without ring %v", cleared), func(t *testing.T) {
			inHouse(t, func(t *testing.T, h *house) {
				const old, young = 60, 5
				const ttl = time.Minute
				h.namespace("r").HistoryTTL = ttl
				slow := h.client("slow")
				slow.bound = 3 << 10
				h.join(slow, "r", proto.Since{})
				synctest.Wait()
				h.fill("r", "ann", old)
				time.Sleep(ttl - time.Second) // the bubble's clock
				h.fill("r", "ann", young)
				if cleared {
					h.hub.room("r", h.namespace("r")).ring.clear()
				}
				time.Sleep(2 * time.Second)
				h.log.trim("r", old) // a log keeps to the same clock
				events := slow.readAll(t)
				var gaps []event
				for _, e := range events {
					if e.Type == "gap" {
						gaps = append(gaps, e)
					}
				}
				if len(gaps) != 1 || string(gaps[0].Next) != fmt.Sprint(old+1) {
					t.Fatalf("%d gaps: %+v", len(gaps), gaps)
				}
				want := append(span(1, gaps[0].After), span(old+1, old+young)...)
				if got := offsets(events, "message"); !slices.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				h.fill("r", "ann", 1)
				if got := offsets(slow.readAll(t), "message"); !slices.Equal(got, span(old+young+1, old+young+1)) {
					t.Errorf("live came %v", got)
				}
			})
		})
	}
}

// TestACrowdedRoomLeavesOthersTheirTurn has one worker and a room with thousands
// of things to do: what comes for another room meanwhile need not wait for all of
// them, and each room's are done in their order.
func TestACrowdedRoomLeavesOthersTheirTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{workers: newPool(1)}
		crowded, other := &Room{hub: h}, &Room{hub: h}
		const crowd = 5*roomTurn + 1
		var order []int // only the one worker appends
		begun, gate := make(chan struct{}), make(chan struct{})
		crowded.post(op{do: func(*Room, *proto.Error) {
			close(begun)
			<-gate
		}})
		<-begun
		for i := range crowd {
			crowded.post(op{do: func(*Room, *proto.Error) {
				order = append(order, i)
				if i == 0 {
					other.post(op{do: func(*Room, *proto.Error) { order = append(order, -1) }})
				}
			}})
		}
		close(gate)
		synctest.Wait()
		h.workers.close()
		at := slices.Index(order, -1)
		if at < 0 || at > roomTurn {
			t.Errorf("the other room had its turn after %d of %d", at, crowd)
		}
		if got := slices.Delete(order, at, at+1); len(got) != crowd || !slices.IsSorted(got) {
			t.Errorf("%d of %d were done, in order: %v", len(got), crowd, slices.IsSorted(got))
		}
	})
}

// TestACrowdedRoomFinishesAtTheEnd: what is queued when the workers are to end is
// done, however many turns it takes.
func TestACrowdedRoomFinishesAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &Hub{workers: newPool(1)}
		crowded := &Room{hub: h}
		gate := make(chan struct{})
		crowded.post(op{do: func(*Room, *proto.Error) { <-gate }})
		synctest.Wait()
		const crowd = 3 * roomTurn
		done := 0
		for range crowd {
			crowded.post(op{do: func(*Room, *proto.Error) { done++ }})
		}
		var ended sync.WaitGroup
		ended.Go(h.workers.close)
		synctest.Wait()
		close(gate)
		ended.Wait()
		if done != crowd {
			t.Errorf("%d of %d were done", done, crowd)
		}
	})
}
