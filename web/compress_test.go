package web_test

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/thronghq/throng/internal/throngtest"
)

// A browser agrees on permessage-deflate: its pages read compressed messages,
// live and as history, and what they send compressed arrives.
func TestCompressedRoomInABrowser(t *testing.T) {
	t.Parallel()
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--compress-enabled"}})
	chromium := startBrowser(t)
	ana := chromium.open("ana", server.URL(chatPath("ana", "lobby")))
	bob := chromium.open("bob", server.URL(chatPath("bob", "lobby")))
	ana.awaitOnline()
	bob.awaitOnline()

	const messages = 10
	client := throngtest.Dial(t, server.WSURL("/ws?user=cleo"), throngtest.DialOptions{})
	var want []row
	for i := range messages {
		text := fmt.Sprintf("%d %s", i, strings.Repeat("much alike ", 80)) + "."
		want = append(want, row{Offset: i + 1, From: "cleo", Text: text})
		client.Send(map[string]any{"type": "message", "id": "1", "to": "lobby", "content": text})
		client.Await("ack")
	}
	ana.awaitRows(messages)
	if live := counterOf(t, server, "throng_deflate_frames_total"); live != messages {
		t.Errorf("%d frames were compressed for %d messages to two windows", live, messages)
	}
	ana.say("said in the window")
	want = append(want, row{Offset: messages + 1, From: "ana", Text: "said in the window"})
	ana.awaitRows(len(want))
	bob.awaitRows(len(want))
	bob.navigate(server.URL(chatPath("bob", "lobby"))) // and reads it all again
	bob.awaitRows(len(want))
	for _, w := range []*window{ana, bob} {
		if got := w.rows(); !slices.Equal(got, want) {
			t.Errorf("%s shows %v, want %v", w.name, got, want)
		}
	}
	if counterOf(t, server, "throng_inflate_messages_total") == 0 {
		t.Error("the windows have compressed nothing")
	}
	if all := counterOf(t, server, "throng_deflate_frames_total"); all <= messages {
		t.Error("what was read again was not compressed")
	}
}

// counterOf reads one of the server's counters.
func counterOf(t *testing.T, server *throngtest.Server, name string) int {
	t.Helper()
	response, err := http.Get(server.URL("/metrics"))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^` + name + ` (\d+)$`).FindSubmatch(body)
	if found == nil {
		t.Fatalf("there is no counter %s", name)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
