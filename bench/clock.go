package bench

import (
	"time"

	"golang.org/x/sys/unix"
)

// clock tells nanoseconds of CLOCK_MONOTONIC, which all processes of a machine
// share, at the price of a vDSO call.
type clock struct {
	start time.Time
	base  int64
}

func newClock() clock {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic("bench: CLOCK_MONOTONIC is missing: " + err.Error()) // every Linux has it
	}
	return clock{start: time.Now(), base: ts.Nano()}
}

func (c clock) now() int64 { return c.base + int64(time.Since(c.start)) }
