package bench

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/thronghq/throng/proto"
)

// codecOf is the server's side of a dialect.
func codecOf(codec string) proto.Codec {
	limits := proto.DefaultLimits()
	if codec == codecBinary {
		return proto.NewBinary(&limits)
	}
	return proto.NewJSON(&limits)
}

var sample = stamp{author: 17_999, seq: 4_000_000_000, due: 1<<62 + 12345}

func TestStampSurvives(t *testing.T) {
	for _, size := range []int{leastContent, leastContent + 1, roomyContent - 1, roomyContent, roomyContent + 1, 128, 10_000} {
		content := appendContent(nil, sample, size)
		if len(content) != size {
			t.Errorf("%d bytes of content were made, want %d", len(content), size)
		}
		want := sample
		if size < roomyContent { // bits get lost, but none that count
			want.seq &= 1<<24 - 1
			want.due = want.due / 1000 % shortDueRange * 1000
		}
		got, err := readStamp(content[1:])
		if err != nil || got != want {
			t.Errorf("size %d: %+v, %v", size, got, err)
		}
		l := newLatency()
		l.record(got.due, sample.due+7_000_000)
		if ms := l.at(50); ms < 6.99 || ms > 7.01 {
			t.Errorf("size %d: a message that took 7 ms is recorded with %v", size, ms)
		}
	}
	for n := range uint64(shortAuthors) { // every digit, and quotes or escapes in none
		content := appendContent(nil, stamp{author: int32(n), seq: uint32(n), due: int64(n) * 1000}, leastContent)
		if got, err := readStamp(content[1:]); err != nil || got.author != int32(n) || bytes.ContainsAny(content[1:leastContent-1], "\"\\") {
			t.Fatalf("%q: %+v, %v", content, got, err)
		}
	}
	for _, text := range []string{"", "too short", strings.Repeat("g", stampBytes), strings.Repeat("A", stampBytes), `short"`, `############"`, `##############"`} {
		if _, err := readStamp([]byte(text)); !errors.Is(err, errNoStamp) {
			t.Errorf("%q: %v, want %v", text, err, errNoStamp)
		}
	}
}

func TestDialectsPublishWhatCodecsRead(t *testing.T) {
	for _, name := range []string{codecJSON, codecBinary} {
		d, codec := mustDialect(t, name), codecOf(name)
		var cmd proto.Command
		if err := codec.Decode(d.appendPublish(nil, "ann", "lobby", sample, 128), &cmd); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := readStamp(cmd.Content[1:])
		if cmd.Type != proto.CmdMessage || string(cmd.Room) != "lobby" || len(cmd.Content) != 128 || err != nil || got != sample {
			t.Errorf("%s: a message to %q with %q, %v", name, cmd.Room, cmd.Content, err)
		}
		if err := codec.Decode(d.appendJoin(nil, "lobby"), &cmd); err != nil || cmd.Type != proto.CmdJoin || string(cmd.Room) != "lobby" {
			t.Errorf("%s: a join of %q, %v", name, cmd.Room, err)
		}
		page := d.(pager).appendHistory(nil, "lobby", "cursor", 100)
		if err := codec.Decode(page, &cmd); err != nil || cmd.Type != proto.CmdHistory || cmd.History.Limit != 100 || string(cmd.Cursor) != "cursor" {
			t.Errorf("%s: a page of %d after %q, %v", name, cmd.History.Limit, cmd.Cursor, err)
		}
	}
}

