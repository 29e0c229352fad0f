package bench

import "time"

// tally is what one process has counted, or all of them together.
type tally struct {
	Sent       uint64     `json:"sent"`       // messages, requests or opened connections
	Delivered  uint64     `json:"delivered"`  // messages that reached a connection other than their author's
	Bytes      uint64     `json:"bytes"`      // payload of the frames that were counted
	Compressed uint64     `json:"compressed"` // frames that came compressed
	Lags       uint64     `json:"lags"`       // times that the server fed a connection from the log
	Refused    uint64     `json:"refused"`    // commands answered with an error
	Late       uint64     `json:"late_sends"` // sends more than lateSend after they were due
	Violations violations `json:"violations"`
	Latency    *latency   `json:"latency"`
	BusiestCPU float64    `json:"busiest_cpu"` // CPU seconds of the process that used most
	CPU        float64    `json:"cpu"`         // CPU seconds of all

	Storm *stormTally `json:"storm"`
}

func newTally() *tally {
	return &tally{Latency: newLatency(), Storm: &stormTally{Back: newLatency()}}
}

func (t *tally) add(other *tally) {
	t.Sent += other.Sent
	t.Delivered += other.Delivered
	t.Bytes += other.Bytes
	t.Compressed += other.Compressed
	t.Lags += other.Lags
	t.Refused += other.Refused
	t.Late += other.Late
	t.Violations.add(other.Violations)
	t.Latency.merge(other.Latency)
	t.Storm.add(other.Storm)
	t.CPU += other.CPU
	t.BusiestCPU = max(t.BusiestCPU, other.CPU)
}

// lateSend is how far behind its time a send may be before it counts as late.
const lateSend = int64(time.Millisecond)

// lateness counts a send that was due at one time and happens at another.
func (t *tally) lateness(due, now int64) {
	if now-due > lateSend {
		t.Late++
	}
}
