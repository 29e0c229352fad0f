package proto_test

import (
	"encoding/hex"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/thronghq/throng/internal/bintest"
	"github.com/thronghq/throng/proto"
)

// Frames are written as hex, with texts between parentheses: a length and the
// text stand there.
func frameOf(t testing.TB, written string) (frame []byte) {
	t.Helper()
	for written != "" {
		code, rest, _ := strings.Cut(written, "(")
		bytes, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		frame = append(frame, bytes...)
		if rest == "" {
			break
		}
		text, after, found := strings.Cut(rest, ")")
		if !found {
			t.Fatalf("no ) after %q", text)
		}
		frame = append(appendVarint(frame, uint64(len(text))), text...)
		written = after
	}
	return frame
}

// appendVarint appends an integer as the page says.
func appendVarint(dst []byte, n uint64) []byte {
	for ; n > 127; n /= 128 {
		dst = append(dst, byte(n%128)+128)
	}
	return append(dst, byte(n))
}

func TestBinaryDecodeErrors(t *testing.T) {
	long := strings.Repeat("x", 129)
	tests := []struct {
		frame string
		code  *proto.Code
		text  string // a part of the reason
	}{
		// The form.
		{"", proto.ErrInvalidFrame, "the frame is empty; a byte that names its type is expected"},
		{"03 05", proto.ErrInvalidFrame, "not valid at byte 2: the frame ends within a field"},
		{"03 05 01", proto.ErrInvalidFrame, "not valid at byte 2: a length of 1, and 0 bytes are left"},
		{"03 05(a) 85", proto.ErrInvalidFrame, "at byte 4: the frame ends within a field"},
		{"03 05(a) 0c", proto.ErrInvalidFrame, "at byte 5: the frame ends within a field"},
		{"03 05(a) 0c 80", proto.ErrInvalidFrame, "at byte 5: the frame ends within a field"},
		{"03 05 ff ff ff ff ff ff ff 7f", proto.ErrInvalidFrame, "a length of 72057594037927935, and 0 bytes are left"},
		{"03 05 ff ff ff ff ff ff ff 0f 61", proto.ErrInvalidFrame, "a length of 9007199254740991, and 1 bytes are left"},
		{"03 05(a) 0c ff ff ff ff ff ff ff ff 01", proto.ErrInvalidFrame, "at byte 5: an integer in more than 8 bytes"},
		{"03 05(a) 0c 80 00", proto.ErrInvalidFrame, "at byte 5: an integer in more bytes than it needs"},
		{"03 85 00(a)", proto.ErrInvalidFrame, "at byte 1: an integer in more bytes than it needs"},
		{"03 05 81 00 61", proto.ErrInvalidFrame, "at byte 2: an integer in more bytes than it needs"},
		{"03 00 01", proto.ErrInvalidFrame, "at byte 1: a key with tag 0"},
		{"03 01(a)", proto.ErrInvalidFrame, "at byte 1: a key with tag 0"},
		{"03 05(a) e9 07 02 78", proto.ErrInvalidFrame, "at byte 6: a length of 2, and 1 bytes are left"},
		{"03 05(a) 00", proto.ErrInvalidFrame, "at byte 4: a key with tag 0"},

		// The type.
		{"00", proto.ErrUnknownType, "type 0 is not known; known are 1 (auth), 2 (join),"},
		{"0b 0e 63", proto.ErrUnknownType, "type 11 is not known"},
		{"ff 03(1)", proto.ErrUnknownType, "type 255 is not known"},

		// Fields that come twice.
		{"03 05(a) 05(a)", proto.ErrInvalidField, `field "room" comes twice; it may come once`},
		{"04 07(a) 11(1) 13(1)", proto.ErrInvalidField, `field "content" comes twice`},
		{"05 05(a) 36 01 07(a)", proto.ErrInvalidField, `field "to" comes twice`},
		{"02 05(a) 46 01 46 01", proto.ErrInvalidField, `field "since.last" comes twice`},

		// Texts.
		{"03", proto.ErrInvalidField, `field "room" is missing; a string of 1 to 128 bytes is expected`},
		{"03 04 07", proto.ErrInvalidField, `field "room" is 7; a string of 1 to 128 bytes is expected`},
		{"03 05 00", proto.ErrInvalidField, `field "room" is ""; a string of 1 to 128`},
		{"03 05(" + long + ")", proto.ErrInvalidField, `field "room" has 129 bytes; a room's name has 1 to 128`},
		{"03 05 01 ff", proto.ErrInvalidField, `field "room" is "\xff"; a string`},
		{"03 05 03 eda080", proto.ErrInvalidField, `field "room" is "\xed\xa0\x80"; a string`},
		{"03 05 02 6107", proto.ErrInvalidField, `field "room" holds a control character at byte 1`},
		{"03 05(a) 02 07", proto.ErrInvalidField, `field "id" is 7; a string of 1 to 64 bytes is expected`},
		{"03 05(a) 03 00", proto.ErrInvalidField, `field "id" is ""; a string of 1 to 64`},
		{"03 05(a) 03(" + long[:65] + ")", proto.ErrInvalidField, `field "id" is "xxx`},
		{"03 05(a) 03 02 c328", proto.ErrInvalidField, `field "id" is "\xc3("; a string`},
		{"ff 03 00", proto.ErrInvalidField, `field "id" is ""`},
		{"01", proto.ErrInvalidField, `field "token" is missing`},
		{"01 5f 08 73336372337400ff", proto.ErrInvalidField, `field "token" is not one; a string of 1 to 4096 bytes is expected`},
		{"01 5f(t) 61(" + long + ")", proto.ErrInvalidField, `field "deviceInfo.type" is "xxx`},
		{"01 5f(t) 62 01", proto.ErrInvalidField, `field "deviceInfo.os" is 1; a string of 0 to 128`},

		// since.
		{"02 05(a) 40 01", proto.ErrInvalidField, `field "since" is {offset}; an object with offset and epoch`},
		{"02 05(a) 43(e)", proto.ErrInvalidField, `field "since" is {epoch}; an object`},
		{"02 05(a) 46 01 44 02", proto.ErrInvalidField, `field "since" is {timestamp, last}; an object`},
		{"02 05(a) 46 01 40 02 43(e)", proto.ErrInvalidField, `field "since" is {offset, epoch, last}; an object`},
		{"02 05(a) 46 00", proto.ErrInvalidField, `field "since.last" is 0; an integer of 1 to 10000 is expected`},
		{"02 05(a) 46 91 4e", proto.ErrInvalidField, `field "since.last" is 10001`},
		{"02 05(a) 40 80 80 80 80 80 80 80 10 43(e)", proto.ErrInvalidField, `field "since.offset" is 9007199254740992; an integer of 0 to 9007199254740991`},
		{"02 05(a) 40 01 42 05", proto.ErrInvalidField, `field "since.epoch" is 5`},
		{"02 05(a) 45(1)", proto.ErrInvalidField, `field "since.timestamp" is "1"; an integer`},
		{"02 05(a) 3e 02", proto.ErrInvalidField, `field "echo" is 2; true or false is expected`},
		{"02 05(a) 3f(1)", proto.ErrInvalidField, `field "echo" is "1"; true or false`},

		// message.
		{"04 11(1)", proto.ErrInvalidField, `field "to" is missing`},
		{"04 07(a)", proto.ErrInvalidField, `field "content" is missing; any JSON value is expected`},
		{"04 07(a) 10 01", proto.ErrInvalidField, `field "content" is 1; JSON text, or bytes, is expected`},
		{"04 07(a) 12 01", proto.ErrInvalidField, `field "content" is 1; JSON text, or bytes, is expected`},
		{"04 07(a) 11 00", proto.ErrInvalidJSON, `field "content" is empty; JSON text is expected`},
		{"04 07(a) 11( )", proto.ErrInvalidJSON, `field "content" is empty; JSON text is expected`},
		{"04 07(a) 11( nul)", proto.ErrInvalidJSON, `field "content" is not valid JSON at byte 4`},
		{"04 07(a) 11( [1,])", proto.ErrInvalidJSON, `field "content" is not valid JSON at byte 4`},
		{"04 07(a) 11( 1 2 )", proto.ErrInvalidJSON, `field "content" is not valid JSON at byte 3`},
		{`04 07(a) 11("\ud800")`, proto.ErrInvalidJSON, `field "content" is not valid JSON at byte 1`},
		{"04 07(a) 11 03 22ff22", proto.ErrInvalidJSON, `field "content" is not valid JSON at byte 1`},
		{"04 07(a) 11(" + strings.Repeat("[", 64) + strings.Repeat("]", 64) + ")", proto.ErrTooDeep, `field "content" is nested deeper than 63 levels`},
		{"04 07(a) 11(" + strings.Repeat("[", 60_000) + ")", proto.ErrTooDeep, `field "content"`},
		{"04 07(a) 11(\"" + strings.Repeat("x", 64<<10-1) + "\")", proto.ErrTooLarge, `field "content" has 65537 bytes; limits.message is 65536`},
		{"04 07(a) 13(" + strings.Repeat("x", 66_000) + ")", proto.ErrTooLarge, "66000 bytes"},
		{"04 07(a) 11(1) 15(" + long[:65] + ")", proto.ErrInvalidField, `a string of 1 to 64 bytes`},
		{"04 07(a) 11(1) 16 05", proto.ErrInvalidField, `field "transient" is 5`},

		// The others.
		{"05 05(a) 34 01 2e 01", proto.ErrInvalidField, `"from" and "to" (times) do not go with`},
		{"05 05(a) 34 03 36 02", proto.ErrInvalidField, `field "to" is 2; a time at or after from`},
		{"05 05(a) 36 00", proto.ErrInvalidField, `field "to" is 0; an integer of 1 to`},
		{"05 05(a) 38 e9 07", proto.ErrInvalidField, `field "limit" is 1001; an integer of 1 to 1000`},
		{"05 05(a) 3d 00", proto.ErrInvalidField, `field "cursor" is ""; a string of 1 to 1024`},
		{"06 05(a) 0c 01", proto.ErrInvalidField, `field "epoch" is missing`},
		{"06 05(a) 19(e)", proto.ErrInvalidField, `field "offset" is missing`},
		{"06 05(a) 19(e) 0d(1)", proto.ErrInvalidField, `field "offset" is "1"; an integer`},
		{"08 27(asleep)", proto.ErrInvalidField, `field "status" is "asleep"; "online", "away" or "busy"`},
		{"08", proto.ErrInvalidField, `field "status" is missing`},
		{"09 05(a)", proto.ErrInvalidField, `asks for 0 actions; exactly one of`},
		{"09 05(a) 51(u) 53(u)", proto.ErrInvalidField, `asks for 2 actions`},
		{"09 05(a) 51 00", proto.ErrInvalidField, `field "kick" is ""; a string of 1 to 128`},
		{"09 05(a) 5c 02", proto.ErrInvalidField, `field "close" is 2; true or false`},
		{"09 05(a) 22 80 80 80 80 08", proto.ErrInvalidField, `field "maxUsers" is 2147483648; an integer of 0 to 2147483647`},
		{"0a", proto.ErrInvalidField, `field "timestamp" is missing`},
	}
	codec := newBinary()
	var cmd proto.Command
	for _, test := range tests {
		name := test.frame[:min(len(test.frame), 70)]
		t.Run(name, func(t *testing.T) {
			err := codec.Decode(frameOf(t, test.frame), &cmd)
			if err == nil {
				t.Fatalf("no error; want %s", test.code.Name)
			}
			if err.Code != test.code || !strings.Contains(err.Text(), test.text) {
				t.Errorf("%v\nwant %s: …%s…", err, test.code.Name, test.text)
			}
			if len(err.Text()) > 300 {
				t.Errorf("a reason of %d bytes", len(err.Text()))
			}
			if strings.Contains(err.Text(), "s3cr3t") {
				t.Error("the reason shows a secret")
			}
		})
	}
}

