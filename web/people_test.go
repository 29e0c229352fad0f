package web_test

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/thronghq/throng/internal/throngtest"
)

// people is what the panel lists, as one text a member.
const people = `[...document.querySelectorAll("#people li")].map((e) => [...e.querySelectorAll(".name, .aside")].map((e) => e.textContent).join(" ")).join("; ")`

func (w *window) awaitPeople(want string) {
	w.t.Helper()
	w.await(fmt.Sprintf("(%s) === %q", people, want))
}

func (w *window) setStatus(status string) {
	w.t.Helper()
	w.eval(fmt.Sprintf(`(() => {
		const select = document.getElementById("status");
		select.value = %q;
		select.dispatchEvent(new Event("change"));
	})()`, status), nil)
}

// write opens the direct conversation with a member by the panel.
func (w *window) write(user string) {
	w.t.Helper()
	w.click(fmt.Sprintf(`#people [data-user=%q]`, user))
	w.click("#person-write")
	w.awaitText("#room-name", user)
}

// converse shows the conversation of an address.
func (w *window) converse(address string) {
	w.t.Helper()
	w.click(fmt.Sprintf(`#conversations [data-address=%q]`, address))
	w.await(fmt.Sprintf(`document.querySelector('#conversations [data-address=%q][aria-current]')`, address))
}

func TestMembersAndTheirStatuses(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	ana.awaitPeople("ana you, host")
	ana.setStatus("away")
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	bob.awaitPeople("ana host, away; bob you")
	ana.awaitPeople("ana you, host, away; bob")
	bob.setStatus("busy")
	ana.awaitPeople("ana you, host, away; bob busy")
	ana.setStatus("online")
	bob.awaitPeople("ana host; bob you, busy")

	bob.do(chromedp.SendKeys(chromedp.CSS("#text"), "I am wri"))
	ana.awaitText("#typing", "bob is writing")
	bob.say("ting")
	ana.await(`document.getElementById("typing").textContent === ""`)

	// A status is the server's as well: a reload brings it from there.
	ana.do(chromedp.Reload())
	ana.awaitPeople("ana you, host; bob busy")
	bob.click("#leave")
	ana.awaitPeople("ana you, host")
	ana.awaitText("#presence", "bob left")
}

// Above 200 members the page has their number live, and the list when asked.
func TestManyMembers(t *testing.T) {
	t.Parallel()
	const crowd = 205
	server := throngtest.Start(t, throngtest.Options{})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	ana.awaitPeople("ana you, host")
	clients := make([]*throngtest.Client, crowd)
	for i := range clients {
		clients[i] = throngtest.Dial(t, server.WSURL(fmt.Sprintf("/ws?user=u%03d", i)), throngtest.DialOptions{})
		clients[i].Send(map[string]any{"type": "join", "room": "lobby"})
		clients[i].Await("joined")
	}
	ana.await(fmt.Sprintf(`document.getElementById("people-count").textContent === "%d"`, crowd+1))
	ana.awaitText("#presence", fmt.Sprintf("%d people", crowd+1))
	ana.click("#people-refresh")
	ana.await(fmt.Sprintf(`document.querySelectorAll("#people li").length === %d`, crowd+1))
	ana.awaitText("#people-hint", "as they were when this list was loaded")

	for _, client := range clients[:10] {
		client.Send(map[string]any{"type": "leave", "room": "lobby"})
		client.Await("left")
	}
	ana.awaitText("#people-count", "196")
	ana.await(`document.querySelectorAll("#people li").length === 196 && document.getElementById("people-refresh").hidden`)
}

