package proto_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/thronghq/throng/proto"
)

var update = flag.Bool("update", false, "write the test vectors instead of comparing them")

const vectorsPath = "testdata/binary_vectors.json"

// A vector is one frame of throng.v1.bin, and the JSON frame that says the same.
// docs/protocol.md describes the file.
type vector struct {
	Name      string          `json:"name"`
	Direction string          `json:"direction"` // client or server: who sends it
	Hex       string          `json:"hex"`
	JSON      json.RawMessage `json:"json"`
}

// clientFrames holds the vectors that clients send.
var clientFrames = []struct{ name, frame string }{
	{"auth", `{"type":"auth","id":"1","token":"header.payload.signature","deviceInfo":{"type":"web","os":"Linux"}}`},
	{"join", `{"type":"join","id":"1","room":"lobby"}`},
	{"join from a position", `{"type":"join","id":"1","room":"chat:lobby","since":{"offset":1234,"epoch":"1-9f8e7d","timestamp":1760000000000}}`},
	{"join from a time, with echo", `{"type":"join","room":"lobby","echo":true,"since":{"timestamp":1760000000000}}`},
	{"join with the last messages", `{"type":"join","room":"lobby","since":{"last":50}}`},
	{"leave", `{"type":"leave","id":"2","room":"caf\u00e9 \ud83d\ude00"}`},
	{"message", `{"type":"message","id":"2","to":"lobby","content":"Hello!"}`},
	{"message with an object and a key", `{"type":"message","id":"3","to":"lobby","content":{"text":"Once only","list":[1,null,true]},"key":"k1"}`},
	{"message of bytes", `{"type":"message","id":"4","to":"lobby","content":"3q2+7w==","encoding":"base64"}`},
	{"message of no bytes", `{"type":"message","to":"lobby","content":"","encoding":"base64"}`},
	{"transient message to a user", `{"type":"message","to":"user:bob","content":{"typing":true},"transient":true}`},
	{"message longer than 127 bytes", `{"type":"message","to":"lobby","content":"` + strings.Repeat("long ", 40) + `"}`},
	{"history by offset", `{"type":"history","id":"5","room":"lobby","before":1000,"limit":50,"reverse":true}`},
	{"history after an offset", `{"type":"history","room":"lobby","after":7}`},
	{"history by time, next page", `{"type":"history","room":"lobby","from":1760000000000,"to":1760000060000,"cursor":"c"}`},
	{"ack", `{"type":"ack","room":"lobby","epoch":"1-9f8e7d","offset":9007199254740991}`},
	{"members", `{"type":"members","id":"6","room":"lobby","cursor":"c"}`},
	{"status", `{"type":"status","id":"7","status":"away"}`},
	{"host maxUsers", `{"type":"host","id":"8","room":"lobby","maxUsers":0}`},
	{"host kick", `{"type":"host","room":"lobby","kick":"bob"}`},
	{"host ban", `{"type":"host","room":"lobby","ban":"bob"}`},
	{"host unban", `{"type":"host","room":"lobby","unban":"bob"}`},
	{"host mute", `{"type":"host","room":"lobby","mute":"bob"}`},
	{"host unmute", `{"type":"host","room":"lobby","unmute":"bob"}`},
	{"host handOver", `{"type":"host","room":"lobby","handOver":"bob"}`},
	{"host close", `{"type":"host","room":"lobby","close":true}`},
	{"host open again", `{"type":"host","room":"lobby","close":false}`},
	{"PING", `{"type":"PING","id":"9","timestamp":1760000000000}`},
}

// vectors makes all vectors, from the tables of the page and from the codecs.
func vectors(t testing.TB, ref *reference) (all []vector) {
	for _, c := range clientFrames {
		all = append(all, vector{c.name, "client", hex.EncodeToString(ref.encode(t, c.frame)), json.RawMessage(c.frame)})
	}
	binary, text := newBinary(), newCodec()
	for _, test := range eventTests() {
		all = append(all, vector{
			test.name, "server",
			hex.EncodeToString(binary.AppendEvent(nil, &test.event)), text.AppendEvent(nil, &test.event),
		})
	}
	for _, test := range messageTests() {
		m := sampleMessage()
		test.change(&m)
		all = append(all, vector{
			"message: " + test.name, "server",
			hex.EncodeToString(binary.AppendMessage(nil, &m, test.own)), text.AppendMessage(nil, &m, test.own),
		})
	}
	pong := proto.Event{Type: proto.EvPong, Millis: 99}
	later := append(binary.AppendEvent(nil, &pong), refText(unknownTag, []byte("later"))...)
	later = append(later, refInteger(unknownTag, 1<<40)...)
	return append(all, vector{
		"PONG with fields of a later version", "server", hex.EncodeToString(later), text.AppendEvent(nil, &pong),
	})
}

func newBinary() *proto.Binary {
	limits := proto.DefaultLimits()
	return proto.NewBinary(&limits)
}

