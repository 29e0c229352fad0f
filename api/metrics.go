package api

import (
	"net/http"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/VictoriaMetrics/metrics"
)

// meters are the API's metrics.
type meters struct {
	set     *metrics.Set
	active  atomic.Int64 // requests
	streams atomic.Int64
}

func newMeters(set *metrics.Set) *meters {
	m := &meters{set: set}
	set.NewGauge("throng_http_requests_active", func() float64 { return float64(m.active.Load()) })
	set.NewGauge("throng_http_streams", func() float64 { return float64(m.streams.Load()) })
	return m
}

// knownMethods bounds the values of a label: clients may send any word.
var knownMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions,
}

// observe counts a request that has ended. Streams are not part of it: how long
// somebody listens says nothing of the server.
func (m *meters) observe(c *call) {
	if c.route != nil && c.route.stream && c.w.status == http.StatusOK {
		return
	}
	method := c.r.Method
	if !slices.Contains(knownMethods, method) {
		method = "other"
	}
	m.set.GetOrCreateHistogram(`throng_http_request_seconds{method="` + method + `",route="` + c.pattern +
		`",status="` + strconv.Itoa(c.w.status) + `"}`).Update(c.api.Now().Sub(c.begun).Seconds())
}