func TestDirectConversation(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	link := newLink(t, server.Addr())
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	bob := chromium.open("bob", link.url(chatPath("bob", "lobby")))
	ana.awaitPeople("ana you, host; bob")
	bob.awaitPeople("ana host; bob you")

	// Sent, then delivered, and counted until it is looked at.
	ana.write("bob")
	ana.awaitText("#empty", "reaches this one person")
	ana.say("one")
	ana.say("two")
	ana.await(`document.querySelectorAll('.message[data-state=delivered] [aria-label="Delivered"]').length === 2`)
	bob.awaitText(`[data-address="user:ana"] .badge`, "2")
	bob.await(`document.title === "(2) lobby · bob"`)
	bob.await(`document.querySelectorAll(".message").length === 0`) // none of it in the room

	// A reload forgets neither what is unread nor what has arrived.
	bob.do(chromedp.Reload())
	bob.awaitText(`[data-address="user:ana"] .badge`, "2")
	bob.converse("user:ana")
	bob.awaitText(".other .text", "two")
	bob.await(`document.title === "ana · bob" && !document.querySelector(".entry .badge")`)
	ana.do(chromedp.Reload())
	ana.await(`document.querySelectorAll(".message[data-state=delivered]").length === 2`)
	ana.awaitText("#room-name", "bob")

	bob.do(chromedp.SendKeys(chromedp.CSS("#text"), "thr"))
	ana.awaitText("#typing", "bob is writing")
	bob.say("ee")
	ana.awaitText(".other .text", "three")

	// While bob is away nothing is delivered; a resume brings it, and the tick.
	link.cut()
	bob.awaitText("#state", "Offline")
	ana.say("while you are away")
	ana.await(`document.querySelectorAll(".own[data-state=done]").length === 1`)
	link.restore()
	bob.hurry()
	bob.awaitText(".other .text", "while you are away")
	ana.await(`document.querySelectorAll(".message[data-state=delivered]").length === 3`)

	// Each conversation keeps its own, and what is being written in it.
	ana.do(chromedp.SendKeys(chromedp.CSS("#text"), "unfinished"))
	ana.converse("lobby")
	ana.await(`document.getElementById("text").value === "" && document.querySelectorAll(".message").length === 0`)
	ana.say("for all")
	bob.awaitText(`[data-address="lobby"] .badge`, "1")
	bob.converse("lobby")
	bob.await(`!document.querySelector(".entry .badge")`)
	bob.awaitText(".other .text", "for all")
	ana.converse("user:bob")
	ana.await(`document.getElementById("text").value === "unfinished"`)

	// A name in the room leads to its conversation.
	bob.click(".author")
	bob.awaitText("#room-name", "ana")
	bob.awaitText(".own .text", "three")
}

// A conversation far back in an inbox that others wrote to since is found.
func TestDirectHistoryOfAnInboxThatOthersWroteTo(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	publish(t, server, "bob", "user:ana", "long ago")
	publish(t, server, "cleo", "user:ana", numbered("noise", 150)...)
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")+"&with=bob"))
	ana.awaitText(".other .text", "long ago")
	ana.awaitText("#edge", "This is where it begins")
	ana.await(`document.querySelectorAll(".message").length === 1`)
	ana.awaitText(`[data-address="user:cleo"] .badge`, "99+")
}

func TestHostControls(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	ana.awaitPeople("ana you, host")
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	bob.awaitPeople("ana host; bob you")
	deed := func(name, done string) {
		t.Helper()
		ana.click(`#people [data-user="bob"]`)
		ana.click(fmt.Sprintf("#person-deeds [data-deed=%s]", name))
		ana.awaitText("#toast", done)
	}
	bob.click(`#people [data-user="ana"]`)
	bob.await(`document.getElementById("person").open && document.getElementById("person-deeds").hidden`)
	bob.click("#person [data-close]")

	deed("mute", "bob cannot write here any more")
	bob.say("may I?")
	bob.awaitText(".trouble", "Not sent")
	deed("unmute", "bob can write here")
	bob.click(`[data-action="retry"]`)
	ana.awaitText(".other .text", "may I?")

	ana.click("#settings-open")
	ana.do(chromedp.SendKeys(chromedp.CSS("#max-users"), "2"))
	ana.enter()
	ana.awaitText("#toast", "2 people fit into the room")
	cleo := chromium.open("cleo", server.URL(chatPath("cleo", "lobby")))
	cleo.awaitText(".notice-text", "Waiting to join")
	cleo.click("#leave")

	deed("handOver", "bob is the host now")
	ana.awaitPeople("ana you; bob host")
	ana.await(`document.getElementById("settings-open").hidden`)
	bob.click(`#people [data-user="ana"]`)
	bob.click("#person-deeds [data-deed=kick]")
	ana.awaitText(".notice-text", "The room's host has put you out.")
	ana.await(`document.getElementById("text").disabled`)
	ana.awaitPeople("")
	bob.awaitPeople("bob you, host")
}
