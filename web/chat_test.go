package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/thronghq/throng/internal/throngtest"
)

// chatPath is the page's address for a user in a room.
func chatPath(name, room string) string {
	return "/?" + url.Values{"name": {name}, "room": {room}}.Encode()
}

// history returns the whole history of a room, as a client of its own reads it.
func history(t *testing.T, server *throngtest.Server, room string) []row {
	t.Helper()
	client := throngtest.Dial(t, server.WSURL("/ws?user=reader"), throngtest.DialOptions{})
	client.Send(map[string]any{"type": "history", "id": "all", "room": room, "limit": 1000})
	messages, _ := client.Await("history")["messages"].([]any)
	rows := make([]row, len(messages))
	for i, message := range messages {
		frame := throngtest.Frame(message.(map[string]any))
		rows[i] = row{Offset: int(frame.Int("offset")), From: frame.Text("from"), Text: frame.Text("content")}
	}
	client.Close()
	return rows
}

// publish sends messages into a room by a client of its own, and returns once
// all are acknowledged.
func publish(t *testing.T, server *throngtest.Server, user, room string, texts ...string) {
	t.Helper()
	client := throngtest.Dial(t, server.WSURL("/ws?user="+url.QueryEscape(user)), throngtest.DialOptions{})
	for _, text := range texts {
		client.Send(map[string]any{"type": "message", "id": text, "to": room, "content": text})
	}
	for range texts {
		client.Await("ack")
	}
	client.Close()
}

func numbered(prefix string, n int) []string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = fmt.Sprintf("%s %d", prefix, i+1)
	}
	return texts
}

func TestTwoWindowsTalk(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	ana.awaitText("#empty", "Nobody has said anything yet")
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	ana.awaitText("#presence", "2 people")
	bob.awaitText("#presence", "2 people")

	const markup = `<img src=x onerror="document.title='broken'"> & <b>bold</b>`
	ana.say("hello")
	bob.awaitText(".other .text", "hello")
	bob.say(markup)
	ana.awaitText(".other .text", markup)
	for i := range 5 {
		ana.say(fmt.Sprintf("ana %d", i))
		bob.say(fmt.Sprintf("bob %d", i))
	}
	ana.awaitRows(12)
	bob.awaitRows(12)

	rows := ana.rows()
	if got := bob.rows(); !slices.Equal(got, rows) {
		t.Errorf("the windows differ:\nana: %v\nbob: %v", rows, got)
	}
	for i, row := range rows {
		if row.Offset != i+1 {
			t.Errorf("row %d has offset %d, want %d", i, row.Offset, i+1)
		}
	}
	var titles []string
	ana.eval(`[document.title, String(document.querySelectorAll("#timeline img, #timeline b").length)]`, &titles)
	if want := []string{"lobby · ana", "0"}; !slices.Equal(titles, want) {
		t.Errorf("title and number of elements made from a message: %q, want %q", titles, want)
	}

	bob.do(chromedp.Click(chromedp.CSS("#leave")))
	bob.await(`!document.getElementById("welcome").hidden`)
	ana.awaitText("#presence", "nobody else is here")
}

// Both windows write as fast as they can when the server is killed. Everything
// that was written, before and while it is gone, is there once when it is back:
// with sync because no acknowledged message is lost, with async, which may lose
// its last milliseconds, because the windows send those again.
func TestKillInTheMiddleOfTheChat(t *testing.T) {
	t.Parallel()
	for _, durability := range []string{"sync", "async"} {
		t.Run(durability, func(t *testing.T) {
			t.Parallel()
			killInTheMiddle(t, durability)
		})
	}
}

