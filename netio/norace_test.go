//go:build !race

package netio

// raceEnabled says whether the race detector runs, under which pools forget.
const raceEnabled = false
