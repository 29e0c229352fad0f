// Package api answers what comes over plain HTTP: health, metrics, and the
// page. It holds no state of its own.
package api

import (
	"encoding/json"
	"net/http"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// Options says what the handler serves. All fields must be set.
type Options struct {
	Ready   func() *proto.Error // nil while the server takes connections and publishes
	Metrics *metrics.Set
	Page    http.Handler // everything that is not the API's
	Sockets []string     // the paths that take WebSocket upgrades
}

// Handler serves /healthz, /readyz, /metrics and the page.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := o.Ready(); err != nil {
			writeError(w, err)
			return
		}
		writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		o.Metrics.WritePrometheus(w)
		metrics.WriteProcessMetrics(w)
	})
	for _, path := range o.Sockets {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Upgrade", "websocket")
			writeError(w, proto.ErrBadHandshake.With("%s takes WebSocket upgrades only", path))
		})
	}
	mux.HandleFunc("/api/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, proto.ErrNotFound.With("there is nothing at %.100q", r.URL.Path))
	})
	mux.Handle("/", o.Page)
	return mux
}

// writeError answers with an error of the registry, as the handshake does.
func writeError(w http.ResponseWriter, err *proto.Error) {
	writeJSON(w, err.HTTP, map[string]any{"error": map[string]string{"code": err.Name, "reason": err.Text()}})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}
