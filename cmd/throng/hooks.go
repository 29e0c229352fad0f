package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/api"
	"github.com/thronghq/throng/hook"
	"github.com/thronghq/throng/internal/budget"
	"github.com/thronghq/throng/internal/config"
	"github.com/thronghq/throng/proto"
	"github.com/thronghq/throng/room"
	"github.com/thronghq/throng/session"
	"github.com/thronghq/throng/storage"
)

// hooksGrace is how long deliveries that are under way at the end may take.
const hooksGrace = 3 * time.Second

// hooks is what tells the application what happens, and asks it what may.
type hooks struct {
	webhooks *hook.Webhooks
	gate     *hook.Gate  // nil where nobody is asked
	told     hook.Events // what somebody is told
}

func openHooks(cfg *config.Config, log *slog.Logger, set *metrics.Set, store *storage.Store, memory *budget.Budget) (*hooks, error) {
	endpoints := make([]hook.Endpoint, len(cfg.Webhooks))
	for i := range cfg.Webhooks {
		w := &cfg.Webhooks[i]
		secret, err := hook.ParseSecret(string(w.Secret.Bytes()))
		if err != nil {
			return nil, fmt.Errorf("webhook.%s.secret: %w", w.Name, err)
		}
		events, err := hook.ParseEvents(w.Events)
		if err != nil {
			return nil, fmt.Errorf("webhook.%s.events: %w", w.Name, err)
		}
		endpoints[i] = hook.Endpoint{
			Name: w.Name, URL: w.URL, Secret: secret, Events: events, Namespaces: w.Namespaces,
			Timeout: w.Timeout, MaxWaiting: w.MaxWaiting, MaxAge: w.MaxAge, AllowPrivate: w.AllowPrivate,
		}
	}
	h := new(hooks)
	for i := range endpoints {
		h.told |= endpoints[i].Events
	}
	var err error
	if h.gate, err = openGate(cfg, log, set); err != nil {
		return nil, err
	}
	h.webhooks, err = hook.New(hook.Options{
		Endpoints: endpoints, Outbox: store.Outbox(), History: store.Logs(), Logged: logged(cfg), Logger: log, Metrics: set,
		Memory: memory.Kind("webhooks"), MaxBytes: int64(cfg.Memory()) / budgetShare,
	})
	if err != nil {
		return nil, err
	}
	return h, nil
}

func openGate(cfg *config.Config, log *slog.Logger, set *metrics.Set) (*hook.Gate, error) {
	if cfg.Hook.URL == "" {
		return nil, nil
	}
	secret, err := hook.ParseSecret(string(cfg.Hook.Secret.Bytes()))
	if err != nil {
		return nil, fmt.Errorf("hook.secret: %w", err)
	}
	var events hook.Events
	for _, name := range cfg.Hook.Events {
		events |= map[string]hook.Events{
			"connect": hook.Of(hook.Connect), "join": hook.Of(hook.Join), "publish": hook.Of(hook.Message),
		}[name]
	}
	return hook.NewGate(hook.GateOptions{
		URL: cfg.Hook.URL, Secret: secret, Events: events, Timeout: cfg.Hook.Timeout,
		FailOpen: cfg.Hook.OnFailure == config.HookAllow, AllowPrivate: cfg.Hook.AllowPrivate,
		MaxAnswer: 2 * int64(cfg.Limits.Message), Logger: log, Metrics: set,
	})
}

// logged reports of a room whether its namespace keeps messages on disk.
func logged(cfg *config.Config) func(name string) bool {
	kept := make(map[string]bool)
	for _, ns := range namespaces(cfg) {
		kept[ns.Name] = ns.Durability != proto.Memory && ns.HistorySize > 0
	}
	return func(name string) bool { return kept[proto.NamespaceOf(name)] }
}

// roomObserver is who is told of what happens in rooms; nil for nobody, which
// costs the rooms nothing.
func (h *hooks) roomObserver() room.Observer {
	if h.told&^hook.Of(hook.Connect, hook.Disconnect) == 0 {
		return nil
	}
	return h.webhooks
}

// sessionObserver is who is told of who comes and goes; nil for nobody.
func (h *hooks) sessionObserver() session.Observer {
	if h.told&hook.Of(hook.Connect, hook.Disconnect) == 0 {
		return nil
	}
	return visitors{h.webhooks}
}

