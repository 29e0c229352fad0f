package netio

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestPaced: nobody is left out, a hurry has the rest done at once, and the end
// of the context leaves it.
func TestPaced(t *testing.T) {
	const count = 10_000 // 20 s of batches
	all := make([]int, count)
	for i := range all {
		all[i] = i
	}
	never := make(chan struct{})
	t.Run("hurried", func(t *testing.T) {
		hurry := make(chan struct{})
		var done []int
		paced(t.Context(), hurry, all, func(i int) {
			if done = append(done, i); len(done) == 100 {
				close(hurry)
			}
		})
		if len(done) != count {
			t.Fatalf("%d of %d were done", len(done), count)
		}
		for i := range all {
			if done[i] != i {
				t.Fatalf("%d came at place %d", done[i], i)
			}
		}
	})
	t.Run("ended", func(t *testing.T) {
		ctx, end := context.WithCancel(t.Context())
		done := 0
		paced(ctx, never, all, func(int) {
			if done++; done == 100 {
				end()
			}
		})
		if done < 100 || done > 200 {
			t.Errorf("%d of %d were done; after the context's end only the batch that was begun should be", done, count)
		}
	})
	t.Run("to the end", func(t *testing.T) {
		ctx, end := context.WithTimeout(t.Context(), time.Hour)
		defer end()
		done := 0
		paced(ctx, never, all[:50], func(int) { done++ })
		paced(ctx, never, nil, func(int) { done++ })
		if done != 50 {
			t.Errorf("%d of 50 were done", done)
		}
	})
}

// TestPacedSpreads: 5,000 connections go in small batches of one size at uneven
// intervals, over 2 ms for each or half of the time that there is; a hurry has the
// rest go in the same moment.
func TestPacedSpreads(t *testing.T) {
	const count = 5000
	for _, test := range []struct {
		name    string
		within  time.Duration
		batches int // of 20 ms
		hurry   int // after so many, 0 for never
	}{
		{"unhurried", time.Hour, 500, 0},
		{"in half of 4 s", 4 * time.Second, 100, 0},
		{"hurried", time.Hour, 500, 1000},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.within)
				defer cancel()
				hurry := make(chan struct{})
				start := time.Now()
				var sizes []int // of the batches
				var pauses []time.Duration
				last := start.Add(-1)
				done := 0
				paced(ctx, hurry, make([]int, count), func(int) {
					if now := time.Now(); !now.Equal(last) {
						sizes, pauses = append(sizes, 0), append(pauses, now.Sub(last))
						last = now
					}
					sizes[len(sizes)-1]++
					if done++; done == test.hurry {
						close(hurry)
					}
				})
				if done != count {
					t.Fatalf("%d were done", done)
				}
				each := count / test.batches
				if test.hurry > 0 {
					// One batch may still come by its time, as may the one that the
					// hurry came in.
					if n := len(sizes); n > test.hurry/each+2 || sizes[n-1] < count-test.hurry-2*each {
						t.Errorf("%d batches, of which the last had %d", n, sizes[n-1])
					}
					return
				}
				if len(sizes) != test.batches {
					t.Errorf("%d batches, want %d", len(sizes), test.batches)
				}
				different := make(map[time.Duration]bool)
				for i, size := range sizes {
					if size != each {
						t.Fatalf("batch %d had %d, want %d", i, size, each)
					}
					if pause := pauses[i]; i > 0 && (pause < paceStep/2 || pause >= paceStep*3/2) {
						t.Fatalf("batch %d came after %v", i, pause)
					}
					different[pauses[i]] = true
				}
				if len(different) < test.batches/2 {
					t.Errorf("%d batches came at %d different intervals", test.batches, len(different))
				}
			})
		})
	}
}