// A frame cut anywhere is an error, not a panic or another command.
func TestBinaryDecodeOfCutFrames(t *testing.T) {
	codec := newBinary()
	for _, v := range readVectors(t, "client") {
		frame := v.frame(t)
		var cmd proto.Command
		for n := range len(frame) {
			// Where a field ends, what is left may be a command without it.
			if err := codec.Decode(frame[:n], &cmd); err == nil && !endsWithField(t, frame, n) {
				t.Errorf("%s: the first %d bytes of %x are a command", v.Name, n, frame)
			}
		}
	}
}

// endsWithField reports whether one of the frame's fields ends before byte n.
func endsWithField(t *testing.T, frame []byte, n int) bool {
	t.Helper()
	return readTables(t).Visit(frame[:n], func(byte, uint64) {}) == nil
}

// The id is known wherever it can be, so that the client learns what failed.
func TestBinaryDecodeKeepsIDOfBadFrame(t *testing.T) {
	tests := map[string]string{
		"ff 03(7)":             "7", // unknown type
		"03 03(7)":             "7", // no room
		"03 03(7) 05":          "7", // cut
		"03 05 09 61 03(7)":    "",  // the length swallows it
		"03 03(7) 00 00":       "7", // tag 0
		"03 05(a) 05(a) 03(7)": "7", // room twice
		"03 02 07 05(a)":       "",  // an integer
		"03 03 01 ff 05(a)":    "",  // not UTF-8
		"03 03(7) 05 81 00":    "7", // a long integer
		"04 03(7) 07(a) 11(})": "7", // bad content
	}
	codec := newBinary()
	for written, want := range tests {
		cmd := proto.Command{ID: []byte("of the frame before")}
		if err := codec.Decode(frameOf(t, written), &cmd); err == nil {
			t.Errorf("%s: no error", written)
		}
		if string(cmd.ID) != want {
			t.Errorf("%s: id %q, want %q", written, cmd.ID, want)
		}
	}
}

