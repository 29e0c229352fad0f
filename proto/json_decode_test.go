package proto_test

import (
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/thronghq/throng/proto"
)

type commandTest struct {
	name  string
	frame string
	want  proto.Command
}

func commandTests() []commandTest {
	return []commandTest{
		{"auth", `{"type":"auth","id":"a","token":"t.o.k","deviceInfo":{"type":"web","os":"Linux","more":[1]}}`, proto.Command{
			Type: proto.CmdAuth, ID: []byte("a"), Token: []byte("t.o.k"), DeviceType: []byte("web"), DeviceOS: []byte("Linux"),
		}},
		{"auth without device", `{"type":"auth","token":"t"}`, proto.Command{
			Type: proto.CmdAuth, Token: []byte("t"),
		}},
		{"auth with an empty os", `{"type":"auth","token":"t","deviceInfo":{"os":""}}`, proto.Command{
			Type: proto.CmdAuth, Token: []byte("t"), DeviceOS: []byte{},
		}},
		{"join", `{"type":"join","id":"1","room":"lobby"}`, proto.Command{
			Type: proto.CmdJoin, ID: []byte("1"), Room: []byte("lobby"),
		}},
		{"join from a position", `{"type":"join","room":"chat:a:b","since":{"offset":0,"epoch":"e"},"echo":true}`, proto.Command{
			Type: proto.CmdJoin, Room: []byte("chat:a:b"), Echo: true,
			Since: proto.Since{Kind: proto.SincePosition, Epoch: []byte("e")},
		}},
		{"join from a position with a hint", `{"type":"join","room":"a","since":{"timestamp":17,"epoch":"e","offset":9007199254740991}}`, proto.Command{
			Type: proto.CmdJoin, Room: []byte("a"),
			Since: proto.Since{Kind: proto.SincePosition, Offset: proto.MaxSafeInteger, Epoch: []byte("e"), Millis: 17},
		}},
		{"join from a time", `{"type":"join","room":"a","since" : {"timestamp":1760000000000}, "echo":false}`, proto.Command{
			Type: proto.CmdJoin, Room: []byte("a"), Since: proto.Since{Kind: proto.SinceTime, Millis: 1760000000000},
		}},
		{"join with the last", `{"type":"join","room":"a","since":{"last":10000,"other":{"last":[]}}}`, proto.Command{
			Type: proto.CmdJoin, Room: []byte("a"), Since: proto.Since{Kind: proto.SinceLast, Last: 10000},
		}},
		{"leave", `{"type":"leave","id":"2","room":"a"}`, proto.Command{
			Type: proto.CmdLeave, ID: []byte("2"), Room: []byte("a"),
		}},
		{"message", `{"type":"message","id":"3","to":"a","content": {"a" : 1,"a":2} ,"key":"k"}`, proto.Command{
			Type: proto.CmdMessage, ID: []byte("3"), Room: []byte("a"), Key: []byte("k"), Content: []byte(`{"a" : 1,"a":2}`),
		}},
		{"message null", `{"type":"message","to":"user:bob","content":null,"transient":true}`, proto.Command{
			Type: proto.CmdMessage, Room: []byte("user:bob"), Content: []byte(`null`), Transient: true,
		}},
		{"message number", `{"content":-1.5E+300,"to":"a","type":"message"}`, proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Content: []byte(`-1.5E+300`),
		}},
		{"message of bytes", `{"type":"message","to":"a","content":"AAH\/","encoding":"base64"}`, proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Kind: proto.KindBytes, Content: []byte{0, 1, 255},
		}},
		{"message of no bytes", `{"type":"message","to":"a","content":"","encoding":"base64"}`, proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Kind: proto.KindBytes, Content: []byte{},
		}},
		{"history", `{"type":"history","id":"h","room":"a"}`, proto.Command{
			Type: proto.CmdHistory, ID: []byte("h"), Room: []byte("a"),
		}},
		{"history by time", `{"type":"history","room":"a","from":0,"to":5,"limit":1000,"cursor":"c"}`, proto.Command{
			Type: proto.CmdHistory, Room: []byte("a"), Cursor: []byte("c"),
			History: proto.History{To: 5, Limit: 1000},
		}},
		{"history by offset", `{"type":"history","room":"a","after":7,"before":9,"limit":1,"reverse":true}`, proto.Command{
			Type: proto.CmdHistory, Room: []byte("a"),
			History: proto.History{After: 7, Before: 9, Limit: 1, Reverse: true},
		}},
		{"ack", `{"type":"ack","room":"a","epoch":"e","offset":12}`, proto.Command{
			Type: proto.CmdAck, Room: []byte("a"), Epoch: []byte("e"), Offset: 12,
		}},
		{"members", `{"type":"members","room":"a","cursor":"c"}`, proto.Command{
			Type: proto.CmdMembers, Room: []byte("a"), Cursor: []byte("c"),
		}},
		{"status", `{"type":"status","status":"away"}`, proto.Command{
			Type: proto.CmdStatus, Status: []byte("away"),
		}},
		{"host maxUsers", `{"type":"host","room":"a","maxUsers":0}`, host(proto.HostMaxUsers, "", 0)},
		{"host maxUsers 5", `{"type":"host","room":"a","maxUsers":5}`, host(proto.HostMaxUsers, "", 5)},
		{"host kick", `{"type":"host","room":"a","kick":"u"}`, host(proto.HostKick, "u", 0)},
		{"host ban", `{"type":"host","room":"a","ban":"u"}`, host(proto.HostBan, "u", 0)},
		{"host unban", `{"type":"host","room":"a","unban":"u"}`, host(proto.HostUnban, "u", 0)},
		{"host mute", `{"type":"host","room":"a","mute":"u"}`, host(proto.HostMute, "u", 0)},
		{"host unmute", `{"type":"host","room":"a","unmute":"u"}`, host(proto.HostUnmute, "u", 0)},
		{"host handOver", `{"type":"host","room":"a","handOver":"u"}`, host(proto.HostHandOver, "u", 0)},
		{"host close", `{"type":"host","room":"a","close":true}`, host(proto.HostClose, "", 0)},
		{"host reopen", `{"type":"host","room":"a","close":false}`, host(proto.HostReopen, "", 0)},
		{"PING", `{"type":"PING","timestamp":99}`, proto.Command{Type: proto.CmdPing, Timestamp: 99}},

		{"escapes", `{"\u0074ype":"jo\u0069n","id":"\"\n\ud83d\ude00","room":"caf\u00e9"}`, proto.Command{
			Type: proto.CmdJoin, ID: []byte("\"\n😀"), Room: []byte("café"),
		}},
		{"white space", " \r\n\t{ \"type\" : \"leave\" , \"room\":\"a\" } \n", proto.Command{
			Type: proto.CmdLeave, Room: []byte("a"),
		}},
		{"unknown fields", `{"x":[{"type":1}],"type":"leave","since.offset":3,"x":0,"room":"a","TYPE":"join"}`, proto.Command{
			Type: proto.CmdLeave, Room: []byte("a"),
		}},
		{"fields of other commands", `{"type":"leave","room":"a","offset":"no offset","since":3,"content":[]}`, proto.Command{
			Type: proto.CmdLeave, Room: []byte("a"),
		}},
		{"longest names", `{"type":"leave","id":"` + strings.Repeat("i", 64) + `","room":"` + strings.Repeat("é", 64) + `"}`, proto.Command{
			Type: proto.CmdLeave, ID: []byte(strings.Repeat("i", 64)), Room: []byte(strings.Repeat("é", 64)),
		}},
		{"the longest inbox", `{"type":"leave","room":"user:` + strings.Repeat("x", 128) + `"}`, proto.Command{
			Type: proto.CmdLeave, Room: []byte("user:" + strings.Repeat("x", 128)),
		}},
		{"deepest content", message(strings.Repeat("[", 63) + strings.Repeat("]", 63)), proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Content: []byte(strings.Repeat("[", 63) + strings.Repeat("]", 63)),
		}},
		{"braces in a string", message(`"` + strings.Repeat(`[{\"`, 100) + `"`), proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Content: []byte(`"` + strings.Repeat(`[{\"`, 100) + `"`),
		}},
		{"wide content", message("[" + strings.Repeat("{},", 100) + "[]]"), proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Content: []byte("[" + strings.Repeat("{},", 100) + "[]]"),
		}},
		{"largest content", message(`"` + strings.Repeat("x", 64<<10-2) + `"`), proto.Command{
			Type: proto.CmdMessage, Room: []byte("a"), Content: []byte(`"` + strings.Repeat("x", 64<<10-2) + `"`),
		}},
	}
}

