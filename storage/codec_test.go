package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

// The vectors of docs/storage-format.md.
var (
	vectorKey = messageKey{class: 0x80, bucket: 23, room: 7, time: 1767323045123456, offset: 42}

	vectorPlain = proto.Message{From: "ada", Content: []byte(`{"text":"hi"}`)}
	vectorKeyed = proto.Message{From: "bob", Key: "k-1", Kind: proto.KindBytes, Content: []byte{0, 1, 0xff}}
	vectorTo    = proto.Message{From: "ada", To: "user:bob", Content: []byte("1")}
	vectorGone  = proto.Message{From: "bob", Key: "k-1", Kind: proto.KindDeleted}
	vectorTail  = uint64(0x0123456789abcdef)

	vectorMeta = meta{
		room: 7, birth: 0xfedcba9876543210, last: place{offset: 42, time: 1767323045123456}, floor: 1,
		segments: []segment{{class: 0x80, from: 0}, {class: 0x81, from: 1767300000000000}},
		epochs:   []epoch{{generation: 1, start: 1}, {generation: 3, start: 40}},
		settings: []byte(`{"host":"ada"}`),
	}
	vectorCleanMeta = meta{
		room: 1, birth: 1, last: place{offset: 3, time: 1767323045000002}, floor: 4, clean: true,
		segments: []segment{{class: 0x80, from: 1767323045000000}},
		epochs:   []epoch{{generation: 1, start: 1}},
	}
	vectorState = storeState{generation: 3, restored: 2, clean: true}
	vectorClass = newClass(0x80, 7*24*time.Hour)
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
		{"message key", appendMessageKey(nil, vectorKey)},
		{"message record, JSON", appendRecord(nil, &vectorPlain, vectorTail)},
		{"message record, bytes with a key", appendRecord(nil, &vectorKeyed, vectorTail)},
		{"message record with an addressee", appendRecord(nil, &vectorTo, vectorTail)},
		{"message record, tombstone with a key", appendRecord(nil, &vectorGone, vectorTail)},
		{"key of room 7, deleted", appendEndedKey(nil, 7)},
		{"room record, settings and two epochs", appendMeta(nil, &vectorMeta)},
		{"room record, clean", appendMeta(nil, &vectorCleanMeta)},
		{"store record", appendState(nil, vectorState)},
		{"class record", appendClass(nil, vectorClass)},
		{"namespace record", appendNamespace(nil, 3)},
		{"receipt key of ada in room 7", appendReceiptKey(nil, 7, "ada")},
		{"room key of lobby", appendRoomKey(nil, "lobby")},
	} {
		line := "| " + v.name + " | `" + hex.EncodeToString(v.b) + "` |"
		if !strings.Contains(string(page), line) {
			t.Errorf("docs/storage-format.md lacks the line\n%s", line)
		}
	}
}

func TestRecordRoundTrip(t *testing.T) {
	for _, m := range []proto.Message{
		{},
		vectorPlain,
		vectorKeyed,
		vectorTo,
		vectorGone,
		{From: "ada", To: "user:bob", Key: "k", Kind: proto.KindBytes},
		{From: strings.Repeat("a", 128), Key: strings.Repeat("k", 64), Content: bytes.Repeat([]byte("x"), 64<<10)},
		{From: "ada", Content: []byte{}},
	} {
		b := appendRecord(nil, &m, vectorTail)
		if len(b) != recordSize(&m) {
			t.Errorf("recordSize %d, record has %d bytes", recordSize(&m), len(b))
		}
		r, err := decodeRecord(b)
		if err != nil {
			t.Fatal(err)
		}
		if string(r.author) != m.From || string(r.key) != m.Key || string(r.to) != m.To || r.kind != m.Kind || !bytes.Equal(r.content, m.Content) || r.tail != vectorTail {
			t.Errorf("decoded %+v from %+v", r, m)
		}
	}
}

