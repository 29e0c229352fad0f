package bench

import (
	"context"
	"fmt"
)

// worker is one process's part of a scenario. Its methods are called from one
// thread.
type worker interface {
	// step does one of the scenario's steps, which all processes do at once.
	step(ctx context.Context, in input) (output, error)
	// idle serves the connections for a moment between two steps.
	idle(ctx context.Context) error
	close()
}

// input asks for a step.
type input struct {
	Step  string   `json:"step"`
	Heads []uint64 `json:"heads,omitempty"` // drain, finish: each room's newest offset
}

// output answers it.
type output struct {
	Error string   `json:"error,omitempty"`
	Heads []uint64 `json:"heads,omitempty"` // run: each room's newest offset, as far as this process knows
	Tally *tally   `json:"tally,omitempty"` // finish
}

// The steps of scenarios. Not each has all.
const (
	stepOpen   = "open"   // open the connections and prepare them
	stepWarm   = "warm"   // as run, but for the warm-up's time
	stepRest   = "rest"   // keep the connections for the settling time
	stepDrain  = "drain"  // wait until everything sent has arrived
	stepBegin  = "begin"  // forget what was counted
	stepCut    = "cut"    // cut connections off
	stepRun    = "run"    // measure
	stepFinish = "finish" // report
)

func (o *output) merge(other output) {
	if len(o.Heads) < len(other.Heads) {
		o.Heads = append(o.Heads, make([]uint64, len(other.Heads)-len(o.Heads))...)
	}
	for i, head := range other.Heads {
		o.Heads[i] = max(o.Heads[i], head)
	}
	if other.Tally != nil {
		if o.Tally == nil {
			o.Tally = newTally()
		}
		o.Tally.add(other.Tally)
	}
}

// job names a process's part: what throng bench worker reads first.
type job struct {
	Command string  `json:"command"`
	Process int     `json:"process"`
	Options options `json:"options"`
}

// newWorker makes the worker of a job in this process. Progress is told now and
// then what has been counted.
func newWorker(ctx context.Context, j job, progress func(*tally)) (worker, error) {
	target, err := parseTarget(ctx, j.Options.URL, j.Options.AllowRemote)
	if err != nil {
		return nil, err
	}
	part := share{target: target, options: &j.Options, process: j.Process, progress: progress}
	part.first, part.conns = divide(j.Options.Conns, j.Process, j.Options.Processes)
	switch j.Command {
	case "fanout", "conn":
		return newFanout(part)
	case "echo":
		return newEcho(part)
	case "handshake":
		return newHandshake(part)
	case "storm":
		return newStorm(part)
	case "history":
		return newHistory(part)
	case "pages":
		return newPages(part)
	case "resume":
		return newResume(part)
	default:
		return nil, fmt.Errorf("no worker knows the benchmark %q", j.Command)
	}
}

// share is what all workers know of their part.
type share struct {
	target   target
	options  *options
	process  int
	first    int // connection of this process
	conns    int
	progress func(*tally)
}

// report tells the progress, where somebody wants to know.
func (s *share) report(t *tally) {
	if s.progress != nil {
		s.progress(t)
	}
}

// divide gives a process its part of n things.
func divide(n, process, processes int) (first, count int) {
	first = n * process / processes
	return first, n*(process+1)/processes - first
}
