package proto_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/bintest"
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

// readTables returns the codec that the page's tables make.
func readTables(t testing.TB) *bintest.Codec {
	t.Helper()
	tables, err := bintest.Read(readReference(t))
	if err != nil {
		t.Fatal(err)
	}
	return tables
}

// encode turns a JSON frame into the binary one, by the page's tables.
func encode(t testing.TB, tables *bintest.Codec, frame string) []byte {
	t.Helper()
	encoded, err := tables.Encode([]byte(frame))
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}

// vectors makes all vectors, from the tables of the page and from the codecs.
func vectors(t testing.TB) (all []vector) {
	t.Helper()
	tables := readTables(t)
	for _, c := range clientFrames {
		all = append(all, vector{c.name, "client", hex.EncodeToString(encode(t, tables, c.frame)), json.RawMessage(c.frame)})
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
	later := bintest.AppendText(binary.AppendEvent(nil, &pong), bintest.UnknownTag, []byte("later"))
	later = bintest.AppendInteger(later, bintest.UnknownTag, 1<<40)
	return append(all, vector{
		"PONG with fields of a later version", "server", hex.EncodeToString(later), text.AppendEvent(nil, &pong),
	})
}

func newBinary() *proto.Binary {
	limits := proto.DefaultLimits()
	return proto.NewBinary(&limits)
}

func TestBinaryVectors(t *testing.T) {
	all := vectors(t)
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
	binary, tables := newBinary(), readTables(t)
	var used proto.Command
	for _, test := range commandTests() {
		t.Run(test.name, func(t *testing.T) {
			frame := encode(t, tables, test.frame)
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
	tables := readTables(t)
	for _, v := range readVectors(t, "server") {
		t.Run(v.Name, func(t *testing.T) {
			got, err := tables.Decode(v.frame(t))
			if err != nil {
				t.Fatal(err)
			}
			decoder := json.NewDecoder(bytes.NewReader(v.JSON))
			decoder.UseNumber()
			var want map[string]any
			if err := decoder.Decode(&want); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("\n got %v\nwant %v", got, want)
			}
		})
	}
}

// No row of the page's tables is there for nothing, and no tag has two fields.
func TestBinaryTablesAreUsed(t *testing.T) {
	tables := readTables(t)
	type usage struct {
		direction string
		typ       byte
		tag       uint64
	}
	used := make(map[usage]bool)
	for _, direction := range []string{"client", "server"} {
		for _, v := range readVectors(t, direction) {
			err := tables.Visit(v.frame(t), func(typ byte, tag uint64) { used[usage{direction, typ, tag}] = true })
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	rows, laidOut := make(map[uint64]bool), make(map[uint64]bool)
	for _, f := range tables.Fields {
		if rows[f.Tag] {
			t.Errorf("the page lists tag %d twice", f.Tag)
		}
		rows[f.Tag] = true
	}
	for _, typ := range tables.Types {
		for direction, fields := range map[string]map[string][]uint64{"client": typ.Client, "server": typ.Server} {
			for name, tags := range fields {
				for _, tag := range tags {
					laidOut[tag] = true
					if name != "id" && !used[usage{direction, typ.Number, tag}] {
						t.Errorf("no vector of the %s shows %s with %s (%d)", direction, typ.Name, name, tag)
					}
				}
			}
		}
	}
	if !maps.Equal(rows, laidOut) {
		t.Errorf("the page lists the tags %v, and its layouts use %v", slices.Sorted(maps.Keys(rows)), slices.Sorted(maps.Keys(laidOut)))
	}
}

// The frames that the page shows are the vectors'.
func TestReferenceShowsVectors(t *testing.T) {
	all := append(readVectors(t, "client"), readVectors(t, "server")...)
	shown, err := bintest.Rows(readReference(t), "| frame | as JSON has it |")
	if err != nil {
		t.Fatal(err)
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
