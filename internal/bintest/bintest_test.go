package bintest_test

import (
	"encoding/hex"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/bintest"
)

const page = "# A page\n\n" +
	"| type | number | client | server |\n|---|---|---|---|\n" +
	"| `post` | 4 | `to` 3, `content` 8 or 9 | `to` 3, `list` 20 |\n" +
	"| `hello` | 12 | | `to` 3, `ok` 7, and the limits, 64 to 65 |\n\n" +
	"| field | tag | form |\n|---|---|---|\n" +
	"| `id` | 1 | string |\n| `to` | 3 | string |\n| `ok` | 7 | boolean |\n" +
	"| `content` | 8 | json |\n| `content` | 9 | bytes |\n| `list` | 20 | frames |\n" +
	"| `limits.a` | 64 | integer |\n| `limits.b` | 65 | integer |\n"

func read(t *testing.T) *bintest.Codec {
	t.Helper()
	codec, err := bintest.Read(page)
	if err != nil {
		t.Fatal(err)
	}
	return codec
}

func TestEncode(t *testing.T) {
	for frame, want := range map[string]string{
		`{"type":"post","content":[1, 2],"to":"a","id":"7"}`:            "04" + "030137" + "070161" + "11065b312c20325d",
		`{"type":"post","content":"AP8=","to":"a","encoding":"base64"}`: "04" + "070161" + "130200ff",
		`{"type":"post","to":5}`:                                        "04" + "e9070135", // not in the table's form
	} {
		got, err := read(t).Encode([]byte(frame))
		if err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%s: %x, %v; want %s", frame, got, err, want)
		}
	}
	for _, frame := range []string{`{`, `{}`, `{"type":"hello"}`, `{"type":"post","encoding":"base64","content":"?"}`} {
		if got, err := read(t).Encode([]byte(frame)); err == nil {
			t.Errorf("%s becomes %x", frame, got)
		}
	}
}

func TestDecode(t *testing.T) {
	got, err := read(t).Decode([]byte{12, 7, 1, 'a', 14, 1, 0x80, 1, 5, 0x82, 1, 0xff, 1})
	want := map[string]any{"type": "hello", "to": "a", "ok": true, "limits": map[string]any{"a": json.Number("5"), "b": json.Number("255")}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	got, err = read(t).Decode([]byte{4, 7, 1, 'a', 41, 4, 4, 7, 1, 'b', 41, 1, 4})
	want = map[string]any{"type": "post", "to": "a", "list": []any{
		map[string]any{"type": "post", "to": "b", "list": []any{}}, map[string]any{"type": "post", "list": []any{}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// What the tables do not allow fails, so that a test notices it.
func TestDecodeErrors(t *testing.T) {
	for name, frame := range map[string][]byte{
		"is empty":           {},
		"no event":           {13},
		"ends within a key":  {12, 0x80},
		"within an integer":  {12, 14, 0x80},
		"a length of 2":      {12, 7, 2, 'a'},
		"not in the table":   {12, 32, 1},
		"type's layout":      {12, 17, 1, '1'},
		"comes after tag 7":  {12, 14, 1, 7, 1, 'a'},
		"comes after tag 3":  {12, 7, 1, 'a', 7, 1, 'a'},
		"does not say":       {12, 6, 1},
		"list: no event":     {4, 41, 1, 9},
		"list: the frame is": {4, 41, 0},
	} {
		if got, err := read(t).Decode(frame); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%x: %v, %v; want an error that says %q", frame, got, err, name)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for name, bad := range map[string]string{
		"needs one table": strings.Replace(page, "| field | tag", "| fields | tag", 1),
		"not 4 cells":     strings.Replace(page, "| 4 | `to` 3,", "| `to` 3,", 1),
		"type post":       strings.Replace(page, "`to` 3, `list`", "`to` three, `list`", 1),
		"field ok":        strings.Replace(page, "| 7 |", "| seven |", 1),
		"type hello":      strings.Replace(page, "64 to 65", "64 or 65", 1),
		"the header":      page + "\n| field | tag | form |\n", // a second one
	} {
		if _, err := bintest.Read(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%v; want an error that says %q", err, name)
		}
	}
}
