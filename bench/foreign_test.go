package bench

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

// TestForeignDialectsAreJSON holds what the generator says to the shape that the
// other servers' clients have.
func TestForeignDialectsAreJSON(t *testing.T) {
	for _, test := range []struct{ got, prefix, want string }{
		{
			string(centrifugeDialect{}.appendPublish(nil, "ann", "lobby", stamp{seq: 5}, roomyContent)), "",
			`{"id":7,"publish":{"channel":"lobby","data":"00000000000000050000000000000000"}}`,
		},
		{
			string(centrifugeDialect{}.appendEcho(nil, stamp{seq: 5}, roomyContent)), "",
			`{"id":7,"rpc":{"data":"00000000000000050000000000000000"}}`,
		},
		{
			string(socketIODialect{}.appendEcho(nil, stamp{seq: 5}, roomyContent)), "42",
			`42["echo","00000000000000050000000000000000"]`,
		},
		{string(socketIODialect{}.appendJoin(nil, "lobby")), "40", `40{"room":"lobby"}`},
	} {
		if test.got != test.want || !json.Valid([]byte(strings.TrimPrefix(test.got, test.prefix))) {
			t.Errorf("%s, want %s", test.got, test.want)
		}
	}
	published := socketIODialect{}.appendPublish(nil, "ann", "lobby", sample, 128)
	if !json.Valid(published[2:]) {
		t.Errorf("%s", published)
	}
	join := strings.Split(string(centrifugeDialect{}.appendJoin(nil, "lobby")), "\n")
	want := []string{`{"id":1,"connect":{}}`, `{"id":2,"subscribe":{"channel":"lobby"}}`}
	if !slices.Equal(join, want) {
		t.Errorf("%q, want %q", join, want)
	}
	if hello := string(centrifugeDialect{}.appendJoin(nil, "")); hello != want[0] {
		t.Errorf("%q, want %q", hello, want[0])
	}
}

// TestForeignDialectsRead has each kind of frame as the servers write it.
func TestForeignDialectsRead(t *testing.T) {
	content := string(appendContent(nil, sample, roomyContent))
	behind := content[1:]
	for _, test := range []struct {
		codec, frame string
		want         []event
	}{
		{codecCentrifuge, `{"id":1,"connect":{"client":"2b","version":"x","subs":{}}}` + "\n" + `{"id":2,"subscribe":{}}`, []event{{kind: evSession}, {kind: evJoined}}},
		{codecCentrifuge, `{"id":9,"publish":{}}`, []event{{}}},
		{codecCentrifuge, `{}`, []event{{}}},
		{
			codecCentrifuge, `{"push":{"channel":"lobby","pub":{"data":` + content + `}}}` + "\n" + `{"id":3,"publish":{}}`,
			[]event{{kind: evMessage, offset: uint64(sample.seq), stamp: sample}, {}},
		},
		{codecCentrifuge, `{"id":3,"rpc":{"data":` + content + `}}`, []event{{kind: evEcho, text: []byte(behind + `}}`)}}},
		{codecCentrifuge, `{"id":3,"error":{"code":103}}`, []event{{kind: evFailed, text: []byte(`{"id":3,"error":{"code":103}}`)}}},
		{codecSocketIO, `0{"sid":"x","upgrades":[],"pingInterval":1}`, []event{{}}},
		{codecSocketIO, `40{"sid":"x"}`, []event{{kind: evJoined}}},
		{codecSocketIO, `44{"message":"no"}`, []event{{kind: evFailed, text: []byte(`44{"message":"no"}`)}}},
		{codecSocketIO, `42["message",{"type":"message","content":` + content + `,"offset":1}]`, []event{{kind: evMessage, offset: uint64(sample.seq), stamp: sample}}},
		{codecSocketIO, `42["echo",` + content + `]`, []event{{kind: evEcho, text: []byte(behind + `]`)}}},
	} {
		got, err := readAll(mustDialect(t, test.codec), []byte(test.frame))
		if err != nil || !slices.EqualFunc(got, test.want, sameEvent) {
			t.Errorf("%s %s: %+v, %v, want %+v", test.codec, test.frame, got, err, test.want)
		}
	}
	for _, test := range []struct{ codec, frame string }{
		{codecCentrifuge, `{"push":{"channel":"lobby","join":{}}}`},
		{codecCentrifuge, `{"push":{"channel":"lobby","pub":{"data":"somebody else's"}}}`},
		{codecCentrifuge, `{"id":3}`},
		{codecCentrifuge, "hello"},
		{codecSocketIO, `42["message",{"text":"somebody else's"}]`},
		{codecSocketIO, `42["other",1]`},
		{codecSocketIO, `42["echo",`},
		{codecSocketIO, ""},
	} {
		if got, err := readAll(mustDialect(t, test.codec), []byte(test.frame)); err == nil {
			t.Errorf("%s %s: no error, but %+v", test.codec, test.frame, got)
		}
	}
}

// TestForeignRoomsHaveOneAuthor: more would look like disorder.
func TestForeignRoomsHaveOneAuthor(t *testing.T) {
	for _, codec := range []string{codecFloor, codecCentrifuge, codecSocketIO} {
		err := Run(t.Context(), []string{"fanout", "--codec", codec, "--members", "10", "--publishers", "2"}, Streams{})
		if wrong := (*UsageError)(nil); !errors.As(err, &wrong) || !strings.Contains(err.Error(), "--publishers") {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

func readAll(d dialect, frame []byte) (events []event, err error) {
	for first := true; first || len(frame) > 0; first = false {
		message := frame
		frame = nil
		if b, ok := d.(batcher); ok {
			message, frame = b.cut(message)
		}
		var ev event
		if err := d.read(message, &ev); err != nil {
			return nil, err
		}
		events = append(events, ev)
	}
	return events, nil
}

func sameEvent(a, b event) bool {
	return a.kind == b.kind && a.offset == b.offset && a.stamp == b.stamp && string(a.text) == string(b.text)
}
