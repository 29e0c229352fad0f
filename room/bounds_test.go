package room

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/proto"
)

// asleep is a log that wakes no room whose name holds "asleep" until it is told
// to: a disk that does not answer.
type asleep struct {
	*memory
	wake chan struct{}
}

func (l *asleep) Room(name string, sink func([]*proto.Publish)) (Stream, error) {
	if strings.Contains(name, "asleep") {
		<-l.wake
	}
	return l.memory.Room(name, sink)
}

// inSleepingHouse runs a test whose log is asleep. The wake may be told once.
func inSleepingHouse(t *testing.T, run func(t *testing.T, h *house, wake chan struct{})) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		h := newHouse(t, log)
		wake := make(chan struct{})
		h.hub.log = &asleep{log, wake}
		defer h.hub.Close()
		run(t, h, wake)
	})
}

// answers counts what a client got by type, with errors by their code.
func answers(events []event) map[string]int {
	count := make(map[string]int)
	for _, e := range events {
		count[e.Type+e.Code]++
	}
	return count
}

const bigBytes = 60 << 10

var big = `"` + strings.Repeat("x", bigBytes) + `"`

func TestWhatWaitsForAWakeIsBounded(t *testing.T) {
	inSleepingHouse(t, func(t *testing.T, h *house, wake chan struct{}) {
		ana := h.client("ana")
		ana.bound = 1 << 30
		const sent = 2 * maxBacklog / bigBytes
		for i := range sent {
			h.publish(ana, nil, "asleep", fmt.Sprint(i), big)
		}
		synctest.Wait()
		refused := answers(ana.read(t))["erroroverloaded"]
		if refused < sent/3 || refused > 2*sent/3 {
			t.Errorf("%d of %d were refused", refused, sent)
		}
		close(wake)
		if got := answers(ana.readAll(t)); got["ack"] != sent-refused || len(got) != 1 {
			t.Errorf("%d were taken, then came %v", sent-refused, got)
		}
		if n := h.hub.kept.Load(); n != 0 {
			t.Errorf("%d bytes still count as waiting", n)
		}
	})
}

func TestWhatWaitsInAllRoomsIsBounded(t *testing.T) {
	inSleepingHouse(t, func(t *testing.T, h *house, wake chan struct{}) {
		ana := h.client("ana")
		ana.bound = 1 << 30
		const perRoom = maxBacklog / bigBytes / 2
		rooms := 2 * maxKept / (perRoom * bigBytes)
		for i := range rooms * perRoom {
			h.publish(ana, nil, fmt.Sprint("asleep", i%rooms), "", big)
		}
		synctest.Wait()
		refused := answers(ana.read(t))["erroroverloaded"]
		if sent := rooms * perRoom; refused < sent/3 || refused > 2*sent/3 {
			t.Errorf("%d of %d were refused", refused, sent)
		}
		close(wake)
		ana.readAll(t)
		if n := h.hub.kept.Load(); n != 0 {
			t.Errorf("%d bytes still count as waiting", n)
		}
	})
}

func TestDirectMessagesToAnInboxThatSleepsAreBounded(t *testing.T) {
	inSleepingHouse(t, func(t *testing.T, h *house, wake chan struct{}) {
		ana := h.client("ana")
		ana.bound = 1 << 30
		const sent = 2 * maxBacklog / bigBytes
		for range sent {
			h.direct(ana, nil, "asleep", "", "", big, false)
		}
		synctest.Wait()
		refused := answers(ana.read(t))["erroroverloaded"]
		if refused < sent/3 || refused > 2*sent/3 {
			t.Errorf("%d of %d were refused", refused, sent)
		}
		close(wake)
		if got := answers(ana.readAll(t)); got["ack"] != sent-refused || len(got) != 1 {
			t.Errorf("%d were taken, then came %v", sent-refused, got)
		}
		if n := h.hub.kept.Load(); n != 0 {
			t.Errorf("%d bytes still count as waiting", n)
		}
	})
}

func TestRepeatsThatWaitAreBounded(t *testing.T) {
	inSleepingHouse(t, func(t *testing.T, h *house, wake chan struct{}) {
		ana := h.client("ana")
		ana.bound = 1 << 30
		to := Inbox("asleep")
		const sent = 1 + 2*repeatsWaiting
		for range sent {
			h.hub.PublishDirect(ana, nil, to, h.namespace(to), Publication{Key: []byte("k"), Content: []byte("1"), MayCreate: true})
		}
		synctest.Wait()
		if got := answers(ana.read(t)); got["erroroverloaded"] != repeatsWaiting {
			t.Errorf("%v, want %d refusals", got, repeatsWaiting)
		}
		close(wake)
		if got := answers(ana.readAll(t)); got["ack"] != 1+repeatsWaiting {
			t.Errorf("%v, want the message's ack and %d repeats'", got, repeatsWaiting)
		}
	})
}

