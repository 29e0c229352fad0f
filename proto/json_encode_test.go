package proto_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

type eventTest struct {
	name  string
	event proto.Event
	want  string
}

func eventTests() []eventTest {
	limits := proto.DefaultLimits()
	id := proto.NewMsgID(1_760_000_000_123_456, 42)
	const idText = "0199c82c-c07b-774b-8000-00000000002a"
	full := proto.ErrOverloaded.After(1500 * time.Microsecond)
	return []eventTest{
		{
			"deleted",
			proto.Event{Type: proto.EvDeleted, Room: "lobby", MsgID: id, Offset: 7, UserID: "ann"},
			`{"type":"deleted","room":"lobby","msgId":"` + idText + `","offset":7,"userId":"ann"}`,
		},
		{
			"token_expiring",
			proto.Event{Type: proto.EvTokenExpiring, Millis: 1_760_000_000_123},
			`{"type":"token_expiring","expiresAt":1760000000123}`,
		},
		{
			"session",
			proto.Event{Type: proto.EvSession, ID: []byte("1"), Session: &proto.SessionInfo{
				SessionID: "s", UserID: "ann", ConnectedAt: 17, Status: "online",
				DeviceType: "web", DeviceOS: "Linux", Heartbeat: 25 * time.Second, Limits: &limits,
			}},
			`{"type":"session","id":"1","sessionId":"s","userId":"ann","connectedAt":17,"status":"online",` +
				`"deviceInfo":{"type":"web","os":"Linux"},"heartbeat":25000,"limits":{"message":65536,"frame":73728,` +
				`"depth":64,"id":64,"key":64,"keyTtl":600000,"rooms":1000,"history":1000,"replay":10000,"outbox":262144,"invalid":3}}`,
		},
		{
			"joined",
			proto.Event{Type: proto.EvJoined, ID: []byte("1"), Room: "a", Epoch: "e", Offset: 5, Recovered: true, Host: "ann", MaxUsers: 9, Members: 2},
			`{"type":"joined","id":"1","room":"a","epoch":"e","offset":5,"recovered":true,"host":"ann","maxUsers":9,"members":2}`,
		},
		{
			"joined without host",
			proto.Event{Type: proto.EvJoined, Room: "a", Epoch: "e", Members: 1},
			`{"type":"joined","room":"a","epoch":"e","offset":0,"recovered":false,"members":1}`,
		},
		{
			"left",
			proto.Event{Type: proto.EvLeft, ID: []byte("\"\\\n\x00é</script>"), Room: "a"},
			`{"type":"left","id":"\"\\\n\u0000é</script>","room":"a"}`,
		},
		{
			"ack",
			proto.Event{Type: proto.EvAck, ID: []byte("1"), MsgID: id, Offset: 7, Millis: 17},
			`{"type":"ack","id":"1","msgId":"` + idText + `","offset":7,"timestamp":17}`,
		},
		{
			"ack of a repeat",
			proto.Event{Type: proto.EvAck, MsgID: id, Offset: 7, Millis: 17, Duplicate: true},
			`{"type":"ack","msgId":"` + idText + `","offset":7,"timestamp":17,"duplicate":true}`,
		},
		{
			"ack of a transient message",
			proto.Event{Type: proto.EvAck, MsgID: id, Millis: 17},
			`{"type":"ack","msgId":"` + idText + `","timestamp":17}`,
		},
		{
			"history",
			proto.Event{Type: proto.EvHistory, ID: []byte("1"), Room: "a", Epoch: "e", Own: "ann", Next: "c", Messages: []proto.Message{
				{ID: id, Offset: 1, Time: 1_999, From: "ann", To: "a", Key: "k", Content: []byte(`{ "x":1}`)},
				{ID: id, Offset: 2, Time: 2_000, From: "bob", To: "a", Key: "k", Kind: proto.KindBytes, Content: []byte{0, 255}},
			}},
			`{"type":"history","id":"1","room":"a","epoch":"e","messages":[` +
				`{"type":"message","msgId":"` + idText + `","from":"ann","to":"a","content":{ "x":1},"key":"k","timestamp":1,"offset":1},` +
				`{"type":"message","msgId":"` + idText + `","from":"bob","to":"a","content":"AP8=","encoding":"base64","timestamp":2,"offset":2}` +
				`],"next":"c"}`,
		},
		{
			"an empty history",
			proto.Event{Type: proto.EvHistory, Room: "a", Epoch: "e"},
			`{"type":"history","room":"a","epoch":"e","messages":[]}`,
		},
		{
			"members",
			proto.Event{Type: proto.EvMembers, Room: "a", List: []proto.MemberInfo{{UserID: "ann", Status: "online"}, {UserID: "bob", Status: "away"}}, Next: "c"},
			`{"type":"members","room":"a","members":[{"userId":"ann","status":"online"},{"userId":"bob","status":"away"}],"next":"c"}`,
		},
		{"host", proto.Event{Type: proto.EvHost, Room: "a"}, `{"type":"host","room":"a"}`},
		{"PONG", proto.Event{Type: proto.EvPong, Millis: 99}, `{"type":"PONG","timestamp":99}`},
		{
			"member_joined",
			proto.Event{Type: proto.EvMemberJoined, Room: "a", UserID: "ann", Members: 1},
			`{"type":"member_joined","room":"a","userId":"ann","members":1}`,
		},
		{
			"member_left",
			proto.Event{Type: proto.EvMemberLeft, Room: "a", UserID: "ann"},
			`{"type":"member_left","room":"a","userId":"ann","members":0}`,
		},
		{"member_count", proto.Event{Type: proto.EvMemberCount, Room: "a", Members: 201}, `{"type":"member_count","room":"a","members":201}`},
		{"lag", proto.Event{Type: proto.EvLag, Room: "a", Offset: 3}, `{"type":"lag","room":"a","offset":3}`},
		{
			"gap",
			proto.Event{Type: proto.EvGap, Room: "a", Epoch: "e", After: 3, NextSeen: 9},
			`{"type":"gap","room":"a","epoch":"e","after":3,"next":9}`,
		},
		{"room_closed", proto.Event{Type: proto.EvRoomClosed, Room: "a", Reason: "kicked"}, `{"type":"room_closed","room":"a","reason":"kicked"}`},
		{"room_updated", proto.Event{Type: proto.EvRoomUpdated, Room: "a", Host: "bob", MaxUsers: 9}, `{"type":"room_updated","room":"a","host":"bob","maxUsers":9}`},
		{"room_updated, no bound", proto.Event{Type: proto.EvRoomUpdated, Room: "a"}, `{"type":"room_updated","room":"a"}`},
		{"delivered", proto.Event{Type: proto.EvDelivered, Room: "user:bob", MsgID: id}, `{"type":"delivered","to":"user:bob","msgId":"` + idText + `"}`},
		{
			"error",
			proto.Event{Type: proto.EvError, ID: []byte("1"), Err: proto.ErrInvalidField.With("field %q", "x")},
			`{"type":"error","id":"1","code":"invalid_field","reason":"field \"x\"","retry":false}`,
		},
		{
			"error with a time",
			proto.Event{Type: proto.EvError, Room: "a", Err: full},
			`{"type":"error","room":"a","code":"overloaded","reason":"` + full.Reason + `","retry":true,"retryAfter":2}`,
		},
	}
}

