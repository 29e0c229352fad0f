package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

// webhook is an endpoint that the server tells what happens. It answers with
// the status that the test wants, and notes the ids of what it took.
type webhook struct {
	server *httptest.Server
	status atomic.Int32
	taken  chan string // the webhook-id of each request that got a 2xx
}

func startWebhook(t *testing.T) *webhook {
	t.Helper()
	h := &webhook{taken: make(chan string, 1000)}
	h.status.Store(http.StatusUnprocessableEntity) // such an answer is for good
	h.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := int(h.status.Load())
		w.WriteHeader(status)
		if status < 300 {
			h.taken <- r.Header.Get("Webhook-Id")
		}
	}))
	t.Cleanup(h.server.Close)
	return h
}

// config names the endpoint.
func (h *webhook) config() string {
	return fmt.Sprintf(`
[webhook.audit]
url = %q
secret = "a secret of twenty-four bytes or more"
events = ["message"]
allow_private = true
`, h.server.URL)
}

// driveWebhooks lets two events die, replays one, and gives the other up.
func (d *driver) driveWebhooks(h *webhook) {
	name := values{"name": "audit"}
	d.do("listWebhooks", http.StatusOK, d.admin, nil, nil)
	d.do("getWebhook", http.StatusOK, d.admin, name, nil)
	d.do("getWebhook", http.StatusNotFound, d.admin, values{"name": "none"}, nil)
	d.do("getWebhook", http.StatusForbidden, d.user("ada"), name, nil)
	for _, room := range []string{"hooked", "hooked too"} {
		d.do("publishMessage", http.StatusCreated, d.user("ada"), values{"room": room}, fields{"content": "to be told"})
	}
	letters := d.awaitLetters(func(letters map[string]string) bool {
		return letters["hooked"] != "" && letters["hooked too"] != ""
	})
	one := values{"name": "audit", "id": letters["hooked"]}
	d.do("deleteDeadLetter", http.StatusNoContent, d.admin, one, nil)
	d.do("deleteDeadLetter", http.StatusNotFound, d.admin, one, nil)
	h.status.Store(http.StatusNoContent)
	d.do("replayDeadLetters", http.StatusUnprocessableEntity, d.admin, name, fields{"ids": []int{1}})
	replayed := d.do("replayDeadLetters", http.StatusOK, d.admin, name, fields{"ids": []string{letters["hooked too"]}})
	if replayed.body.Int("replayed") != 1 {
		d.t.Errorf("replayed: %s", replayed.text)
	}
	select {
	case <-h.taken:
	case <-time.After(restPatience):
		d.t.Error("the replayed letter was not delivered")
	}
	d.awaitLetters(func(letters map[string]string) bool {
		return letters["hooked"] == "" && letters["hooked too"] == ""
	})
	d.do("replayDeadLetters", http.StatusOK, d.admin, name, nil)
}

// awaitLetters lists the dead letters, as their ids by their rooms, until they
// are as the test wants them.
func (d *driver) awaitLetters(enough func(map[string]string) bool) map[string]string {
	d.t.Helper()
	for deadline := time.Now().Add(restPatience); ; {
		letters := make(map[string]string)
		for _, letter := range d.pages("listDeadLetters", d.admin, values{"name": "audit", "limit": "3"}, "dead") {
			letter := throngtest.Frame(letter.(map[string]any))
			letters[letter.Text("room")] = letter.Text("id")
		}
		if enough(letters) {
			return letters
		}
		if time.Now().After(deadline) {
			d.t.Fatalf("the dead letters are still %v", letters)
		}
	}
}
