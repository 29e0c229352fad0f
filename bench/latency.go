package bench

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// latency is a histogram of durations from 1 µs to 60 s, at three digits. It
// counts from the moment at which a message was due, so that a sender that fell
// behind, or was held up by the server, does not hide the wait (coordinated
// omission).
type latency struct {
	h *hdrhistogram.Histogram
}

const (
	leastLatency = 1          // µs
	mostLatency  = 60_000_000 // µs
)

func newLatency() *latency {
	return &latency{hdrhistogram.New(leastLatency, mostLatency, 3)}
}

// record takes a message that was due and arrived at these times, in ns. Of the
// due time the lowest bits are enough (shortDueRange).
func (l *latency) record(due, at int64) {
	us := (at/int64(time.Microsecond) - due/int64(time.Microsecond)) & (shortDueRange - 1)
	if us > shortDueRange/2 { // it came before it was due
		us = 0
	}
	us = min(max(us, leastLatency), mostLatency)
	if err := l.h.RecordValue(us); err != nil {
		panic("bench: a latency beyond the histogram: " + err.Error()) // it is clamped
	}
}

func (l *latency) merge(other *latency) { l.h.Merge(other.h) }

func (l *latency) count() int64 { return l.h.TotalCount() }

// at returns a quantile in milliseconds, 0 where nothing was recorded.
func (l *latency) at(percent float64) float64 {
	if l.h.TotalCount() == 0 {
		return 0
	}
	return float64(l.h.ValueAtPercentile(percent)) / 1000
}

// MarshalJSON carries the histogram from one process to another.
func (l *latency) MarshalJSON() ([]byte, error) {
	encoded, err := l.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return nil, fmt.Errorf("bench: encoding a histogram: %w", err)
	}
	return json.Marshal(string(encoded))
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (l *latency) UnmarshalJSON(b []byte) error {
	var encoded string
	if err := json.Unmarshal(b, &encoded); err != nil {
		return err
	}
	h, err := hdrhistogram.Decode([]byte(encoded))
	if err != nil {
		return fmt.Errorf("bench: decoding a histogram: %w", err)
	}
	l.h = h
	return nil
}

// quantiles is a latency as it is reported, in milliseconds.
type quantiles struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func (l *latency) quantiles() quantiles {
	return quantiles{P50: l.at(50), P99: l.at(99), P999: l.at(99.9), Max: float64(l.h.Max()) / 1000}
}