func TestAppendEvent(t *testing.T) {
	codec := newCodec()
	for _, test := range eventTests() {
		t.Run(test.name, func(t *testing.T) {
			got := string(codec.AppendEvent([]byte("before"), &test.event))
			if want := "before" + test.want; got != want {
				t.Errorf("\n got %s\nwant %s", got, want)
			}
			if !json.Valid([]byte(test.want)) {
				t.Error("not valid JSON")
			}
		})
	}
}

func TestEventNamesAreComplete(t *testing.T) {
	tested := make(map[proto.EventType]bool)
	for _, test := range eventTests() {
		tested[test.event.Type] = true
	}
	seen := make(map[string]bool)
	for typ := proto.EvNone + 1; typ <= proto.EvError; typ++ {
		if typ.String() == "" || seen[typ.String()] {
			t.Errorf("event %d is named %q", typ, typ)
		}
		seen[typ.String()] = true
		if !tested[typ] {
			t.Errorf("no test encodes %s", typ)
		}
	}
}

type messageTest struct {
	name   string
	change func(*proto.Message)
	own    bool
	want   string
}

func messageTests() []messageTest {
	const id = "0199c82c-c07b-774b-8000-00000000002a"
	return []messageTest{
		{
			"a member's copy",
			func(*proto.Message) {}, false,
			`{"type":"message","msgId":"` + id + `","from":"ann","to":"chat:lobby","content":{"text":"Hello, everybody in this room!"},"timestamp":1760000000123,"offset":1234}`,
		},
		{
			"the author's copy",
			func(m *proto.Message) { m.Content = []byte("[1, 2]") }, true,
			`{"type":"message","msgId":"` + id + `","from":"ann","to":"chat:lobby","content":[1, 2],"key":"k-1","timestamp":1760000000123,"offset":1234}`,
		},
		{
			"the author's copy without a key",
			func(m *proto.Message) { m.Key, m.Content = "", []byte("null") }, true,
			`{"type":"message","msgId":"` + id + `","from":"ann","to":"chat:lobby","content":null,"timestamp":1760000000123,"offset":1234}`,
		},
		{
			"deleted",
			func(m *proto.Message) { m.Kind, m.Content, m.Key = proto.KindDeleted, nil, "" }, true,
			`{"type":"message","msgId":"` + id + `","from":"ann","to":"chat:lobby","deleted":true,"timestamp":1760000000123,"offset":1234}`,
		},
		{
			"transient",
			func(m *proto.Message) { m.Offset, m.Content = 0, []byte("1") }, false,
			`{"type":"message","msgId":"` + id + `","from":"ann","to":"chat:lobby","content":1,"timestamp":1760000000123}`,
		},
		{
			"bytes",
			func(m *proto.Message) { m.Kind, m.Content = proto.KindBytes, []byte("\x00\xff\"") }, false,
			`{"type":"message","msgId":"` + id + `","from":"ann","to":"chat:lobby","content":"AP8i","encoding":"base64","timestamp":1760000000123,"offset":1234}`,
		},
		{
			"names that need escapes",
			func(m *proto.Message) { m.From, m.To, m.Content = `a"b\`, "é\u2028😀", []byte("1") }, false,
			`{"type":"message","msgId":"` + id + `","from":"a\"b\\","to":"é` + "\u2028" + `😀","content":1,"timestamp":1760000000123,"offset":1234}`,
		},
	}
}

func TestAppendMessage(t *testing.T) {
	codec := newCodec()
	for _, test := range messageTests() {
		t.Run(test.name, func(t *testing.T) {
			m := sampleMessage()
			test.change(&m)
			if got := string(codec.AppendMessage(nil, &m, test.own)); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}
