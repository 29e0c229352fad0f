package bench

import (
	"context"
	"fmt"
	"time"
)

// runFanout measures fan-out: see fanout for what the processes do.
func runFanout(ctx context.Context, o *options, s Streams) (*result, error) {
	return measure(ctx, "fanout", o, s)
}

// measure runs the steps that most benchmarks have, and reads the server's CPU
// time around the one that counts.
func measure(ctx context.Context, command string, o *options, s Streams) (*result, error) {
	watched, err := watchServer(ctx, o)
	if err != nil {
		return nil, err
	}
	progress := newProgress(s.Err)
	defer progress.end()
	c, err := newCrew(ctx, command, o, func(t *tally) {
		watched.sample()
		progress.show(t)
	})
	if err != nil {
		return nil, err
	}
	defer c.close()

	progress.stage("opening %d connections", o.Conns)
	if _, err := c.do(ctx, input{Step: stepOpen}); err != nil {
		return nil, err
	}
	progress.stage("warming up")
	if _, err := c.run(ctx, stepWarm); err != nil {
		return nil, err
	}
	if _, err := c.do(ctx, input{Step: stepBegin}); err != nil {
		return nil, err
	}
	progress.stage("measuring")
	if err := watched.start(); err != nil {
		return nil, fmt.Errorf("the server's CPU time: %w", err)
	}
	start := time.Now()
	ran, err := c.run(ctx, stepRun)
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(start)
	if err := watched.stop(); err != nil {
		return nil, fmt.Errorf("the server's CPU time: %w", err)
	}
	finished, err := c.do(ctx, input{Step: stepFinish, Heads: ran.Heads})
	if err != nil {
		return nil, err
	}
	return newResult(finished.Tally, elapsed, watched), nil
}

// run has the workers publish, and then wait until everything has arrived.
func (c *crew) run(ctx context.Context, step string) (output, error) {
	out, err := c.do(ctx, input{Step: step})
	if err != nil {
		return out, err
	}
	_, err = c.do(ctx, input{Step: stepDrain, Heads: out.Heads})
	return out, err
}
