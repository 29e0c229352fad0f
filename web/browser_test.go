package web_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/thronghq/throng/internal/throngtest"
)

func TestMain(m *testing.M) { throngtest.Main(m) }

// patience ends a test that waits in a page for what never comes. Under the
// race detector, on a machine with other work, a browser takes its time.
const patience = 90 * time.Second

// browser is one Chromium, with a new profile, for one test.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// startBrowser starts Chromium. It ends with the test. A machine without it
// fails the test: a page that no browser has opened is not tested.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("tests in a browser are not part of the short ones")
	}
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is not installed; this installs it: apt-get install -y chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("lang", "en-US"),
		chromedp.WindowSize(1000, 720),
	)
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium's sandbox refuses root
	}
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("chromium does not start: %v", err)
	}
	return &browser{t: t, ctx: ctx}
}

// window is one tab. Its methods fail the test where something goes wrong, and
// are for the test's own goroutine.
type window struct {
	t    *testing.T
	name string
	ctx  context.Context

	mu       sync.Mutex
	troubles []string // what the page complained of
}

// open opens a window, which the browser's other windows share storage with.
// Whatever the page breaks in it, an exception that nothing caught or the
// content security policy, fails the test at its end.
func (b *browser) open(name, url string) *window {
	b.t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	w := &window{t: b.t, name: name, ctx: ctx}
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatalf("%s: new window: %v", name, err)
	}
	console := chromedp.Console(ctx)
	var listener sync.WaitGroup
	listener.Go(func() {
		for message, err := range console {
			if err != nil {
				return // the window is closed
			}
			w.note(message)
		}
	})
	b.t.Cleanup(func() {
		cancel()
		listener.Wait()
		for _, trouble := range w.troubles {
			b.t.Errorf("%s: the page complained: %s", name, trouble)
		}
	})
	w.navigate(url)
	return w
}

func (w *window) note(message chromedp.ConsoleMessage) {
	if message.Type == chromedp.ConsoleException || strings.Contains(message.Text, "Content Security Policy") {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.troubles = append(w.troubles, message.Text)
	}
}

func (w *window) navigate(url string) {
	w.t.Helper()
	w.do(chromedp.Navigate(url))
}

func (w *window) do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
}

// eval runs JavaScript in the page, waits where it is a promise, and decodes
// the result into result, where that is not nil.
func (w *window) eval(script string, result any) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience+10*time.Second)
	defer cancel()
	raw, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](script, chromedp.EvalAwaitPromise, chromedp.EvalAsValue))
	if err != nil {
		w.t.Fatalf("%s: %v\nin %s", w.name, err, script)
	}
	if result == nil {
		return
	}
	if err := json.Unmarshal(raw, result); err != nil {
		w.t.Fatalf("%s: %v\nin %s", w.name, err, script)
	}
}

// await waits until a JavaScript expression is true in the page. It looks
// again whenever the document changes, not by the clock.
func (w *window) await(condition string) {
	w.t.Helper()
	var state string
	w.eval(fmt.Sprintf(`new Promise((resolve) => {
		const look = () => {
			let holds = false;
			try { holds = Boolean(%s); } catch { /* not there yet */ }
			if (holds) end("");
		};
		const end = (text) => {
			observer.disconnect();
			document.removeEventListener("scroll", look, true);
			clearTimeout(timer);
			resolve(text);
		};
		const observer = new MutationObserver(look);
		observer.observe(document, {subtree: true, childList: true, characterData: true, attributes: true});
		document.addEventListener("scroll", look, true);
		const timer = setTimeout(() => end(document.body.innerText.slice(-2000) || "an empty page"), %d);
		look();
	})`, condition, patience.Milliseconds()), &state)
	if state != "" {
		w.t.Fatalf("%s: not within %s: %s\nthe page shows:\n%s", w.name, patience, condition, state)
	}
}

// awaitText waits until an element shows a text.
func (w *window) awaitText(selector, text string) {
	w.t.Helper()
	w.await(fmt.Sprintf(`[...document.querySelectorAll(%q)].some((e) => !e.closest("[hidden]") && e.textContent.includes(%q))`, selector, text))
}

// enter presses the enter key in the focused element, as a keyboard does: one
// event, which the page may take for itself.
func (w *window) enter() {
	w.t.Helper()
	for _, kind := range []input.DispatchKeyEventType{input.DispatchKeyEventTypeKeyDown, input.DispatchKeyEventTypeKeyUp} {
		_, err := chromedp.Call(w.ctx, input.DispatchKeyEvent, input.DispatchKeyEventParams{
			Type: kind, Key: "Enter", Code: "Enter", Text: "\r", WindowsVirtualKeyCode: 13,
		})
		if err != nil {
			w.t.Fatalf("%s: enter: %v", w.name, err)
		}
	}
}

// say types a message and sends it by the keyboard.
func (w *window) say(text string) {
	w.t.Helper()
	w.do(chromedp.SendKeys(chromedp.CSS("#text"), text))
	w.enter()
	w.await(`document.getElementById("text").value === ""`)
}

// row is one message as a window shows it.
type row struct {
	Offset int    `json:"offset"`
	From   string `json:"from"`
	Text   string `json:"text"`
}

// rows returns the messages with an offset that the window shows, in order.
func (w *window) rows() []row {
	w.t.Helper()
	var rows []row
	w.eval(`[...document.querySelectorAll("#timeline .message[data-offset]")].map((e) => ({
		offset: Number(e.dataset.offset), from: e.dataset.from, text: e.querySelector(".text").textContent,
	}))`, &rows)
	return rows
}

// awaitRows waits until the window shows that many messages with an offset,
// and none that is still on its way.
func (w *window) awaitRows(n int) {
	w.t.Helper()
	w.await(fmt.Sprintf(`document.querySelectorAll("#timeline .message[data-offset]").length === %d &&
		document.querySelectorAll("#timeline .message:not([data-state=done])").length === 0`, n))
}

// before runs JavaScript in each page that the window opens from now on, before
// the page's own.
func (w *window) before(script string) {
	w.t.Helper()
	_, err := chromedp.Call(w.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script})
	if err != nil {
		w.t.Fatalf("%s: %v", w.name, err)
	}
}

// click clicks an element, once it is there.
func (w *window) click(selector string) {
	w.t.Helper()
	w.do(chromedp.Click(chromedp.CSS(selector)))
}

// hurry has the window try now to connect again, if it still waits to.
func (w *window) hurry() {
	w.t.Helper()
	w.eval(`document.getElementById("state").click()`, nil)
}

// awaitOnline waits until the window has joined its room.
func (w *window) awaitOnline() {
	w.t.Helper()
	w.await(`document.getElementById("state").dataset.state === "online"`)
}