// visitors tells webhooks of sessions.
type visitors struct{ webhooks *hook.Webhooks }

// Connected implements session.Observer.
func (v visitors) Connected(i session.Info) { v.webhooks.Connected(connectionOf(i)) }

// Disconnected implements session.Observer.
func (v visitors) Disconnected(i session.Info, reason string) {
	v.webhooks.Disconnected(connectionOf(i), reason)
}

func connectionOf(i session.Info) hook.Connection {
	return hook.Connection{
		SessionID: i.SessionID, UserID: i.UserID, Address: i.Address, DeviceType: i.DeviceType, DeviceOS: i.DeviceOS,
		Via: i.Via, ConnectedAt: i.ConnectedAt,
	}
}

// sessionGate is who decides for the application; nil for nobody.
func (h *hooks) sessionGate() session.Gate {
	if h.gate == nil {
		return nil
	}
	return doorkeeper{h.gate}
}

// doorkeeper asks a hook what sessions ask it, as far as the hook wants that.
type doorkeeper struct{ gate *hook.Gate }

// Connect implements session.Gate.
func (d doorkeeper) Connect(r session.ConnectRequest, answer func(session.Verdict)) {
	if !d.gate.Wants(hook.Connect) {
		answer(session.Verdict{})
		return
	}
	q := questionOf(&r.Asker)
	q.DeviceType, q.DeviceOS = r.DeviceType, r.DeviceOS
	d.gate.Connect(q, verdictTo(answer))
}

// Join implements session.Gate.
func (d doorkeeper) Join(r session.JoinRequest, answer func(session.Verdict)) {
	if !d.gate.Wants(hook.Join) {
		answer(session.Verdict{})
		return
	}
	q := questionOf(&r.Asker)
	q.Room = r.Room
	d.gate.Join(q, verdictTo(answer))
}

// Publish implements session.Gate.
func (d doorkeeper) Publish(r session.PublishRequest, answer func(session.Verdict)) {
	if !d.gate.Wants(hook.Message) {
		answer(session.Verdict{})
		return
	}
	q := questionOf(&r.Asker)
	q.Room, q.Kind, q.Content, q.Transient = r.Room, r.Kind, r.Content, r.Transient
	d.gate.Publish(q, verdictTo(answer))
}

func questionOf(a *session.Asker) hook.Question {
	q := hook.Question{UserID: a.UserID, SessionID: a.SessionID}
	if a.Address.IsValid() {
		q.Address = a.Address.String()
	}
	return q
}

func verdictTo(answer func(session.Verdict)) func(hook.Verdict) {
	return func(v hook.Verdict) { answer(session.Verdict(v)) }
}

// closeGate ends the questions: what still waits for an answer gets the one that
// stands for none. The sessions must still be there.
func (h *hooks) closeGate(stop *stopSignals) {
	if h.gate == nil {
		return
	}
	ctx, cancel := stop.within(hooksGrace)
	defer cancel()
	h.gate.Close(ctx)
}

// close writes what is still to be told, after the last event and before the
// store closes. What could not be delivered is, at the next start.
func (h *hooks) close(stop *stopSignals) error {
	ctx, cancel := stop.within(hooksGrace)
	defer cancel()
	return h.webhooks.Close(ctx)
}

// api shows the webhooks to the REST API; nil where none are configured.
func (h *hooks) api() api.Webhooks {
	if h.told == 0 {
		return nil
	}
	return webhookAPI{h.webhooks}
}

type webhookAPI struct{ *hook.Webhooks }

// Endpoints implements api.Webhooks.
func (w webhookAPI) Endpoints() []api.Endpoint {
	all := w.Webhooks.Endpoints()
	list := make([]api.Endpoint, len(all))
	for i := range all {
		list[i] = api.Endpoint(all[i])
	}
	return list
}

// Endpoint implements api.Webhooks.
func (w webhookAPI) Endpoint(name string) (api.Endpoint, bool) {
	status, ok := w.Webhooks.Endpoint(name)
	return api.Endpoint(status), ok
}

// Dead implements api.Webhooks.
func (w webhookAPI) Dead(name, cursor string, limit int) ([]api.DeadLetter, string, *proto.Error) {
	letters, next, err := w.Webhooks.Dead(name, cursor, limit)
	list := make([]api.DeadLetter, len(letters))
	for i := range letters {
		list[i] = api.DeadLetter(letters[i])
	}
	return list, next, err
}
