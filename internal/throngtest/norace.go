//go:build !race

package throngtest

// raceEnabled tells whether the test itself runs under the race detector.
const raceEnabled = false
