package web_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"image"
	"image/png"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/thronghq/throng/internal/throngtest"
)

// keepBlobs lets a test look into the files that a page shows: no script of the
// page may fetch them.
const keepBlobs = `(() => {
	const made = new Map();
	const make = URL.createObjectURL;
	URL.createObjectURL = (blob) => {
		const url = make.call(URL, blob);
		made.set(url, blob);
		return url;
	};
	globalThis.hashOf = async (name) => {
		const link = [...document.querySelectorAll(".file a.text")].find((e) => e.textContent === name);
		const digest = await crypto.subtle.digest("SHA-256", await made.get(link.href).arrayBuffer());
		return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
	};
})()`

// openChat opens a window whose files can be looked into.
func (b *browser) openChat(name, url string) *window {
	b.t.Helper()
	w := b.open(name, "about:blank")
	w.before(keepBlobs)
	w.navigate(url)
	w.awaitOnline()
	return w
}

// give hands a file to the page, by "pick", "paste" or "drop".
func (w *window) give(way, name, mediaType string, content []byte) {
	w.t.Helper()
	w.eval(fmt.Sprintf(`(() => {
		const bytes = Uint8Array.from(atob(%q), (c) => c.charCodeAt(0));
		const files = new DataTransfer();
		files.items.add(new File([bytes], %q, {type: %q}));
		const input = document.getElementById("file");
		const text = document.getElementById("text");
		({
			pick: () => {
				input.files = files.files;
				input.dispatchEvent(new Event("change"));
			},
			paste: () => text.dispatchEvent(new ClipboardEvent("paste", {clipboardData: files, bubbles: true, cancelable: true})),
			drop: () => text.dispatchEvent(new DragEvent("drop", {dataTransfer: files, bubbles: true, cancelable: true})),
		})[%q]();
	})()`, base64.StdEncoding.EncodeToString(content), name, mediaType, way), nil)
}

// expectFile waits until the window has a file, and compares its bytes.
func (w *window) expectFile(name string, content []byte) {
	w.t.Helper()
	w.await(fmt.Sprintf(`[...document.querySelectorAll('.file[data-transfer="done"] a.text')].some((e) => e.textContent === %q)`, name))
	var got string
	w.eval(fmt.Sprintf("hashOf(%q)", name), &got)
	sum := sha256.Sum256(content)
	if want := hex.EncodeToString(sum[:]); got != want {
		w.t.Errorf("%s: %s has SHA-256 %s, want %s", w.name, name, got, want)
	}
}

func noise(n int, seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	content := make([]byte, n)
	rand.NewChaCha8(key).Read(content)
	return content
}

func noisyPicture(t *testing.T) []byte {
	t.Helper()
	picture := image.NewNRGBA(image.Rect(0, 0, 240, 180))
	copy(picture.Pix, noise(len(picture.Pix), 1))
	for i := 3; i < len(picture.Pix); i += 4 {
		picture.Pix[i] = 255
	}
	var encoded bytes.Buffer
	if err := png.Encode(&encoded, picture); err != nil {
		t.Fatal(err)
	}
	return encoded.Bytes()
}

func TestFilesAndPictures(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	chromium := startBrowser(t)
	ana := chromium.openChat("ana", server.URL(chatPath("ana", "lobby")))
	bob := chromium.openChat("bob", server.URL(chatPath("bob", "lobby")))
	picture, page, report := noisyPicture(t), []byte("<script>document.title = 'broken'</script>"), noise(500_000, 2)
	ana.say("before")
	ana.give("paste", "noise.png", "image/png", picture)
	ana.give("drop", "page.html", "text/html", page)
	ana.give("pick", "report.pdf", "application/pdf", report)

	expectAll := func(w *window) {
		t.Helper()
		w.expectFile("noise.png", picture)
		w.expectFile("page.html", page)
		w.expectFile("report.pdf", report)
		w.await(`(() => { const image = document.querySelector(".picture img"); return image.complete && image.naturalWidth === 240; })()`)
		w.await(`document.querySelectorAll(".message").length === 4 && document.querySelectorAll(".picture").length === 1`)
	}
	expectAll(bob)
	expectAll(ana)
	var download string
	bob.eval(`[...document.querySelectorAll(".file a.text")].find((e) => e.textContent === "page.html").download`, &download)
	if download != "page.html" {
		t.Errorf("page.html is offered as a download named %q", download)
	}

	// From the history, of another's and of one's own.
	bob.do(chromedp.Reload())
	expectAll(bob)
	ana.do(chromedp.Reload())
	expectAll(ana)
	ana.awaitText("#edge", "This is where lobby begins")

	ana.eval(`(() => {
		const files = new DataTransfer();
		files.items.add(new File([new Uint8Array(8 * 1024 * 1024 + 1)], "huge.bin"));
		const input = document.getElementById("file");
		input.files = files.files;
		input.dispatchEvent(new Event("change"));
	})()`, nil)
	ana.awaitText("#toast", "huge.bin is larger than 8 MiB")
	ana.give("pick", "empty.txt", "text/plain", nil)
	ana.awaitText("#toast", "empty.txt is empty")

	// To one person alone, with the ticks of a message.
	ana.write("bob")
	ana.give("pick", "secret.bin", "", report)
	ana.await(`document.querySelector(".message[data-state=delivered] .file[data-transfer=done]")`)
	bob.awaitText(`[data-address="user:ana"] .badge`, "1")
	bob.converse("user:ana")
	bob.expectFile("secret.bin", report)
}