func mustDialect(t *testing.T, codec string) dialect {
	t.Helper()
	d, err := newDialect(codec)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDialectsReadWhatCodecsWrite(t *testing.T) {
	refused := proto.ErrForbidden.New()
	for _, name := range []string{codecJSON, codecBinary} {
		d, codec := mustDialect(t, name), codecOf(name)
		message := proto.Message{Offset: 1234567, Time: 1760000000000000, From: "ann", To: "lobby", Content: appendContent(nil, sample, 128)}
		for _, test := range []struct {
			payload []byte
			want    event
		}{
			{codec.AppendMessage(nil, &message, false), event{kind: evMessage, offset: 1234567, stamp: sample}},
			{codec.AppendEvent(nil, &proto.Event{Type: proto.EvAck, ID: []byte("7"), Offset: 99, Millis: 1760000000000}), event{kind: evAck, offset: 99}},
			{codec.AppendEvent(nil, &proto.Event{Type: proto.EvJoined, Room: "lobby", Epoch: "e", Offset: 5, Members: 3}), event{kind: evJoined, offset: 5}},
			{codec.AppendEvent(nil, &proto.Event{Type: proto.EvLag, Room: "lobby", Offset: 8}), event{kind: evLag, offset: 8}},
			{codec.AppendEvent(nil, &proto.Event{Type: proto.EvGap, Room: "lobby", Epoch: "e", After: 8, NextSeen: 20}), event{kind: evGap, offset: 20}},
			{codec.AppendEvent(nil, &proto.Event{Type: proto.EvError, Err: refused}), event{kind: evFailed}},
			{codec.AppendEvent(nil, &proto.Event{Type: proto.EvMemberCount, Room: "lobby", Members: 7}), event{}},
		} {
			var got event
			if err := d.read(test.payload, &got); err != nil {
				t.Errorf("%s: %q: %v", name, test.payload, err)
			}
			got.text = nil
			if got.kind != test.want.kind || got.offset != test.want.offset || got.stamp != test.want.stamp {
				t.Errorf("%s: %q is read as %+v, want %+v", name, test.payload, got, test.want)
			}
		}
		message.Content = []byte(`"from somebody else"`)
		if err := d.read(codec.AppendMessage(nil, &message, false), new(event)); !errors.Is(err, errNoStamp) {
			t.Errorf("%s: a stranger's message: %v, want %v", name, err, errNoStamp)
		}
	}
}

func TestDialectsReadPages(t *testing.T) {
	for _, name := range []string{codecJSON, codecBinary} {
		d := mustDialect(t, name).(pager)
		page := proto.Event{Type: proto.EvHistory, Room: "lobby", Epoch: "e", Next: "more"}
		for offset := range uint64(3) {
			page.Messages = append(page.Messages, proto.Message{Offset: 10 + offset, From: "ann", To: "lobby", Content: appendContent(nil, sample, 64)})
		}
		for _, next := range []string{"more", ""} {
			page.Next = next
			var offsets []uint64
			got, err := d.readPage(codecOf(name).AppendEvent(nil, &page), func(offset uint64) { offsets = append(offsets, offset) })
			if err != nil || got != next || !slices.Equal(offsets, []uint64{10, 11, 12}) {
				t.Errorf("%s: offsets %d, next %q, %v", name, offsets, got, err)
			}
		}
	}
}

// TestFloorFramesAreAsLong holds the floor's work to throng's: what goes out to
// a member has the same number of bytes.
func TestFloorFramesAreAsLong(t *testing.T) {
	user, room := userName(3), roomName("bench-00000000", 7)
	s := stamp{author: 3, seq: 41, due: 1}
	floor := floorDialect{}.appendPublish(nil, user, room, s, 128)
	message := proto.Message{Offset: 41, Time: 1760000000000000, From: user, To: room, Content: appendContent(nil, s, 128)}
	throng := codecOf(codecJSON).AppendMessage(nil, &message, false)
	if len(floor) != len(throng) {
		t.Errorf("the floor sends %d bytes:\n%s\nthrong %d:\n%s", len(floor), floor, len(throng), throng)
	}
	var got event
	if err := (floorDialect{}).read(floor, &got); err != nil || got.kind != evMessage || got.offset != 41 || got.stamp != s {
		t.Errorf("the floor's message is read as %+v, %v", got, err)
	}
}

func FuzzReadEvents(f *testing.F) {
	message := proto.Message{Offset: 1, From: "ann", To: "lobby", Content: appendContent(nil, sample, 64)}
	page := proto.Event{Type: proto.EvHistory, Room: "lobby", Messages: []proto.Message{message}, Next: "x"}
	for _, name := range []string{codecJSON, codecBinary} {
		f.Add(codecOf(name).AppendMessage(nil, &message, false))
		f.Add(codecOf(name).AppendEvent(nil, &page))
	}
	f.Add([]byte(`{"push":{"channel":"a","pub":{"data":"00000000000000050000000000000000"}}}` + "\n" + `{"id":3,"rpc":{"data":""}}`))
	f.Add([]byte(`42["message",{"content":"00000000000000050000000000000000"}]`))
	f.Fuzz(func(t *testing.T, payload []byte) { // must not panic, nor read beyond the payload
		payload = payload[:len(payload):len(payload)]
		for _, d := range []pager{jsonDialect{}, binaryDialect{}} {
			_ = d.read(payload, new(event))
			_, _ = d.readPage(payload, func(uint64) {})
		}
		for _, codec := range []string{codecCentrifuge, codecSocketIO} {
			_, _ = readAll(mustDialect(t, codec), payload)
		}
	})
}