func TestBinaryVectors(t *testing.T) {
	all := vectors(t, readTables(t))
	var want bytes.Buffer
	want.WriteString("[\n")
	encoder := json.NewEncoder(&want)
	encoder.SetEscapeHTML(false)
	for i, v := range all {
		if err := encoder.Encode(v); err != nil {
			t.Fatal(err)
		}
		if i < len(all)-1 {
			want.Truncate(want.Len() - 1)
			want.WriteString(",\n")
		}
	}
	want.WriteString("]\n")
	if *update {
		if err := os.WriteFile(vectorsPath, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := string(readVectorFile(t)); got != want.String() {
		t.Errorf("%s is not what the codec does; go test ./proto -run TestBinaryVectors -update writes\n%s", vectorsPath, want.String())
	}
}

func readVectorFile(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile(vectorsPath)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// readVectors reads the vectors that anybody sends to direction's other end.
func readVectors(t testing.TB, direction string) (some []vector) {
	t.Helper()
	var all []vector
	if err := json.Unmarshal(readVectorFile(t), &all); err != nil {
		t.Fatal(err)
	}
	for _, v := range all {
		if v.Direction == direction {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		t.Fatalf("no vectors of the %s", direction)
	}
	return some
}

func (v *vector) frame(t testing.TB) []byte {
	t.Helper()
	frame, err := hex.DecodeString(v.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// What a client says in either codec is the same command.
func TestVectorsOfClientsAreTheCommandsOfJSON(t *testing.T) {
	binary, text := newBinary(), newCodec()
	var got, want proto.Command
	tested := make(map[proto.CommandType]bool)
	for _, v := range readVectors(t, "client") {
		t.Run(v.Name, func(t *testing.T) {
			if err := text.Decode(v.JSON, &want); err != nil {
				t.Fatal(err)
			}
			if err := binary.Decode(v.frame(t), &got); err != nil {
				t.Fatal(err)
			}
			expectCommand(t, &got, &want)
			tested[got.Type] = true
		})
	}
	for c := proto.CmdNone + 1; c <= proto.CmdPing; c++ {
		if !tested[c] {
			t.Errorf("no vector shows %s", c)
		}
	}
}

// All that the JSON codec is tested with holds for the binary one, too.
func TestBinaryDecodesTheCommandsOfJSON(t *testing.T) {
	binary, ref := newBinary(), readTables(t)
	var used proto.Command
	for _, test := range commandTests() {
		t.Run(test.name, func(t *testing.T) {
			frame := ref.encode(t, test.frame)
			before := bytes.Clone(frame)
			if err := binary.Decode(frame, &used); err != nil {
				t.Fatalf("%v in %x", err, frame)
			}
			if !bytes.Equal(frame, before) {
				t.Error("Decode changed the frame")
			}
			expectCommand(t, &used, &test.want)
		})
	}
}

// What the server says in either codec is the same, by the page's tables.
func TestVectorsOfTheServerSayWhatJSONSays(t *testing.T) {
	ref := readTables(t)
	for _, v := range readVectors(t, "server") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := ref.decode(v.frame(t))
			if err != nil {
				t.Fatal(err)
			}
			want, err := decodeJSON(v.JSON)
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(any(got), want) {
				t.Errorf("\n got %v\nwant %v", got, want)
			}
		})
	}
}

// No row of the page's tables is there for nothing, and no field has two tags.
func TestBinaryTablesAreUsed(t *testing.T) {
	ref := readTables(t)
	used := make(map[string]bool) // type and direction, and with a tag
	for _, direction := range []string{"client", "server"} {
		for _, v := range readVectors(t, direction) {
			markUsed(ref, used, direction, v.frame(t))
		}
	}
	tags := make(map[uint64]bool)
	for _, f := range ref.fields {
		if tags[f.tag] {
			t.Errorf("the page lists tag %d twice", f.tag)
		}
		tags[f.tag] = true
	}
	listed := make(map[uint64]bool)
	for _, typ := range ref.types {
		for direction, fields := range map[string]map[string][]uint64{"client": typ.client, "server": typ.server} {
			for name, layout := range fields {
				for _, tag := range layout {
					listed[tag] = true
					if !tags[tag] {
						t.Errorf("%s: the page lists no tag %d", typ.name, tag)
					}
					if name != "id" && !used[usage(direction, typ.number, tag)] {
						t.Errorf("no vector of the %s shows %s with %s (%d)", direction, typ.name, name, tag)
					}
				}
			}
		}
	}
	for tag := range tags {
		if !listed[tag] {
			t.Errorf("tag %d is in no type's layout", tag)
		}
	}
}

// The frames that the page shows are the vectors'.
func TestReferenceShowsVectors(t *testing.T) {
	all := append(readVectors(t, "client"), readVectors(t, "server")...)
	shown := rowsUnder(t, section(t, readReference(t), "Binary"), "| frame | as JSON has it |")
	if len(shown) == 0 {
		t.Fatal("the page shows no frames")
	}
	for _, row := range shown {
		i := slices.IndexFunc(all, func(v vector) bool { return v.Hex == row[0] })
		if i < 0 {
			t.Errorf("the page shows %s, which is no vector", row[0])
		} else if string(all[i].JSON) != row[1] {
			t.Errorf("the page says that %s is %s; the vector %q says %s", row[0], row[1], all[i].Name, all[i].JSON)
		}
	}
}
