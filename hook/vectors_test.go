package hook

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/thronghq/throng/proto"
)

var (
	vectorID   = proto.NewMsgID(1767323045123456, 0x0123456789abcdef)
	vectorJoin = event{kind: Join, at: 1767323045123, queued: 1767323045124, id: vectorID, run: 7, room: "lobby", user: "ada"}
	vectorRun  = event{kind: Message, at: 1767323045123, queued: 1767323045123, room: "lobby", span: span{"3w5e11264sgsf.1", 5, 300}}
	vectorGone = event{
		kind: Disconnect, at: 1767323045123, queued: 1767323045123, id: vectorID, run: 7, user: "ada", reason: "silent",
		conn: &Connection{UserID: "ada", SessionID: "s1", Address: "2001:db8::1", DeviceType: "phone", DeviceOS: "linux", Via: "websocket", ConnectedAt: 1767323045000},
	}
	vectorOpened = event{kind: RoomOpened, at: 1767323045123, queued: 1767323045123, id: vectorID, run: 7, room: "lobby"}
	vectorLetter = letter{event: &vectorJoin, at: 1767323046000, attempts: 3, status: 404, reason: "no"}
	vectorGap    = gap{
		id: vectorID, since: 1767323045123, until: 1767323046000,
		counts: [eventCount]uint64{Join: 2, Message: 296}, spans: []roomSpan{{"lobby", vectorRun.span}},
	}
	vectorMark     = mark{epoch: "3w5e11264sgsf.1", offset: 300}
	vectorCoverage = coverage{session: 7, since: 1767323045123456, scope: 0x0123456789abcdef}
	vectorState    = state{session: 7, clean: true}
)

// TestVectors holds the documented bytes and the code together.
func TestVectors(t *testing.T) {
	page, err := os.ReadFile("../docs/storage-format.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name string
		b    []byte
	}{
		{"outbox key, crm's event 42", append([]byte{0x1c}, queueKey(keyQueue, "crm", 42)...)},
		{"outbox key, crm's dead letter 42", append([]byte{0x1c}, queueKey(keyDead, "crm", 42)...)},
		{"outbox key, the mark of lobby", append([]byte{0x1c}, markKey("lobby")...)},
		{"waiting event, join", appendEvent(nil, &vectorJoin)},
		{"waiting event, messages", appendEvent(nil, &vectorRun)},
		{"waiting event, disconnect", appendEvent(nil, &vectorGone)},
		{"dead letter", appendLetter(nil, &vectorLetter)},
		{"gap record", appendGap(nil, &vectorGap)},
		{"mark", appendMark(nil, vectorMark)},
		{"coverage record", appendCoverage(nil, vectorCoverage)},
		{"outbox's own record", appendState(nil, vectorState)},
	} {
		line := "| " + v.name + " | `" + hex.EncodeToString(v.b) + "` |"
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/storage-format.md lacks the line\n%s", line)
		}
	}
}

func TestRecordsRoundTrip(t *testing.T) {
	for _, e := range []event{vectorJoin, vectorRun, vectorGone, vectorOpened} {
		got, err := decodeEvent(appendEvent(nil, &e))
		if err != nil || !reflect.DeepEqual(*got, e) {
			t.Errorf("decoded %+v, want %+v (%v)", got, e, err)
		}
	}
	if got, err := decodeLetter(appendLetter(nil, &vectorLetter)); err != nil || !reflect.DeepEqual(*got, vectorLetter) {
		t.Errorf("decoded %+v, want %+v (%v)", got, vectorLetter, err)
	}
	if got, err := decodeGap(appendGap(nil, &vectorGap)); err != nil || !reflect.DeepEqual(*got, vectorGap) {
		t.Errorf("decoded %+v, want %+v (%v)", got, vectorGap, err)
	}
	if got, err := decodeMark(appendMark(nil, vectorMark)); err != nil || got != vectorMark {
		t.Errorf("decoded %+v (%v)", got, err)
	}
	if got, err := decodeCoverage(appendCoverage(nil, vectorCoverage)); err != nil || got != vectorCoverage {
		t.Errorf("decoded %+v (%v)", got, err)
	}
	for _, s := range []state{vectorState, {session: 1}} {
		if got, err := decodeState(appendState(nil, s)); err != nil || got != s {
			t.Errorf("decoded %+v, want %+v (%v)", got, s, err)
		}
	}
}

// TestRecordDamage cuts and lengthens records: each is an error, none a panic.
func TestRecordDamage(t *testing.T) {
	decoders := []struct {
		whole  []byte
		decode func([]byte) error
	}{
		{appendEvent(nil, &vectorGone), func(b []byte) error { _, err := decodeEvent(b); return err }},
		{appendEvent(nil, &vectorRun), func(b []byte) error { _, err := decodeEvent(b); return err }},
		{appendLetter(nil, &vectorLetter), func(b []byte) error { _, err := decodeLetter(b); return err }},
		{appendGap(nil, &vectorGap), func(b []byte) error { _, err := decodeGap(b); return err }},
		{appendMark(nil, vectorMark), func(b []byte) error { _, err := decodeMark(b); return err }},
		{appendCoverage(nil, vectorCoverage), func(b []byte) error { _, err := decodeCoverage(b); return err }},
		{appendState(nil, vectorState), func(b []byte) error { _, err := decodeState(b); return err }},
	}
	for i, d := range decoders {
		if err := d.decode(d.whole); err != nil {
			t.Fatal(err)
		}
		for n := range d.whole {
			if d.decode(d.whole[:n]) == nil {
				t.Errorf("decoder %d took a record cut to %d bytes", i, n)
			}
		}
		if d.decode(append(bytes.Clone(d.whole), 0)) == nil {
			t.Errorf("decoder %d took a byte too many", i)
		}
		bad := bytes.Clone(d.whole)
		bad[0] = 0x20
		if d.decode(bad) == nil {
			t.Errorf("decoder %d took an unknown version", i)
		}
	}
}

func FuzzDecodeEvent(f *testing.F) {
	for _, e := range []event{vectorJoin, vectorRun, vectorGone, vectorOpened} {
		f.Add(appendEvent(nil, &e))
	}
	f.Add(appendLetter(nil, &vectorLetter))
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := decodeEvent(b); err == nil {
			if again := appendEvent(nil, e); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		if l, err := decodeLetter(b); err == nil {
			if again := appendLetter(nil, l); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
	})
}

func FuzzDecodeGap(f *testing.F) {
	f.Add(appendGap(nil, &vectorGap))
	f.Add(appendMark(nil, vectorMark))
	f.Add(appendCoverage(nil, vectorCoverage))
	f.Add(appendState(nil, vectorState))
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := decodeGap(b); err == nil {
			if again := appendGap(nil, g); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		if m, err := decodeMark(b); err == nil {
			if again := appendMark(nil, m); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		if c, err := decodeCoverage(b); err == nil {
			if again := appendCoverage(nil, c); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
		if s, err := decodeState(b); err == nil {
			if again := appendState(nil, s); !bytes.Equal(again, b) {
				t.Fatalf("%x became %x", b, again)
			}
		}
	})
}