// A client of a later version is understood: the fields that it adds are
// stepped over, wherever and however often they stand.
func TestBinaryStepsOverUnknownFields(t *testing.T) {
	codec := newBinary()
	for _, v := range readVectors(t, "client") {
		frame := v.frame(t)
		var want, got proto.Command
		if err := codec.Decode(frame, &want); err != nil {
			t.Fatal(err)
		}
		added := bintest.AppendText(frame[:1:1], bintest.UnknownTag, []byte{0xff, 0, 3})
		added = bintest.AppendInteger(added, 63, 1<<53-1)
		added = bintest.AppendInteger(added, 1<<40, 0)
		added = append(added, frame[1:]...)
		added = bintest.AppendText(added, 63, nil)
		added = bintest.AppendText(added, 20, []byte("an event's field"))
		if err := codec.Decode(added, &got); err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		expectCommand(t, &got, &want)
	}
}

func TestBinaryTakesFieldsInAnyOrder(t *testing.T) {
	codec := newBinary()
	var got proto.Command
	if err := codec.Decode(frameOf(t, `04 15(k) 11( {"a" : 1} ) 07(a) 03(7)`), &got); err != nil {
		t.Fatal(err)
	}
	expectCommand(t, &got, &proto.Command{
		Type: proto.CmdMessage, ID: []byte("7"), Room: []byte("a"), Key: []byte("k"), Content: []byte(`{"a" : 1}`),
	})
}

