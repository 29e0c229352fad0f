package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/thronghq/throng/internal/throngtest"
)

// tab is one page in Chromium, for one test.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	troubles []string // what the page complained of
}

// openTab starts Chromium with a new profile and opens a page. Whatever the page
// complains of on its console, errors and the content security policy among it,
// fails the test at its end. A machine without Chromium fails the test: a page
// that no browser has opened is not tested.
func openTab(t *testing.T, url string) *tab {
	t.Helper()
	if testing.Short() {
		t.Skip("tests in a browser are not part of the short ones")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed; this installs it: apt-get install -y chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.DisableGPU, chromedp.Flag("disable-component-update", true), chromedp.Flag("lang", "en-US"))
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	tab := &tab{t: t, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	console := chromedp.Console(ctx)
	var listener sync.WaitGroup
	listener.Go(func() {
		for message, err := range console {
			if err != nil {
				return // the page is closed
			}
			tab.mu.Lock()
			tab.troubles = append(tab.troubles, fmt.Sprint(message.Type, ": ", message.Text))
			tab.mu.Unlock()
		}
	})
	t.Cleanup(func() {
		cancel()
		listener.Wait()
		for _, trouble := range tab.troubles {
			t.Errorf("the page complained: %s", trouble)
		}
	})
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return tab
}

// eval runs JavaScript in the page, waits where it is a promise, and decodes its
// result.
func (tab *tab) eval(script string, result any) {
	tab.t.Helper()
	ctx, cancel := context.WithTimeout(tab.ctx, restPatience)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](script, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
	if err == nil && result != nil {
		err = json.Unmarshal(raw, result)
	}
	if err != nil {
		tab.t.Fatalf("%v\nin %s", err, script)
	}
}

// await waits until an expression is true, looking whenever the page changes.
func (tab *tab) await(condition string) {
	tab.t.Helper()
	tab.eval(fmt.Sprintf(`new Promise((resolve) => {
		const look = () => { if (%s) { observer.disconnect(); resolve(true); } };
		const observer = new MutationObserver(look);
		observer.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
		look();
	})`, condition), nil)
}

// TestDocsInABrowser opens the page that shows the API, finds all operations and
// errors on it, and tries two of them.
func TestDocsInABrowser(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	d := newDriver(s)
	page := openTab(t, s.URL("/api/v1/docs"))
	page.await(`!document.getElementById("main").hasAttribute("aria-busy")`)
	var shown struct {
		Trouble    string   `json:"trouble"`
		Operations []string `json:"operations"`
		Errors     int      `json:"errors"`
	}
	page.eval(`({
		trouble: document.getElementById("trouble").textContent,
		operations: [...document.querySelectorAll(".operation")].map((e) => e.id),
		errors: document.querySelectorAll('[id^="error-"]').length,
	})`, &shown)
	if shown.Trouble != "" || len(shown.Operations) != len(d.operations) || shown.Errors < 40 {
		t.Errorf("the page shows %q, %d operations of %d, %d errors", shown.Trouble, len(shown.Operations), len(d.operations), shown.Errors)
	}
	// Everything opens.
	var empty []string
	page.eval(`(async () => {
		const empty = [];
		for (const e of document.querySelectorAll(".operation")) {
			await new Promise((resolve) => { e.addEventListener("toggle", resolve, {once: true}); e.open = true; });
			if (!e.querySelector(".try")) empty.push(e.id);
		}
		return empty;
	})()`, &empty)
	if len(empty) > 0 {
		t.Errorf("there is no form for %q", empty)
	}
	// A problem's type leads to its error.
	problem := s.refused(http.StatusNotFound, "not_found", getting("/rooms/none", s.admin)).body.Text("type")
	page.eval(fmt.Sprintf(`(location.hash = %q, 1)`, problem[strings.Index(problem, "#"):]), nil)
	page.await(`document.querySelector(":target")?.textContent.includes("404")`)
	// A try without a token, and with one.
	try := func(id string) string {
		var text string
		page.eval(fmt.Sprintf(`document.querySelector("#%s .try").requestSubmit()`, id), nil)
		page.await(fmt.Sprintf(`document.querySelector("#%s .answer .status") && !document.querySelector("#%s .primary").disabled`, id, id))
		page.eval(fmt.Sprintf(`document.querySelector("#%s .answer").textContent`, id), &text)
		return text
	}
	page.eval(fmt.Sprintf(`(() => {
		const input = document.getElementById("token");
		input.value = %q;
		input.dispatchEvent(new Event("input"));
	})()`, s.user("ada")), nil)
	if text := try("publishMessage"); !strings.Contains(text, "201") || !strings.Contains(text, "msgId") {
		t.Errorf("publishing on the page shows %s", text)
	}
	if text := try("getMe"); !strings.Contains(text, `"userId": "ada"`) {
		t.Errorf("asking who one is shows %s", text)
	}
	if n := len(offsetsIn(s.want(http.StatusOK, getting("/rooms/lobby/messages", s.admin)))); n != 1 {
		t.Errorf("the page published %d messages", n)
	}
	// The command for a shell names no token.
	var command string
	page.eval(`document.querySelector("#publishMessage .try pre").textContent`, &command)
	if !strings.HasPrefix(command, "curl -X POST") || strings.Contains(command, s.user("ada")[:20]) || !strings.Contains(command, "$TOKEN") {
		t.Errorf("the command is %s", command)
	}
}

// TestEventSourceInABrowser: the browser's own reader of server-sent events goes
// on over kill -9, without a loss and without a duplicate.
func TestEventSourceInABrowser(t *testing.T) {
	s := startREST(t, "", throngtest.Options{})
	bob := s.user("bob")
	const room = "safe:source"
	publish := func(from, to int) {
		for i := from; i <= to; i++ {
			s.want(http.StatusCreated, post("/rooms/"+room+"/messages", bob, fields{"content": fmt.Sprint("message ", i)}))
		}
	}
	publish(1, 1)
	page := openTab(t, s.URL("/api/v1/docs"))
	// What comes is written into the page, which await looks at.
	page.eval(fmt.Sprintf(`(() => {
		const list = document.body.appendChild(document.createElement("ol"));
		list.id = "seen";
		const note = (kind) => (event) => {
			const item = list.appendChild(document.createElement("li"));
			const data = JSON.parse(event.data);
			item.dataset.kind = kind;
			item.dataset.offset = data.offset;
			item.dataset.recovered = data.recovered;
			item.textContent = data.content ?? "";
		};
		window.source = new EventSource("/api/v1/rooms/%s/events?token=%s");
		for (const kind of ["joined", "message", "gap"]) source.addEventListener(kind, note(kind));
		return 1;
	})()`, room, s.user("ada")), nil)
	count := func(kind string, n int) {
		t.Helper()
		page.await(fmt.Sprintf(`document.querySelectorAll('#seen [data-kind=%q]').length >= %d`, kind, n))
	}
	count("joined", 1)
	publish(2, 10)
	count("message", 9)
	for life := range 2 {
		s.Kill()
		s.Restart()
		publish(11+10*life, 20+10*life)
		count("joined", 2+life)
		count("message", 19+10*life)
	}
	var seen []struct{ Kind, Offset, Recovered, Text string }
	page.eval(`(source.close(), [...document.querySelectorAll("#seen li")].map((e) => ({...e.dataset, text: e.textContent})))`, &seen)
	next := 2
	for i, event := range seen {
		switch {
		case event.Kind == "joined" && (event.Recovered == "true") == (i > 0):
		case event.Kind == "message" && event.Offset == fmt.Sprint(next) && event.Text == fmt.Sprint("message ", next):
			next++
		default:
			t.Fatalf("the %d. event is %v; the message %d was next", i, event, next)
		}
	}
	page.mu.Lock()
	defer page.mu.Unlock()
	// That the server was gone is no fault of the page's.
	kept := page.troubles[:0]
	for _, trouble := range page.troubles {
		if !strings.Contains(trouble, "ERR_CONNECTION_REFUSED") && !strings.Contains(trouble, "ERR_INCOMPLETE_CHUNKED_ENCODING") && !strings.Contains(trouble, "ERR_CONNECTION_RESET") {
			kept = append(kept, trouble)
		}
	}
	page.troubles = kept
}
