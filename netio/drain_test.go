package netio

import (
	"context"
	"testing"
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
