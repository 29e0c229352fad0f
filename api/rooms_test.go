package api_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func TestRooms(t *testing.T) {
	f := start(t, nil)
	ada, bob, root := f.token("ada"), f.token("bob"), f.token("root", asAdmin)
	f.request("GET /rooms/a%2Fb", ada).do().refused(proto.ErrNotFound)
	a := f.request("POST /rooms", ada).json(`{"room":"a/b","maxUsers":3}`).do().is(http.StatusCreated)
	if a.header.Get("Location") != "/api/v1/rooms/a%2Fb" || get[string](a, "host") != "ada" || get[float64](a, "maxUsers") != 3 ||
		get[bool](a, "closed") || get[float64](a, "createdAt") < 1.6e12 || a.fields["banned"] == nil {
		t.Errorf("created: %s %v", a.text, a.header)
	}
	f.request("POST /rooms", bob).json(`{"room":"a/b"}`).do().refused(proto.ErrRoomExists)
	f.request("POST /rooms", bob).json(`{"room":"x","host":"ada"}`).do().refused(proto.ErrForbidden)
	f.request("POST /rooms", root).json(`{"room":"x","host":"ada"}`).do().is(http.StatusCreated).says(`"host":"ada"`)
	f.request("POST /rooms", f.token("eve", withRooms(auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightJoin)}))).json(`{"room":"y"}`).do().refused(proto.ErrForbidden)
	for _, bad := range []string{
		`{"room":""}`, `{"room":"a\u0000b"}`, `{"room":7}`, `{"maxUsers":1}`, `{"room":"y","maxUsers":-1}`, `{"room":"y","maxUsers":2147483648}`,
		`{"room":"y","maxUsers":1.5}`, `{"room":"y","maxUsers":"1"}`, `{"room":"y","host":""}`, `{"room":"y","host":"a\n"}`,
		`{"room":"` + strings.Repeat("x", 129) + `"}`, `{"room":"y","closed":true}`,
	} {
		f.request("POST /rooms", root).json(bad).do().refused(proto.ErrInvalidField)
	}
	f.request("POST /rooms", ada).json(`{"room":"nowhere:x"}`).do().refused(proto.ErrUnknownNamespace)
	f.request("POST /rooms", ada).json(`{"room":"user:ada"}`).do().refused(proto.ErrForbidden)
	f.publish("user:bob", bob, "1")
	if a := f.request("GET /rooms/user:bob", bob).do().is(http.StatusOK); a.fields["createdAt"] != nil {
		t.Errorf("nobody knows when an inbox was created: %s", a.text)
	}

	a = f.request("GET /rooms/a%2Fb", bob).do().is(http.StatusOK)
	if a.fields["banned"] != nil || a.fields["muted"] != nil || a.fields["lastMessage"] != nil {
		t.Errorf("read by a stranger: %s", a.text)
	}
	tag := a.header.Get("ETag")
	f.request("GET /rooms/a%2Fb", bob).with("If-None-Match", tag).do().is(http.StatusNotModified)
	f.request("GET /rooms/a%2Fb", bob).with("If-None-Match", `"x", W/`+tag).do().is(http.StatusNotModified)
	f.request("GET /rooms/a%2Fb", bob).with("If-None-Match", `"x"`).do().is(http.StatusOK)
	if got := f.request("GET /rooms/a%2Fb", ada).do().header.Get("ETag"); got == tag {
		t.Errorf("two answers, one tag: %s", got)
	}

	f.request("PATCH /rooms/a%2Fb", bob).json(`{"maxUsers":5}`).do().refused(proto.ErrNotHost)
	f.request("PATCH /rooms/a%2Fb", ada).with("If-Match", `"nonsense"`).json(`{"maxUsers":5}`).do().refused(proto.ErrPrecondition)
	a = f.request("PATCH /rooms/a%2Fb", ada).with("If-Match", tag).json(`{"maxUsers":5}`).do().is(http.StatusOK).says(`"maxUsers":5`)
	if a.header.Get("ETag") == tag {
		t.Error("a change kept the tag")
	}
	f.request("PATCH /rooms/a%2Fb", ada).with("If-Match", tag).json(`{"maxUsers":6}`).do().refused(proto.ErrPrecondition)
	f.request("PATCH /rooms/a%2Fb", root).with("If-Match", "*").json(`{"maxUsers":0,"host":"bob"}`).do().is(http.StatusOK).says(`"host":"bob"`)
	f.request("PATCH /rooms/nothing", root).json(`{"maxUsers":1}`).do().refused(proto.ErrNotFound)

	f.request("DELETE /rooms/a%2Fb", ada).do().refused(proto.ErrNotHost)
	f.request("DELETE /rooms/a%2Fb", bob).do().is(http.StatusNoContent)
	f.request("GET /rooms/a%2Fb", bob).do().refused(proto.ErrNotFound)
	f.request("DELETE /rooms/a%2Fb", root).do().refused(proto.ErrNotFound)
}