func killInTheMiddle(t *testing.T, durability string) {
	const each = 60
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, fmt.Appendf(nil, "[namespace.default]\ndurability = %q\n", durability), 0o600); err != nil {
		t.Fatal(err)
	}
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config}})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	ana.awaitOnline()
	bob.awaitOnline()

	// One message a frame, from both, while the server goes away.
	chatter := fmt.Sprintf(`(() => {
		const field = document.getElementById("text");
		let left = %d;
		const speak = () => {
			field.value = "chatter " + left;
			document.getElementById("composer").requestSubmit();
			if (--left > 0) requestAnimationFrame(speak);
			else document.body.dataset.spoken = "";
		};
		speak();
	})()`, each)
	ana.eval(chatter, nil)
	bob.eval(chatter, nil)
	bob.await(`document.querySelectorAll("#timeline .other[data-offset]").length >= 10`)
	server.Kill()
	ana.awaitText("#state", "Offline, next try in")
	bob.awaitText("#state", "Offline, next try in")
	ana.await(`"spoken" in document.body.dataset`)
	bob.await(`"spoken" in document.body.dataset`)
	ana.say("written while the server is gone")
	ana.await(`document.querySelector("#timeline .own[data-state=waiting]")`)
	server.Restart()

	const total = 2*each + 1
	for _, w := range []*window{ana, bob} {
		w.awaitOnline()
		w.awaitText(".notice-text", "Reconnected: ")
		w.await(fmt.Sprintf(`document.querySelector('#timeline .message[data-offset="%d"]')`, total))
		w.await(`document.querySelectorAll("#timeline .message:not([data-state=done])").length === 0`)
	}
	all := history(t, server, "lobby")
	expectOnce(t, all, each)
	cleo := chromium.open("cleo", server.URL(chatPath("cleo", "lobby")))
	cleo.awaitOnline()
	cleo.await(fmt.Sprintf(`document.querySelector('#timeline .message[data-offset="%d"]')`, total))
	for _, w := range []*window{ana, bob, cleo} {
		// A window that could not resume, and a fresh one, show the last page.
		got := w.rows()
		if tail := all[max(0, len(all)-len(got)):]; !slices.Equal(got, tail) {
			t.Errorf("%s shows\n%v\nwant\n%v", w.name, got, tail)
		}
		if w != cleo && durability == "sync" && len(got) != total {
			t.Errorf("%s shows %d messages, want all %d: nothing was lost, so it had to resume", w.name, len(got), total)
		}
	}
}

// expectOnce checks that the history holds what both said, each once, and the
// message that was written offline.
func expectOnce(t *testing.T, history []row, each int) {
	t.Helper()
	want := map[row]int{{From: "ana", Text: "written while the server is gone"}: 1}
	for i := range each {
		for _, from := range []string{"ana", "bob"} {
			want[row{From: from, Text: fmt.Sprintf("chatter %d", i+1)}] = 1
		}
	}
	for i, row := range history {
		if row.Offset != i+1 {
			t.Errorf("message %d of the history has offset %d", i+1, row.Offset)
		}
		row.Offset = 0
		want[row]--
	}
	for row, left := range want {
		if left != 0 {
			t.Errorf("%s's %q is there %d times, want once", row.From, row.Text, 1-left)
		}
	}
}

// A window whose link breaks, while the others go on, is told how much it
// missed, and what was written in it meanwhile arrives once.
func TestLinkBreaks(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	link := newLink(t, server.Addr())
	chromium := startBrowser(t)
	ana := chromium.open("ana", link.url(chatPath("ana", "lobby")))
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	ana.awaitOnline()
	bob.awaitOnline()
	ana.say("before")
	bob.awaitText(".other .text", "before")

	link.cut()
	ana.awaitText("#state", "Offline, next try in")
	ana.say("from the dark")
	publish(t, server, "cleo", "lobby", numbered("missed", 12)...)
	bob.awaitRows(13)
	link.restore()
	ana.hurry()
	ana.awaitText(".notice-text", "Reconnected: recovered 12 messages")
	ana.awaitRows(14)
	bob.awaitRows(14)
	rows := ana.rows()
	if got := bob.rows(); !slices.Equal(got, rows) {
		t.Errorf("the windows differ:\nana: %v\nbob: %v", rows, got)
	}
	if last := rows[13]; last != (row{Offset: 14, From: "ana", Text: "from the dark"}) {
		t.Errorf("the last message is %v, want the one written offline", last)
	}
}

// A message that is deleted leaves all windows, and comes back in none.
func TestDeletedMessage(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	ana.awaitOnline()
	bob.awaitOnline()
	ana.say("a secret")
	ana.say("no secret")
	bob.awaitRows(2)

	request, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, server.URL("/api/v1/rooms/lobby/messages/1?user=ana"), nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusNoContent {
		t.Fatalf("the deletion was answered with %s", answer.Status)
	}
	want := []row{{1, "ana", "This message was deleted"}, {2, "ana", "no secret"}}
	cleo := chromium.open("cleo", server.URL(chatPath("cleo", "lobby")))
	for _, w := range []*window{ana, bob, cleo} {
		w.awaitText("#timeline .deleted .text", want[0].Text)
		w.awaitRows(2)
		if got := w.rows(); !slices.Equal(got, want) {
			t.Errorf("%s shows %v, want %v", w.name, got, want)
		}
	}
}