func TestAllRingsTogetherAreBounded(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.hub.rings.max = 4 << 20
		ana := h.client("ana")
		ana.bound = 1 << 30
		const rooms = 100
		var most int64
		for i := range 20 * rooms {
			h.publish(ana, nil, fmt.Sprint("r", i%rooms), "", big)
			synctest.Wait()
			most = max(most, h.hub.rings.used.Load())
		}
		// Each room keeps its latest message, however large.
		if bound := h.hub.rings.max + rooms*(bigBytes+1024); most > bound || most < h.hub.rings.max {
			t.Errorf("the rings held %d bytes, want %d at most", most, bound)
		}
		h.join(ana, "r0", proto.Since{Kind: proto.SinceLast, Last: 20})
		if got := offsets(ana.readAll(t), "message"); !slices.Equal(got, span(1, 20)) {
			t.Errorf("replay of what left the ring: %v", got)
		}
		time.Sleep(scarceLinger + 2*tickEvery)
		synctest.Wait()
		if n := h.hub.rings.used.Load(); n > h.hub.rings.max {
			t.Errorf("quiet rooms' rings still hold %d bytes", n)
		}
		time.Sleep(ringLinger + 2*sweepEvery)
		synctest.Wait()
		if n := h.hub.rings.used.Load(); n != 0 {
			t.Errorf("%d bytes are counted when all rings are gone", n)
		}
	})
}

// TestManyRoomsWithoutUsersLeaveMemoryEarly has one client name ever new rooms.
func TestManyRoomsWithoutUsersLeaveMemoryEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, newMemory())
		defer h.hub.Close()
		ana := h.client("ana")
		h.join(ana, "kept", proto.Since{})
		for i := range crowd + 1000 {
			name := fmt.Sprint("r", i)
			h.hub.room(name, h.namespace(name))
		}
		synctest.Wait()
		if n := h.hub.Rooms(); n != crowd+1001 {
			t.Fatalf("%d rooms", n)
		}
		time.Sleep(2 * tickEvery)
		synctest.Wait()
		if n := h.hub.Rooms(); n > crowd+1 || n < crowd-10 { // workers may ask the last ones side by side
			t.Errorf("%d rooms are left, want about %d and the one with a user", n, crowd)
		}
		time.Sleep(roomLinger + 2*sweepEvery)
		synctest.Wait()
		if n, vacant := h.hub.Rooms(), h.hub.vacant.Load(); n != 1 || vacant != 0 {
			t.Errorf("%d rooms are left, %d count as empty; want the one with a user", n, vacant)
		}
	})
}

// TestASlowMemberOfManyRoomsCostsOneReadATurn has one outbox that many rooms
// want to fill.
func TestASlowMemberOfManyRoomsCostsOneReadATurn(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		const rooms, each = 200, 4
		ana, bob := h.client("ana"), h.client("bob")
		bob.bound = 1 << 30
		for i := range rooms * each {
			h.publish(bob, nil, fmt.Sprint("r", i%rooms), "", big)
		}
		synctest.Wait()
		time.Sleep(ringLinger + 2*sweepEvery) // from here on only the log has the messages
		synctest.Wait()
		for i := range rooms {
			h.join(ana, fmt.Sprint("r", i), proto.Since{Kind: proto.SinceLast, Last: each})
		}
		if got := len(offsets(ana.readAll(t), "message")); got != rooms*each {
			t.Fatalf("%d messages, want %d", got, rooms*each)
		}
		reads := 0
		for i := range rooms {
			reads += h.log.readsOf(fmt.Sprint("r", i))
		}
		// One read finds one message, and a few find the outbox just filled.
		if most := 2 * rooms * each; reads > most {
			t.Errorf("the log was read %d times for %d messages, want %d at most", reads, rooms*each, most)
		}
	})
}

func TestKeysAreForgottenWithTheirRefusalAndTheirRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemory()
		h := newHouse(t, log)
		defer h.hub.Close()
		ana := h.client("ana")
		h.publish(ana, nil, "r", "", "1")
		synctest.Wait()
		log.set(func() { log.refuse = proto.ErrStorageFull.New() })
		for i := range 100 {
			h.publishKeyed(ana, nil, "r", "", fmt.Sprint("refused", i), "1")
		}
		synctest.Wait()
		if n := h.hub.keys.Load(); n != 0 {
			t.Errorf("%d refused keys are remembered", n)
		}
		log.set(func() { log.refuse = nil })
		for i := range 100 {
			h.publishKeyed(ana, nil, "r", "", fmt.Sprint("taken", i), "1")
		}
		synctest.Wait()
		if n := h.hub.keys.Load(); n != 100 {
			t.Errorf("%d keys are remembered, want 100", n)
		}
		time.Sleep(roomLinger + 2*sweepEvery)
		synctest.Wait()
		if n := h.hub.keys.Load(); n != 0 || h.hub.Rooms() != 0 {
			t.Errorf("%d keys are remembered of %d rooms", n, h.hub.Rooms())
		}
	})
}

