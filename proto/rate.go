package proto

import (
	"fmt"
	"strconv"
	"strings"
)

// Rate bounds how often something may happen, as a token bucket does: Burst
// events at once, PerSecond in the long run. The zero value is no bound.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Off reports that there is no bound.
func (r Rate) Off() bool { return r == Rate{} }

// maxRate bounds both numbers of a rate, so that all arithmetic with them is
// exact.
const maxRate = 1 << 30

// String returns the rate as ParseRate reads it.
func (r Rate) String() string {
	if r.Off() {
		return ""
	}
	return strconv.FormatFloat(r.PerSecond, 'f', -1, 64) + "/s burst " + strconv.Itoa(r.Burst)
}

// ParseRate reads a rate such as "10/s", "30/m burst 100" or, for no bound, "".
// Without a burst it is what a second allows, and 1 at least.
func ParseRate(text string) (Rate, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return Rate{}, nil
	}
	speed, burst, hasBurst := strings.Cut(text, " burst ")
	number, unit, found := strings.Cut(strings.TrimSpace(speed), "/")
	seconds, known := map[string]float64{"s": 1, "m": 60, "h": 3600}[unit]
	count, err := strconv.ParseFloat(number, 64)
	if !found || !known || err != nil || !(count > 0 && count <= maxRate) {
		return Rate{}, fmt.Errorf("%q is not a number above 0 with /s, /m or /h", speed)
	}
	r := Rate{PerSecond: count / seconds, Burst: max(1, int(count/seconds))}
	if hasBurst {
		if r.Burst, err = strconv.Atoi(strings.TrimSpace(burst)); err != nil || r.Burst < 1 || r.Burst > maxRate {
			return Rate{}, fmt.Errorf("the burst %q is not a whole number from 1 to %d", burst, maxRate)
		}
	}
	return r, nil
}