func TestHistoryScrollAndReload(t *testing.T) {
	t.Parallel()
	const total = 700
	server := throngtest.Start(t, throngtest.Options{})
	publish(t, server, "bob", "lobby", numbered("line", total)...)
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	last := fmt.Sprintf(`#timeline .message[data-offset="%d"]`, total)
	atEnd := fmt.Sprintf(`(() => {
		const {bottom} = document.querySelector(%q).getBoundingClientRect();
		return bottom <= document.getElementById("scroller").getBoundingClientRect().bottom;
	})()`, last)
	ana.await(atEnd)

	// Up to the first message, a step with each change of the list.
	seen := map[int]string{}
	const most = 240
	for first := total + 1; first > 1; {
		rows := ana.rows()
		if len(rows) > most {
			t.Fatalf("%d rows stand in the document, want at most %d", len(rows), most)
		}
		for i, row := range rows {
			seen[row.Offset] = row.Text
			if row.Offset != rows[0].Offset+i {
				t.Fatalf("offset %d stands at row %d, after %d", row.Offset, i, rows[0].Offset)
			}
		}
		first = rows[0].Offset
		if first == 1 {
			break
		}
		ana.eval(`document.getElementById("scroller").scrollTop = 0`, nil)
		ana.await(fmt.Sprintf(`Number(document.querySelector("#timeline .message[data-offset]").dataset.offset) < %d`, first))
	}
	ana.awaitText("#edge", "This is where lobby begins")
	if len(seen) != total || seen[1] != "line 1" || seen[total] != fmt.Sprintf("line %d", total) {
		t.Errorf("%d messages were shown, the first %q, the last %q; want all %d", len(seen), seen[1], seen[total], total)
	}

	// New ones do not move what is read; the pill leads to them.
	var before, after float64
	const place = `document.querySelector('#timeline .message[data-offset="3"]').getBoundingClientRect().top`
	ana.eval(place, &before)
	publish(t, server, "bob", "lobby", "news", "more news")
	ana.awaitText("#pill", "2 new messages")
	if ana.eval(place, &after); before != after {
		t.Errorf("the message that is being read moved from %v to %v", before, after)
	}
	ana.do(chromedp.Click(chromedp.CSS("#pill")))
	ana.awaitText(".other .text", "more news")
	ana.await(`document.getElementById("pill").hidden`)

	ana.do(chromedp.Reload())
	ana.awaitText(".other .text", "more news")
	ana.awaitText("#presence", "You are ana")
	rows := ana.rows()
	if last := rows[len(rows)-1]; last != (row{Offset: total + 2, From: "bob", Text: "more news"}) {
		t.Errorf("after the reload the last message is %v", last)
	}
}

func TestErrorsAreShown(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{NoDev: true})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL("/"))
	ana.await(`!document.getElementById("welcome").hidden`)
	ana.do(chromedp.SendKeys(chromedp.CSS("#name"), "ana"))
	ana.enter()
	ana.awaitText("#enter-error", "This server asks who you are.")
	ana.click("#token-field summary")

	ana.do(chromedp.SendKeys(chromedp.CSS("#token"), "not-a-token"))
	ana.enter()
	ana.awaitText("#enter-error", "token")
	ana.await(`document.getElementById("token").value === ""`)

	code, token, complaint := throngtest.Run(t, nil, "token", "--user", "ana", "--ttl", "1h", "--data-dir", server.DataDir)
	if code != 0 {
		t.Fatalf("throng token: exit code %d: %s", code, complaint)
	}
	ana.do(chromedp.SetValue(chromedp.CSS("#token"), strings.TrimSpace(token)))
	ana.do(chromedp.Focus(chromedp.CSS("#token")))
	ana.enter()
	ana.awaitOnline()
	ana.say("with a token")
	ana.awaitRows(1)

	ana.eval(`(() => {
		const field = document.getElementById("text");
		field.value = "é".repeat(40_000);
		field.dispatchEvent(new Event("input"));
	})()`, nil)
	ana.awaitText("#composer-hint", "Too long by 14,466 bytes of 65,536")
	ana.await(`document.getElementById("send").disabled`)

	ana.navigate(server.URL(chatPath("ana", "nowhere:room")))
	ana.awaitText("#enter-error", "namespace")
}