// The server is killed when a file is half there. It arrives whole all the same,
// and a window that comes later gets it from the history.
func TestKillInTheMiddleOfATransfer(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "throng.toml")
	if err := os.WriteFile(config, []byte("[namespace.default]\ndurability = \"async\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--config", config}})
	link := newLink(t, server.Addr())
	chromium := startBrowser(t)
	bob := chromium.openChat("bob", server.URL(chatPath("bob", "lobby")))
	ana := chromium.openChat("ana", link.url(chatPath("ana", "lobby")))
	content := noise(2_000_000, 3)

	link.hold(1_400_000) // of 2.7 MB in base64
	ana.give("pick", "half.bin", "", content)
	bob.await(`document.querySelector(".file[data-transfer=receiving] progress")?.value > 0.4`)
	ana.await(`document.querySelector(".file[data-transfer=sending] progress")?.value > 0.4`)
	server.Kill()
	ana.awaitText("#state", "Offline")
	bob.awaitText("#state", "Offline")
	link.free()
	server.Restart()
	for _, w := range []*window{ana, bob} {
		w.hurry()
	}

	ana.expectFile("half.bin", content)
	bob.expectFile("half.bin", content)
	cleo := chromium.openChat("cleo", server.URL(chatPath("cleo", "lobby")))
	cleo.expectFile("half.bin", content)
	for _, w := range []*window{ana, bob, cleo} {
		w.await(`document.querySelectorAll(".file").length === 1`)
	}
}

// A page that goes away in the middle leaves a transfer that never ends, and
// one that lies leaves a broken one. Neither costs the others anything.
func TestTransfersThatDoNotEndWell(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	link := newLink(t, server.Addr())
	chromium := startBrowser(t)
	bob := chromium.openChat("bob", server.URL(chatPath("bob", "lobby")))
	ana := chromium.openChat("ana", link.url(chatPath("ana", "lobby")))

	link.hold(200_000)
	ana.give("pick", "half.bin", "", noise(500_000, 4))
	bob.await(`document.querySelector(".file[data-transfer=receiving] progress")?.value > 0`)
	link.cut()
	ana.navigate("about:blank")

	const id = "000102030405060708090a0b0c0d0e0f"
	liar := throngtest.Dial(t, server.WSURL("/ws?user=liar"), throngtest.DialOptions{})
	raw, err := hex.DecodeString(id)
	if err != nil {
		t.Fatal(err)
	}
	piece := append(append([]byte("tfp1"), raw...), 0, 0, 0, 0)
	liar.Send(map[string]any{"type": "message", "to": "lobby", "content": map[string]any{
		"file": map[string]any{"id": id, "name": "lie.bin", "type": "", "size": 10, "pieces": 1},
	}})
	liar.Await("ack")
	liar.Send(map[string]any{
		"type": "message", "to": "lobby", "encoding": "base64",
		"content": base64.StdEncoding.EncodeToString(append(piece, "more than ten bytes"...)),
	})
	liar.Await("ack")
	bob.await(`document.querySelector(".file[data-transfer=broken]")`)

	// Its time is over 31 s later.
	bob.before(`Date.now = ((now) => () => now() + 31_000)(Date.now)`)
	bob.do(chromedp.Reload())
	bob.awaitText(".file[data-transfer=incomplete]", "pieces came")
	bob.awaitText(".file[data-transfer=broken]", "Broken")
	bob.click(`[data-action="loadFile"]`)
	bob.await(`document.querySelector(".file[data-transfer=incomplete]")`)
	bob.say("life goes on")
	bob.awaitText(".own .text", "life goes on")
}
