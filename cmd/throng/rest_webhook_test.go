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
	h.status.Store(http.StatusServiceUnavailable)
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

// config names the endpoint, whose events die young.
func (h *webhook) config() string {
	return fmt.Sprintf(`
[webhook.audit]
url = %q
secret = "a secret of twenty-four bytes or more"
events = ["message"]
max_age = "1s"
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
	var dead []any
	letters := func(enough func(int) bool) {
		deadline := time.Now().Add(time.Minute)
		for {
			page := d.do("listDeadLetters", http.StatusOK, d.admin, values{"name": "audit", "limit": "1000"}, nil)
			if dead = page.body["dead"].([]any); enough(len(dead)) {
				return
			}
			if time.Now().After(deadline) {
				d.t.Fatalf("after a minute there are %d dead letters", len(dead))
			}
		}
	}
	letters(func(n int) bool { return n >= 2 })
	count := len(dead)
	first, second := throngtest.Frame(dead[0].(map[string]any)).Text("id"), throngtest.Frame(dead[1].(map[string]any)).Text("id")
	d.do("deleteDeadLetter", http.StatusNoContent, d.admin, values{"name": "audit", "id": first}, nil)
	d.do("deleteDeadLetter", http.StatusNotFound, d.admin, values{"name": "audit", "id": first}, nil)
	h.status.Store(http.StatusNoContent)
	d.do("replayDeadLetters", http.StatusUnprocessableEntity, d.admin, name, fields{"ids": []int{1}})
	if replayed := d.do("replayDeadLetters", http.StatusOK, d.admin, name, fields{"ids": []string{second}}); replayed.body.Int("replayed") != 1 {
		d.t.Errorf("replayed: %s", replayed.text)
	}
	select {
	case <-h.taken:
	case <-time.After(time.Minute):
		d.t.Error("the replayed letter was not delivered within a minute")
	}
	letters(func(n int) bool { return n <= count-2 })
	d.do("replayDeadLetters", http.StatusOK, d.admin, name, nil)
}