// TestRecordDamage cuts and changes a record's head: no panic, and a cut within
// the head is an error.
func TestRecordDamage(t *testing.T) {
	b := appendRecord(nil, &vectorKeyed, vectorTail)
	head := len(b) - len(vectorKeyed.Content)
	for n := range head {
		if _, err := decodeRecord(b[:n]); err == nil {
			t.Errorf("a record of %d bytes was accepted", n)
		}
	}
	for _, first := range []byte{0x00, 0x20, 0x16, 0x17} { // 0x16: a tombstone has no content
		bad := bytes.Clone(b)
		bad[0] = first
		if _, err := decodeRecord(bad); err == nil {
			t.Errorf("a record that begins with %#x was accepted", first)
		}
	}
}

func TestMetaRoundTrip(t *testing.T) {
	for _, m := range []meta{vectorMeta, vectorCleanMeta} {
		got, err := decodeMeta(appendMeta(nil, &m))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(*got, m) {
			t.Errorf("decoded %+v, want %+v", *got, m)
		}
	}
	withEmptySettings := vectorCleanMeta
	withEmptySettings.settings = []byte{}
	got, err := decodeMeta(appendMeta(nil, &withEmptySettings))
	if err != nil || got.settings == nil || len(got.settings) != 0 {
		t.Errorf("empty settings became %v (%v)", got, err)
	}
}

// TestKeyOrder checks that keys sort as messages stand: by class, bucket, room
// and time.
func TestKeyOrder(t *testing.T) {
	ordered := []messageKey{
		{class: 0x80, bucket: 1, room: 2, time: 5, offset: 9},
		{class: 0x80, bucket: 1, room: 2, time: 6, offset: 10},
		{class: 0x80, bucket: 1, room: 256, time: 1, offset: 1},
		{class: 0x80, bucket: 2, room: 1, time: 1, offset: 1},
		{class: 0x80, bucket: 1 << 31, room: 1, time: 1, offset: 1},
		{class: 0x81, bucket: 0, room: 1, time: 1, offset: 1},
	}
	for i := 1; i < len(ordered); i++ {
		a, b := appendMessageKey(nil, ordered[i-1]), appendMessageKey(nil, ordered[i])
		if bytes.Compare(a, b) >= 0 {
			t.Errorf("key %d does not sort before key %d", i-1, i)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	f.Add(appendRecord(nil, &vectorPlain, vectorTail))
	f.Add(appendRecord(nil, &vectorKeyed, vectorTail))
	f.Add(appendRecord(nil, &vectorTo, vectorTail))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		m := proto.Message{From: string(r.author), Key: string(r.key), To: string(r.to), Kind: r.kind, Content: r.content}
		if again := appendRecord(nil, &m, r.tail); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzDecodeKey(f *testing.F) {
	f.Add(appendMessageKey(nil, vectorKey))
	f.Add([]byte{0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := decodeMessageKey(b)
		if err != nil {
			return
		}
		if again := appendMessageKey(nil, k); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzDecodeMeta(f *testing.F) {
	f.Add(appendMeta(nil, &vectorMeta))
	f.Add(appendMeta(nil, &vectorCleanMeta))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMeta(b)
		if err != nil {
			return
		}
		if again := appendMeta(nil, m); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	f.Add(appendState(nil, vectorState), appendClass(nil, vectorClass))
	f.Add(appendNamespace(nil, 3), appendClass(nil, vectorClass))
	f.Fuzz(func(t *testing.T, state, class []byte) {
		if s, err := decodeState(state); err == nil {
			if again := appendState(nil, s); !bytes.Equal(again, state) {
				t.Fatalf("%x became %x", state, again)
			}
		}
		if g, err := decodeNamespace(state); err == nil {
			if again := appendNamespace(nil, g); !bytes.Equal(again, state) {
				t.Fatalf("%x became %x", state, again)
			}
		}
		if c, err := decodeClass([]byte{prefixClass, 0x80}, class); err == nil {
			if again := appendClass(nil, c); !bytes.Equal(again, class) {
				t.Fatalf("%x became %x", class, again)
			}
		}
	})
}

func FuzzDecodeReceipt(f *testing.F) {
	f.Add(append([]byte{receiptVersion << 4}, 0xac, 0x02))
	f.Add([]byte{receiptVersion << 4, 0x80, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		offset, err := decodeReceipt(b)
		if err != nil {
			return
		}
		if again := binary.AppendUvarint([]byte{receiptVersion << 4}, offset); !bytes.Equal(again, b) {
			t.Fatalf("%x became %x", b, again)
		}
	})
}