func TestDecodeCommands(t *testing.T) {
	codec := newCodec()
	var used proto.Command // carries what the frame before left in it
	for _, test := range commandTests() {
		t.Run(test.name, func(t *testing.T) {
			frame := []byte(test.frame)
			if err := codec.Decode(frame, &used); err != nil {
				t.Fatal(err)
			}
			if string(frame) != test.frame {
				t.Error("Decode changed the frame")
			}
			expectCommand(t, &used, &test.want)
		})
	}
}

// expectCommand compares the exported fields.
func expectCommand(t *testing.T, got, want *proto.Command) {
	t.Helper()
	g, w := reflect.ValueOf(got).Elem(), reflect.ValueOf(want).Elem()
	for i := range g.NumField() {
		field := g.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		if !reflect.DeepEqual(g.Field(i).Interface(), w.Field(i).Interface()) {
			t.Errorf("%s = %q, want %q", field.Name, g.Field(i).Interface(), w.Field(i).Interface())
		}
	}
}

func host(action proto.HostAction, user string, most int) proto.Command {
	cmd := proto.Command{Type: proto.CmdHost, Room: []byte("a"), Action: action, Max: most}
	if user != "" {
		cmd.User = []byte(user)
	}
	return cmd
}

func message(content string) string {
	return `{"type":"message","to":"a","content":` + content + `}`
}