// Content is measured as bytes, and the largest is taken.
func TestBinaryTakesTheLargestContent(t *testing.T) {
	codec := newBinary()
	content := strings.Repeat("\xff", 64<<10)
	var got proto.Command
	if err := codec.Decode(frameOf(t, "04 07(a) 13("+content+")"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Kind != proto.KindBytes || string(got.Content) != content {
		t.Errorf("%d bytes of kind %d", len(got.Content), got.Kind)
	}
}

func TestBinaryAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	codec := newBinary()
	for _, v := range readVectors(t, "client") {
		frame := v.frame(t)
		var cmd proto.Command
		expectNoAllocs(t, "Decode of "+v.Name, func() {
			if err := codec.Decode(frame, &cmd); err != nil {
				t.Fatal(err)
			}
		})
	}
	dst := make([]byte, 0, 4096)
	m := sampleMessage()
	expectNoAllocs(t, "AppendMessageFrame", func() { dst = proto.AppendMessageFrame(dst[:0], codec, &m, true) })
	m.Kind = proto.KindBytes
	expectNoAllocs(t, "AppendMessageFrame of bytes", func() { dst = proto.AppendMessageFrame(dst[:0], codec, &m, true) })
	for _, test := range eventTests() {
		expectNoAllocs(t, "AppendEventFrame of "+test.name, func() {
			dst = proto.AppendEventFrame(dst[:0], codec, &test.event)
		})
	}
}

// What a peer declares costs nothing before it is there.
func TestBinaryDeclaredLengthsAllocateNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("not counted under the race detector")
	}
	codec := newBinary()
	frame := frameOf(t, "04 07(a) 13 ff ff ff ff ff ff ff 0f 61")
	var cmd proto.Command
	const runs = 100
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		if codec.Decode(frame, &cmd) == nil {
			t.Fatal("no error")
		}
	}
	runtime.ReadMemStats(&after)
	if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 4<<10 { // the error itself
		t.Errorf("%d bytes for a frame of %d", n, len(frame))
	}
}

// One codec serves all connections at once.
func TestBinaryIsSafeForConcurrentUse(t *testing.T) {
	codec := newBinary()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			var cmd proto.Command
			content := strings.Repeat(strconv.Itoa(worker+1), 50)
			frame := frameOf(t, "04 03("+content+") 07(a) 11("+content+")")
			for range 200 {
				if err := codec.Decode(frame, &cmd); err != nil {
					t.Error(err)
					return
				}
				if string(cmd.ID) != content || string(cmd.Content) != content {
					t.Errorf("worker %d got id %q and content %q", worker, cmd.ID, cmd.Content)
					return
				}
			}
		})
	}
	wg.Wait()
}