func TestRoomsAreListed(t *testing.T) {
	f := start(t, nil)
	root := f.token("root", asAdmin)
	for i := range 7 {
		for _, prefix := range []string{"a", "b"} {
			f.request("POST /rooms", root).json(fmt.Sprintf(`{"room":"%s%d"}`, prefix, i)).do().is(http.StatusCreated)
		}
	}
	list := func(token, query string) (names []string) {
		cursor := ""
		for {
			a := f.request("GET /rooms?limit=3"+query+cursor, token).do().is(http.StatusOK)
			for _, r := range get[[]any](a, "rooms") {
				names = append(names, r.(map[string]any)["room"].(string))
			}
			next, more := a.fields["next"].(string)
			if !more {
				return names
			}
			cursor = "&cursor=" + next
		}
	}
	if got := strings.Join(list(root, ""), " "); got != "a0 a1 a2 a3 a4 a5 a6 b0 b1 b2 b3 b4 b5 b6" {
		t.Errorf("all rooms: %s", got)
	}
	if got := strings.Join(list(root, "&prefix=b"), " "); got != "b0 b1 b2 b3 b4 b5 b6" {
		t.Errorf("rooms with b: %s", got)
	}
	some := f.token("ada", withRooms(auth.Rule{Match: "a2", Allow: auth.RightsOf(auth.RightRead)}, auth.Rule{Match: "b5", Allow: auth.RightsOf(auth.RightJoin)}, auth.Rule{Match: "b6", Allow: auth.RightsOf(auth.RightPublish)}))
	if got := strings.Join(list(some, ""), " "); got != "a2 b5" {
		t.Errorf("rooms that the user may see: %s", got)
	}
}

func TestModeration(t *testing.T) {
	f := start(t, nil)
	ada, bob := f.token("ada"), f.token("bob")
	f.request("POST /rooms", ada).json(`{"room":"lobby"}`).do().is(http.StatusCreated)
	stream := f.events("lobby", bob)
	stream.next("joined")
	a := f.request("GET /rooms/lobby/members", ada).do().is(http.StatusOK)
	if get[float64](a, "total") != 1 || a.text != `{"members":[{"userId":"bob","status":"online"}],"total":1}` {
		t.Errorf("members: %s", a.text)
	}
	f.request("GET /rooms/lobby/members", f.token("eve", withRooms(auth.Rule{Match: "*", Allow: auth.RightsOf(auth.RightJoin)}))).do().refused(proto.ErrForbidden)
	f.request("GET /rooms/nothing/members", ada).do().refused(proto.ErrNotFound)
	f.request("GET /rooms/lobby/members?cursor=%00", ada).do().is(http.StatusBadRequest)

	for _, action := range []string{"kick", "ban", "unban", "mute", "unmute", "hand-over"} {
		path := "POST /rooms/lobby/" + action
		f.request(path, bob).json(`{"userId":"ada"}`).do().refused(proto.ErrNotHost)
		f.request("POST /rooms/nothing/"+action, ada).json(`{"userId":"bob"}`).do().refused(proto.ErrNotFound)
		f.request(path, ada).json(`{"userId":""}`).do().refused(proto.ErrInvalidField)
		f.request(path, ada).json(`{"userId":["bob"]}`).do().refused(proto.ErrInvalidField).says("a list")
	}
	f.request("POST /rooms/lobby/mute", ada).json(`{"userId":"bob"}`).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/messages", bob).json(`{"content":1}`).do().refused(proto.ErrMuted)
	f.request("POST /rooms/lobby/unmute", ada).json(`{"userId":"bob"}`).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/messages", bob).json(`{"content":1}`).do().is(http.StatusCreated)
	stream.next("message")
	f.request("POST /rooms/lobby/kick", ada).json(`{"userId":"bob"}`).do().is(http.StatusNoContent)
	if e := stream.next("room_closed"); !strings.Contains(e.data, `"reason":"kicked"`) {
		t.Errorf("kicked with %s", e.data)
	}
	stream.ends()
	f.request("POST /rooms/lobby/ban", ada).json(`{"userId":"bob"}`).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/messages", bob).json(`{"content":1}`).do().refused(proto.ErrBanned)
	f.request("GET /rooms/lobby/events", bob).do().refused(proto.ErrBanned)
	f.request("GET /rooms/lobby", ada).do().is(http.StatusOK).says(`"banned":["bob"],"muted":[]`)
	f.request("POST /rooms/lobby/unban", ada).json(`{"userId":"bob"}`).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/close", bob).do().refused(proto.ErrNotHost)
	f.request("POST /rooms/lobby/close", ada).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/messages", bob).json(`{"content":1}`).do().refused(proto.ErrRoomClosed)
	f.request("GET /rooms/lobby/events", bob).do().refused(proto.ErrRoomClosed)
	f.request("POST /rooms/lobby/reopen", ada).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/hand-over", ada).json(`{"userId":"bob"}`).do().is(http.StatusNoContent)
	f.request("POST /rooms/lobby/close", ada).do().refused(proto.ErrNotHost)
}
