package api_test

import (
	"net/http"
	"slices"
	"testing"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/proto"
)

// noWebhooks is what sends webhooks where none is called what somebody asks for.
type noWebhooks struct{}

func (noWebhooks) Endpoints() []api.Endpoint { return []api.Endpoint{} }

func (noWebhooks) Endpoint(string) (api.Endpoint, bool) { return api.Endpoint{}, false }

func (noWebhooks) Dead(string, string, int) ([]api.DeadLetter, string, *proto.Error) {
	return nil, "", proto.ErrNotFound.New()
}

func (noWebhooks) Replay(string, []string) (int, *proto.Error) {
	return 0, proto.ErrNotFound.New()
}

func (noWebhooks) DeleteDead(string, string) *proto.Error {
	return proto.ErrNotFound.New()
}

// oneWebhook has one endpoint, with dead letters.
type oneWebhook struct{ dead []string }

func (h *oneWebhook) Endpoints() []api.Endpoint {
	return []api.Endpoint{{Name: "audit", URL: "https://audit.example", Events: []string{"message"}, Circuit: "closed", Dead: len(h.dead)}}
}

func (h *oneWebhook) Endpoint(name string) (api.Endpoint, bool) {
	return h.Endpoints()[0], name == "audit"
}

func (h *oneWebhook) Dead(_, cursor string, limit int) (list []api.DeadLetter, next string, _ *proto.Error) {
	for _, id := range h.dead {
		if id <= cursor {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].ID, nil
		}
		list = append(list, api.DeadLetter{ID: id, Event: "message"})
	}
	return list, "", nil
}

func (h *oneWebhook) Replay(_ string, ids []string) (int, *proto.Error) {
	before := len(h.dead)
	h.dead = slices.DeleteFunc(h.dead, func(id string) bool { return ids == nil || slices.Contains(ids, id) })
	return before - len(h.dead), nil
}

func (h *oneWebhook) DeleteDead(_, id string) *proto.Error {
	i := slices.Index(h.dead, id)
	if i < 0 {
		return proto.ErrNotFound.New()
	}
	h.dead = slices.Delete(h.dead, i, i+1)
	return nil
}

func TestWebhooks(t *testing.T) {
	f := start(t, func(o *api.Options) { o.Webhooks = &oneWebhook{dead: []string{"a", "b", "c", "d"}} })
	admin := f.token("root", asAdmin)
	f.request("GET /webhooks", admin).do().is(http.StatusOK).says(`"name":"audit","url":"https://audit.example"`)
	f.request("GET /webhooks/audit", admin).do().is(http.StatusOK).says(`"dead":4`)
	f.request("GET /webhooks/none", admin).do().refused(proto.ErrNotFound)
	page := f.request("GET /webhooks/audit/dead?limit=3", admin).do().is(http.StatusOK)
	rest := f.request("GET /webhooks/audit/dead?limit=3&cursor="+get[string](page, "next"), admin).do().is(http.StatusOK)
	if len(get[[]any](page, "dead")) != 3 || len(get[[]any](rest, "dead")) != 1 || rest.fields["next"] != nil {
		t.Errorf("pages: %s, %s", page.text, rest.text)
	}
	f.request("DELETE /webhooks/audit/dead/b", admin).do().is(http.StatusNoContent)
	f.request("DELETE /webhooks/audit/dead/b", admin).do().refused(proto.ErrNotFound)
	f.request("POST /webhooks/audit/dead/replay", admin).json(`{"ids":[]}`).do().refused(proto.ErrInvalidField)
	f.request("POST /webhooks/audit/dead/replay", admin).json(`{"ids":["a",1]}`).do().refused(proto.ErrInvalidField).says(`ids[1]`)
	f.request("POST /webhooks/audit/dead/replay", admin).json(`{"ids":["a"]}`).do().is(http.StatusOK).says(`{"replayed":1}`)
	f.request("POST /webhooks/audit/dead/replay", admin).do().is(http.StatusOK).says(`{"replayed":2}`)
}
