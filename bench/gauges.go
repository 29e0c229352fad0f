package bench

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// gaugesEvery is how often the server's own figures are read.
const gaugesEvery = 250 * time.Millisecond

// gauges are figures that the server knows of itself, from /metrics, while
// something is done to it. A server that shows none has none.
type gauges struct {
	// Memory is what its memory budget counted, at the most and in bytes, as
	// often as it was looked at, and MemoryMark that budget.
	Memory     int64 `json:"memory_peak_bytes"`
	MemoryMark int64 `json:"memory_mark_bytes"`

	Lagged  uint64 `json:"lagged"`  // members that were from then on fed from the log
	Shed    uint64 `json:"shed"`    // connections closed for what they held
	Closed  uint64 `json:"closed"`  // connections closed by the server, these included
	Queued  uint64 `json:"queued"`  // handshakes that waited for admission
	Refused uint64 `json:"refused"` // those that were answered 503
}

// gaugeWatch reads the figures until it is stopped.
type gaugeWatch struct {
	url     string
	client  http.Client
	stop    chan struct{}
	running sync.WaitGroup

	// Of the goroutine, until it has ended.
	peak, mark float64
	first      map[string]float64 // nil before the first answer
	last       map[string]float64
	bases      map[string]float64 // counters of servers that have ended since
}

// watchGauges begins to read. The caller calls end.
func watchGauges(ctx context.Context, t target) *gaugeWatch {
	g := &gaugeWatch{
		url: "http://" + t.addr.String() + t.dir + "/metrics", client: http.Client{Timeout: 10 * time.Second},
		stop: make(chan struct{}), bases: make(map[string]float64),
	}
	g.look(ctx)
	g.running.Go(func() {
		ticker := time.NewTicker(gaugesEvery)
		defer ticker.Stop()
		for {
			select {
			case <-g.stop:
				return
			case <-ticker.C:
				g.look(ctx)
			}
		}
	})
	return g
}

// look reads the figures once. What cannot be read now may be later.
func (g *gaugeWatch) look(ctx context.Context) {
	now, err := g.read(ctx)
	if err != nil {
		return
	}
	if g.first == nil {
		g.first = now
	}
	if now["throng_accepted_total"] < g.last["throng_accepted_total"] { // it began anew
		for name, value := range g.last {
			g.bases[name] += value
		}
	}
	g.last = now
	g.peak, g.mark = max(g.peak, now["throng_memory_bytes"]), now[`throng_memory_mark_bytes{mark="hard"}`]
}

// read returns the figures by their names, each also with its labels.
func (g *gaugeWatch) read(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, g.url, nil)
	if err != nil {
		return nil, err
	}
	response, err := g.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	values := make(map[string]float64)
	for lines := bufio.NewScanner(io.LimitReader(response.Body, 16<<20)); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, err := strconv.ParseFloat(text, 64)
		if err != nil || !strings.HasPrefix(name, "throng_") {
			continue
		}
		values[name] = value
		if base, _, labelled := strings.Cut(name, "{"); labelled {
			values[base] += value
		}
	}
	return values, nil
}

// end stops reading and returns what was found, nil for nothing.
func (g *gaugeWatch) end(ctx context.Context) *gauges {
	close(g.stop)
	g.running.Wait()
	g.look(ctx)
	g.client.CloseIdleConnections()
	if g.first == nil {
		return nil
	}
	count := func(name string) uint64 {
		return uint64(max(0, g.bases[name]+g.last[name]-g.first[name]))
	}
	closed := uint64(0)
	for name := range g.last {
		if strings.HasPrefix(name, "throng_closes_total{") && !strings.Contains(name, `"peer"`) && !strings.Contains(name, `"cut"`) {
			closed += count(name)
		}
	}
	return &gauges{
		Memory: int64(g.peak), MemoryMark: int64(g.mark), Lagged: count(`throng_room_drops_total{reason="lag"}`),
		Shed: count("throng_shed_total"), Closed: closed,
		Queued: count("throng_admission_queued_total"), Refused: count("throng_admission_refused_total"),
	}
}

// rows shows them.
func (g *gauges) rows(row func(name, format string, args ...any)) {
	row("server's budget", "%.1f MiB counted at the most, of %.0f MiB", mib(g.Memory), mib(g.MemoryMark))
	row("clients", "%d fed from the log, %d closed, %d of these for what they held", g.Lagged, g.Closed, g.Shed)
	row("handshakes", "%d waited for admission, %d refused", g.Queued, g.Refused)
}