// TestAKeyIsFreeAfterItsTime: a key is taken for Limits.KeyTTL, in a room that stays
// in memory, and may be used for another message then.
func TestAKeyIsFreeAfterItsTime(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		ms := h.join(ana, "r", proto.Since{})
		h.publishKeyed(ana, ms, "r", "", "k", `"x"`)
		ana.readAll(t)
		time.Sleep(proto.DefaultLimits().KeyTTL - time.Second) // in the bubble's time
		h.publishKeyed(ana, ms, "r", "", "k", `"x"`)
		if e := first(t, ana.readAll(t), "ack"); !e.Duplicate || e.Offset != 1 {
			t.Errorf("in time: %+v", e)
		}
		time.Sleep(2 * time.Second)
		h.publishKeyed(ana, ms, "r", "", "k", `"y"`)
		if e := first(t, ana.readAll(t), "ack"); e.Duplicate || e.Offset != 2 {
			t.Errorf("afterwards: %+v", e)
		}
	})
}

// TestKeysThatCannotBeReadAreNotTakenForNone: a keyed message is refused while
// nobody can say whether it is there already, and taken when the disk answers.
func TestKeysThatCannotBeReadAreNotTakenForNone(t *testing.T) {
	log := newMemory()
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		h.fill("r", "bob", 3)
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		ana := h.client("ana")
		ms := h.join(ana, "r", proto.Since{}) // the room is awake, its keys are not read
		ana.readAll(t)
		log.set(func() { log.broken = errors.New("no disk") })
		h.publishKeyed(ana, ms, "r", "", "k", `"x"`)
		if e := first(t, ana.readAll(t), "error"); e.Code != "storage_failed" {
			t.Errorf("on a broken disk: %+v", e)
		}
		log.set(func() { log.broken = nil })
		h.publishKeyed(ana, ms, "r", "", "k", `"x"`)
		if e := first(t, ana.readAll(t), "ack"); e.Duplicate || e.Offset != 4 {
			t.Errorf("afterwards: %+v", e)
		}
	})
}

// TestKeysAreReadFarBack: after a restart a key is known as far back as
// Limits.KeyRecords says, and no further.
func TestKeysAreReadFarBack(t *testing.T) {
	log := newMemory()
	records := proto.DefaultLimits().KeyRecords
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		ana := h.client("ana")
		h.publishKeyed(ana, nil, "r", "", "too far", `"x"`)
		h.publishKeyed(ana, nil, "r", "", "just there", `"x"`)
		synctest.Wait()
		for left := records - 1; left > 0; left -= min(left, 100) { // a room takes so many at once
			h.fill("r", "bob", min(left, 100))
		}
	})
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, log)
		defer h.hub.Close()
		ana := h.client("ana")
		h.publishKeyed(ana, nil, "r", "", "just there", `"x"`)
		if e := first(t, ana.readAll(t), "ack"); !e.Duplicate || e.Offset != 2 {
			t.Errorf("the oldest key that is read: %+v", e)
		}
		h.publishKeyed(ana, nil, "r", "", "too far", `"x"`)
		if e := first(t, ana.readAll(t), "ack"); e.Duplicate {
			t.Errorf("a key further back: %+v", e)
		}
	})
}

func TestKeysOfAllRoomsAreBounded(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		ana := h.client("ana")
		publish := func(from, to int) {
			for i := from; i < to; i++ {
				h.publishKeyed(ana, nil, "r", fmt.Sprint(i), fmt.Sprint("k", i), "1")
			}
			synctest.Wait()
		}
		publish(0, 200)
		h.hub.keys.Add(keysInAll) // as other rooms' would
		publish(200, 400)
		if n := h.hub.keys.Load() - keysInAll; n != keysScarce {
			t.Errorf("the room remembers %d keys, want %d", n, keysScarce)
		}
		ana.readAll(t)
		publish(399, 400)
		if got := first(t, ana.readAll(t), "ack"); !got.Duplicate {
			t.Errorf("the latest key is forgotten: %+v", got)
		}
		h.hub.keys.Add(-keysInAll)
	})
}

func TestAWaitingAckKeepsNothingOfTheMessage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		o := newOutgoing(h.client("ana"), nil, "r", Publication{ID: []byte("id"), Content: []byte(big)})
		o.Offset, o.Time = 7, 9000
		w := o.waitingAck()
		want := *o.ack()
		want.ID = []byte("id")
		clear(o.id)
		clear(o.Content)
		if got := *w.event(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
