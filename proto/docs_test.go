package proto_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/doctest"
	"github.com/thronghq/throng/proto"
)

func readReference(t testing.TB) string {
	t.Helper()
	page, err := os.ReadFile("../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

// section returns a chapter of the page, up to the next one of its level.
func section(t testing.TB, page, title string) string {
	t.Helper()
	_, rest, found := strings.Cut(page, "\n## "+title+"\n")
	if !found {
		t.Fatalf("the page has no chapter %q", title)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// rows returns the cells of the table rows that begin with a name in code.
func rows(text string) (table [][]string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `")
		}
		table = append(table, cells)
	}
	return table
}

func TestReferenceListsEveryError(t *testing.T) {
	number := func(n int) string {
		if n == 0 {
			return ""
		}
		return fmt.Sprint(n)
	}
	yes := map[bool]string{true: "yes", false: "no"}
	var want [][]string
	for _, c := range proto.Codes {
		want = append(want, []string{c.Name, c.Reason, number(int(c.Close)), number(c.HTTP), yes[c.Reconnect], yes[c.Retry]})
	}
	got := rows(section(t, readReference(t), "Errors"))
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(want):
			t.Errorf("the page lists %q, which is not in the registry", got[i])
		case i >= len(got):
			t.Errorf("the page does not list %q", want[i])
		case !slices.Equal(got[i], want[i]):
			t.Errorf("the page says %q, the registry %q", got[i], want[i])
		}
	}
}

func TestReferenceListsEveryLimit(t *testing.T) {
	limits := proto.DefaultLimits()
	frame := newCodec().AppendEvent(nil, &proto.Event{Type: proto.EvSession, Session: &proto.SessionInfo{Limits: &limits}})
	var session struct{ Limits map[string]json.Number }
	if err := json.Unmarshal(frame, &session); err != nil {
		t.Fatal(err)
	}
	listed := make(map[string]bool)
	for _, row := range rows(section(t, readReference(t), "Limits")) {
		listed[row[0]] = true
		if got, ok := session.Limits[row[0]]; !ok || got.String() != row[1] {
			t.Errorf("limit %s: the page says %s, session %s", row[0], row[1], got)
		}
	}
	for name := range session.Limits {
		if !listed[name] {
			t.Errorf("the page does not list limit %s", name)
		}
	}
}

func TestReferenceNamesEveryCloseCode(t *testing.T) {
	listed := section(t, readReference(t), "Close codes")
	for _, c := range proto.Codes {
		if c.Close != 0 && !strings.Contains(listed, fmt.Sprintf("| %d | `%s` |", c.Close, c.Name)) {
			t.Errorf("the page does not list close code %d of %s", c.Close, c.Name)
		}
	}
}

func TestReferenceNamesEveryFrame(t *testing.T) {
	page := readReference(t)
	page = strings.Replace(page, section(t, page, "Binary"), "", 1) // whose tables name them all
	for c := proto.CmdNone + 1; c <= proto.CmdPing; c++ {
		if !strings.Contains(page, "`"+c.String()+"`") {
			t.Errorf("the page does not name command %s", c)
		}
	}
	for ev := proto.EvNone + 1; ev <= proto.EvError; ev++ {
		if !strings.Contains(page, "`"+ev.String()+"`") && !strings.Contains(page, `"type":"`+ev.String()+`"`) {
			t.Errorf("the page does not name event %s", ev)
		}
	}
}

// The end-to-end tests run these conversations; here they only have to be in
// order, and to show each command that is served.
func TestReferenceShowsEveryCommand(t *testing.T) {
	sequences, err := doctest.Sequences([]byte(readReference(t)))
	if err != nil {
		t.Fatal(err)
	}
	shown := make(map[string]bool)
	for _, s := range sequences {
		for _, step := range s.Steps {
			var frame struct{ Type string }
			if !step.Server && json.Unmarshal(step.JSON, &frame) == nil {
				shown[frame.Type] = true
			}
		}
	}
	for _, name := range []string{"auth", "join", "leave", "message", "history", "ack", "host", "PING"} {
		if !shown[name] {
			t.Errorf("no sequence shows %s", name)
		}
	}
}