func TestDecodeErrors(t *testing.T) {
	long := strings.Repeat("x", 129)
	tests := []struct {
		frame string
		code  *proto.Code
		text  string // a part of the reason
	}{
		// The grammar.
		{``, proto.ErrInvalidJSON, "the frame is empty"},
		{` `, proto.ErrInvalidJSON, "the frame is empty"},
		{`{"type":"leave","room":"a"`, proto.ErrInvalidJSON, "at byte 26"},
		{`{"type":"leave" "room":"a"}`, proto.ErrInvalidJSON, "at byte 16"},
		{`{"type":"leave","room":"a",}`, proto.ErrInvalidJSON, "at byte 26"},
		{`{"type":"leave","room":"a"]`, proto.ErrInvalidJSON, "at byte 26"},
		{`{"type":"leave","room":"a"} x`, proto.ErrInvalidJSON, "data after the object at byte 28"},
		{`{"type":"leave","room":"a"}{}`, proto.ErrInvalidJSON, "data after the object at byte 27"},
		{"\ufeff{}", proto.ErrInvalidJSON, "at byte 0"},
		{`[]`, proto.ErrInvalidJSON, "the frame is []; a JSON object is expected"},
		{`"type"`, proto.ErrInvalidJSON, `the frame is "type"; a JSON object`},
		{`[1,]`, proto.ErrInvalidJSON, "at byte 3"},
		{`nul`, proto.ErrInvalidJSON, "at byte 3"},
		{`{'type':'leave'}`, proto.ErrInvalidJSON, "at byte 1"},
		{`{type:"leave"}`, proto.ErrInvalidJSON, "at byte 2"},
		{`{1:2}`, proto.ErrInvalidJSON, "at byte 1"},
		{`{"x":01}`, proto.ErrInvalidJSON, "at byte 6"},
		{`{"x":+1}`, proto.ErrInvalidJSON, "at byte 5"},
		{`{"x":.5}`, proto.ErrInvalidJSON, "at byte 5"},
		{`{"x":1.}`, proto.ErrInvalidJSON, "at byte 7"},
		{`{"x":NaN}`, proto.ErrInvalidJSON, "at byte 5"},
		{`{"x":tru}`, proto.ErrInvalidJSON, "at byte 8"},
		{`{"x":{"y":[1,2}}}`, proto.ErrInvalidJSON, "at byte 14"},
		{`{"x":/**/1}`, proto.ErrInvalidJSON, "at byte 5"},
		{`{"x":"\x"}`, proto.ErrInvalidJSON, "at byte 6"},
		{`{"x":"\u12g4"}`, proto.ErrInvalidJSON, "at byte 6"},
		{`{"x":"\ud800"}`, proto.ErrInvalidJSON, "at byte 6"},
		{"{\"x\":\"\xff\"}", proto.ErrInvalidJSON, "at byte 6"},
		{"{\"\xff\":1}", proto.ErrInvalidJSON, "at byte 2"},
		{"{\"x\":\"\n\"}", proto.ErrInvalidJSON, "at byte 6"},
		{"{\"x\":\"\x00\"}", proto.ErrInvalidJSON, "at byte 6"},
		{"{\"x\":1\x00}", proto.ErrInvalidJSON, "at byte 6"},
		{message(`{"a":1,}`), proto.ErrInvalidJSON, "at byte 44"},
		{`{"since":{"offset":1`, proto.ErrInvalidJSON, "at byte 20"},

		// Names that come twice.
		{`{"type":"leave","type":"leave","room":"a"}`, proto.ErrInvalidField, `"type" comes twice`},
		{`{"type":"leave","room":"a","ro\u006fm":"a"}`, proto.ErrInvalidField, `"room" comes twice`},
		{`{"type":"join","room":"a","since":{"last":1,"last":2}}`, proto.ErrInvalidField, `"since.last" comes twice`},

		// Depth and size.
		{message(strings.Repeat("[", 64) + strings.Repeat("]", 64)), proto.ErrTooDeep, "64 levels"},
		{message(strings.Repeat(`{"a":`, 64) + "1" + strings.Repeat("}", 64)), proto.ErrTooDeep, "64 levels"},
		{strings.Repeat("[", 60_000), proto.ErrTooDeep, "64 levels"},
		{message(`"` + strings.Repeat("x", 64<<10-1) + `"`), proto.ErrTooLarge, `"content" has 65537 bytes; limits.message is 65536`},
		{`{"type":"message","to":"a","encoding":"base64","content":"` + strings.Repeat("AAAA", 22_000) + `"}`, proto.ErrTooLarge, "66000 bytes"},

		// The type.
		{`{}`, proto.ErrInvalidField, `field "type" is missing; the name of a command is expected`},
		{`{"type":1}`, proto.ErrInvalidField, `field "type" is 1; the name of a command is expected`},
		{`{"type":"dance"}`, proto.ErrUnknownType, `type "dance" is not known; known are auth, join, leave, message, history, ack, members, status, host, PING`},
		{`{"type":"ping"}`, proto.ErrUnknownType, `type "ping" is not known`},
		{`{"type":""}`, proto.ErrUnknownType, `type "" is not known`},
		{`{"type":"` + long + `"}`, proto.ErrUnknownType, `xxx…" is not known`},

		// Strings.
		{`{"type":"leave","id":1,"room":"a"}`, proto.ErrInvalidField, `field "id" is 1; a string of 1 to 64 bytes is expected`},
		{`{"type":"leave","id":null,"room":"a"}`, proto.ErrInvalidField, `field "id" is null; a string of 1 to 64`},
		{`{"type":"leave","id":"","room":"a"}`, proto.ErrInvalidField, `field "id" is ""; a string of 1 to 64`},
		{`{"type":"leave","id":"` + long[:65] + `","room":"a"}`, proto.ErrInvalidField, `x…; a string of 1 to 64`},
		{`{"type":"leave"}`, proto.ErrInvalidField, `field "room" is missing; a string of 1 to 128 bytes is expected`},
		{`{"type":"leave","room":["a"]}`, proto.ErrInvalidField, `field "room" is ["a"]; a string`},
		{`{"type":"leave","room":""}`, proto.ErrInvalidField, `field "room" is ""`},
		{`{"type":"leave","room":"` + long + `"}`, proto.ErrInvalidField, `field "room" has 129 bytes; a room's name has 1 to 128`},
		{`{"type":"leave","room":"a\u0007"}`, proto.ErrInvalidField, `field "room" holds a control character at byte 1`},
		{`{"type":"auth"}`, proto.ErrInvalidField, `field "token" is missing`},
		{`{"type":"auth","token":{"secret":"s3cr3t"}}`, proto.ErrInvalidField, `field "token" is not one; a string of 1 to 4096 bytes is expected`},
		{`{"type":"auth","token":"t","deviceInfo":"web"}`, proto.ErrInvalidField, `field "deviceInfo" is "web"; an object with type and os is expected`},
		{`{"type":"auth","token":"t","deviceInfo":{"os":1}}`, proto.ErrInvalidField, `field "deviceInfo.os" is 1; a string of 0 to 128`},

		// since.
		{`{"type":"join","room":"a","since":5}`, proto.ErrInvalidField, `field "since" is 5; an object with offset and epoch`},
		{`{"type":"join","room":"a","since":{}}`, proto.ErrInvalidField, `field "since" is {}; an object with offset`},
		{`{"type":"join","room":"a","since": {"offset":1}}`, proto.ErrInvalidField, `field "since" is {"offset":1}; an object`},
		{`{"type":"join","room":"a","since":{"epoch":"e"}}`, proto.ErrInvalidField, `field "since" is {"epoch":"e"}`},
		{`{"type":"join","room":"a","since":{"offset":1,"timestamp":2}}`, proto.ErrInvalidField, `field "since"`},
		{`{"type":"join","room":"a","since":{"last":1,"timestamp":2}}`, proto.ErrInvalidField, `field "since"`},
		{`{"type":"join","room":"a","since":{"last":1,"offset":2,"epoch":"e"}}`, proto.ErrInvalidField, `field "since"`},
		{`{"type":"join","room":"a","since":{"last":0}}`, proto.ErrInvalidField, `field "since.last" is 0; an integer of 1 to 10000 is expected`},
		{`{"type":"join","room":"a","since":{"last":10001}}`, proto.ErrInvalidField, `field "since.last" is 10001`},
		{`{"type":"join","room":"a","since":{"timestamp":-1}}`, proto.ErrInvalidField, `field "since.timestamp" is -1; an integer of 0 to 9007199254740991`},
		{`{"type":"join","room":"a","since":{"offset":9007199254740992,"epoch":"e"}}`, proto.ErrInvalidField, `field "since.offset" is 9007199254740992`},
		{`{"type":"join","room":"a","since":{"offset":1,"epoch":2}}`, proto.ErrInvalidField, `field "since.epoch" is 2`},
		{`{"type":"join","room":"a","echo":"yes"}`, proto.ErrInvalidField, `field "echo" is "yes"; true or false is expected`},
		{`{"type":"join","room":"a","echo":1}`, proto.ErrInvalidField, `field "echo" is 1; true or false is expected`},

		// message.
		{`{"type":"message","content":1}`, proto.ErrInvalidField, `field "to" is missing`},
		{`{"type":"message","to":"a"}`, proto.ErrInvalidField, `field "content" is missing; any JSON value is expected`},
		{`{"type":"message","to":"a","content":1,"key":"` + long[:65] + `"}`, proto.ErrInvalidField, `a string of 1 to 64 bytes`},
		{`{"type":"message","to":"a","content":1,"key":1}`, proto.ErrInvalidField, `field "key" is 1`},
		{`{"type":"message","to":"a","content":1,"transient":0}`, proto.ErrInvalidField, `field "transient" is 0`},
		{`{"type":"message","to":"a","content":"AA==","encoding":"hex"}`, proto.ErrInvalidField, `field "encoding" is "hex"; "base64"`},
		{`{"type":"message","to":"a","content":"AA","encoding":"base64"}`, proto.ErrInvalidField, `field "content" is "AA"; with encoding base64`},
		{`{"type":"message","to":"a","content":"AB==","encoding":"base64"}`, proto.ErrInvalidField, `field "content" is "AB=="`},
		{`{"type":"message","to":"a","content":"AA\n==","encoding":"base64"}`, proto.ErrInvalidField, `field "content"`},
		{`{"type":"message","to":"a","content":"-_==","encoding":"base64"}`, proto.ErrInvalidField, `field "content"`},
		{`{"type":"message","to":"a","content":5,"encoding":"base64"}`, proto.ErrInvalidField, `field "content" is 5`},

		// history.
		{`{"type":"history","room":"a","from":1,"after":1}`, proto.ErrInvalidField, `"from" and "to" (times) do not go with`},
		{`{"type":"history","room":"a","to":1,"before":1}`, proto.ErrInvalidField, `"from" and "to" (times) do not go with`},
		{`{"type":"history","room":"a","from":3,"to":2}`, proto.ErrInvalidField, `field "to" is 2; a time at or after from`},
		{`{"type":"history","room":"a","after":3,"before":2}`, proto.ErrInvalidField, `field "before" is 2; an offset at or above after`},
		{`{"type":"history","room":"a","before":0}`, proto.ErrInvalidField, `field "before" is 0; an integer of 1 to`},
		{`{"type":"history","room":"a","to":0}`, proto.ErrInvalidField, `field "to" is 0; an integer of 1 to`},
		{`{"type":"history","room":"a","limit":0}`, proto.ErrInvalidField, `field "limit" is 0; an integer of 1 to 1000`},
		{`{"type":"history","room":"a","limit":1001}`, proto.ErrInvalidField, `field "limit" is 1001`},
		{`{"type":"history","room":"a","limit":1.5}`, proto.ErrInvalidField, `field "limit" is 1.5`},
		{`{"type":"history","room":"a","limit":1e2}`, proto.ErrInvalidField, `field "limit" is 1e2`},
		{`{"type":"history","room":"a","reverse":"no"}`, proto.ErrInvalidField, `field "reverse" is "no"`},
		{`{"type":"history","room":"a","cursor":7}`, proto.ErrInvalidField, `field "cursor" is 7`},

		// ack, status, host, PING.
		{`{"type":"ack","room":"a","offset":1}`, proto.ErrInvalidField, `field "epoch" is missing; a string of 1 to 128`},
		{`{"type":"ack","room":"a","epoch":"e"}`, proto.ErrInvalidField, `field "offset" is missing; an integer of 0 to`},
		{`{"type":"ack","room":"a","epoch":"e","offset":-1}`, proto.ErrInvalidField, `field "offset" is -1`},
		{`{"type":"ack","room":"a","epoch":"e","offset":"1"}`, proto.ErrInvalidField, `field "offset" is "1"`},
		{`{"type":"status","status":"asleep"}`, proto.ErrInvalidField, `field "status" is "asleep"; "online", "away" or "busy"`},
		{`{"type":"status"}`, proto.ErrInvalidField, `field "status" is missing`},
		{`{"type":"host","room":"a"}`, proto.ErrInvalidField, `asks for 0 actions; exactly one of`},
		{`{"type":"host","room":"a","kick":"u","ban":"u"}`, proto.ErrInvalidField, `asks for 2 actions`},
		{`{"type":"host","room":"a","kick":""}`, proto.ErrInvalidField, `field "kick" is ""; a string of 1 to 128`},
		{`{"type":"host","room":"a","close":null}`, proto.ErrInvalidField, `field "close" is null; true or false`},
		{`{"type":"host","room":"a","maxUsers":-1}`, proto.ErrInvalidField, `field "maxUsers" is -1; an integer of 0 to 2147483647`},
		{`{"type":"PING"}`, proto.ErrInvalidField, `field "timestamp" is missing`},
		{`{"type":"PING","timestamp":1.5}`, proto.ErrInvalidField, `field "timestamp" is 1.5`},
	}
	codec := newCodec()
	var cmd proto.Command
	for _, test := range tests {
		frame := test.frame
		if len(frame) > 70 {
			frame = frame[:70]
		}
		t.Run(frame, func(t *testing.T) {
			err := codec.Decode([]byte(test.frame), &cmd)
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

// The id is known wherever it can be, so that the client learns what failed.
func TestDecodeKeepsIDOfBadFrame(t *testing.T) {
	tests := map[string]string{
		`{"id":"7","type":"dance"}`:                       "7",
		`{"type":"leave","id":"7"}`:                       "7",
		`{"type":"leave","id":"7","room":nope}`:           "7",
		`{"type":"leave","room":nope,"id":"7"}`:           "",
		`{"type":"leave","room":"a","room":"a","id":"7"}`: "7",
		`{"type":"leave","id":7,"room":"a"}`:              "",
		`{"id":"7"`:                                       "7",
		`{"type":"leave","id":"7"} {`:                     "7",
	}
	codec := newCodec()
	for frame, want := range tests {
		cmd := proto.Command{ID: []byte("of the frame before")}
		if err := codec.Decode([]byte(frame), &cmd); err == nil {
			t.Errorf("%s: no error", frame)
		}
		if string(cmd.ID) != want {
			t.Errorf("%s: id %q, want %q", frame, cmd.ID, want)
		}
	}
}

// One codec serves all connections at once.
func TestCodecIsSafeForConcurrentUse(t *testing.T) {
	codec := newCodec()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			var cmd proto.Command
			content := strings.Repeat(strconv.Itoa(worker+1), 50)
			frame := []byte(`{"type":"message","id":"\u0041` + content + `","to":"a","content":` + content + `}`)
			for range 200 {
				if err := codec.Decode(frame, &cmd); err != nil {
					t.Error(err)
					return
				}
				if string(cmd.ID) != "A"+content || string(cmd.Content) != content {
					t.Errorf("worker %d got id %q and content %q", worker, cmd.ID, cmd.Content)
					return
				}
			}
		})
	}
	wg.Wait()
}
