package api

import (
	"net/http"

	"github.com/thronghq/throng/proto"
)

func webhookRoutes() []Route {
	return []Route{
		{Method: http.MethodGet, Pattern: "/webhooks", Access: Admin, handle: (*call).listWebhooks},
		{Method: http.MethodGet, Pattern: "/webhooks/{name}", Access: Admin, handle: (*call).getWebhook},
		{Method: http.MethodGet, Pattern: "/webhooks/{name}/dead", Access: Admin, Params: pageParams, gzip: true, handle: (*call).listDead},
		{Method: http.MethodPost, Pattern: "/webhooks/{name}/dead/replay", Access: Admin, handle: (*call).replayDead},
		{Method: http.MethodDelete, Pattern: "/webhooks/{name}/dead/{id}", Access: Admin, handle: (*call).dropDead},
	}
}

// webhooks returns what sends webhooks, or says that nothing does.
func (c *call) webhooks() (Webhooks, *proto.Error) {
	if c.api.Webhooks == nil {
		return nil, proto.ErrNotFound.With("no webhooks are configured")
	}
	return c.api.Webhooks, nil
}

func (c *call) listWebhooks() *proto.Error {
	hooks, err := c.webhooks()
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, struct {
		Webhooks []Endpoint `json:"webhooks"`
	}{hooks.Endpoints()})
}

func (c *call) getWebhook() *proto.Error {
	hooks, err := c.webhooks()
	if err != nil {
		return err
	}
	name := c.r.PathValue("name")
	found, known := hooks.Endpoint(name)
	if !known {
		return proto.ErrNotFound.With("there is no webhook %.64q", name)
	}
	return c.json(http.StatusOK, found)
}

func (c *call) listDead() *proto.Error {
	hooks, err := c.webhooks()
	if err != nil {
		return err
	}
	cursor, limit := c.query.page()
	if c.query.err != nil {
		return c.query.err
	}
	found, next, err := hooks.Dead(c.r.PathValue("name"), cursor, limit)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, struct {
		Dead []DeadLetter `json:"dead"`
		Next string       `json:"next,omitzero"`
	}{append([]DeadLetter{}, found...), next})
}

func (c *call) replayDead() *proto.Error {
	body := c.optionalObject("ids")
	var ids []string
	if body.has("ids") {
		ids = body.texts("ids", pageMost)
	}
	if body.err != nil {
		return body.err
	}
	hooks, err := c.webhooks()
	if err != nil {
		return err
	}
	n, err := hooks.Replay(c.r.PathValue("name"), ids)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, struct {
		Replayed int `json:"replayed"`
	}{n})
}

func (c *call) dropDead() *proto.Error {
	hooks, err := c.webhooks()
	if err == nil {
		err = hooks.DeleteDead(c.r.PathValue("name"), c.r.PathValue("id"))
	}
	if err != nil {
		return err
	}
	return c.done()
}
