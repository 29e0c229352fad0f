package throngtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
)

// output keeps what a process writes and lets one wait for a line.
type output struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // closed and replaced at each write
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

// Write implements io.Writer for the process's pipe.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.grown)
	o.grown = make(chan struct{})
	return o.text.Write(p)
}

// String returns all that was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await returns what follows the text in the first whole line that holds it.
func (o *output) await(ctx context.Context, exited <-chan struct{}, text string) (string, error) {
	for {
		o.mu.Lock()
		written, grown := o.text.String(), o.grown
		o.mu.Unlock()
		if rest, ok := findLine(written, text); ok {
			return rest, nil
		}
		select {
		case <-grown:
		case <-exited:
			if rest, ok := findLine(o.String(), text); ok {
				return rest, nil
			}
			return "", errors.New("the process ended")
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}

func findLine(written, text string) (rest string, ok bool) {
	end := strings.LastIndexByte(written, '\n')
	for lines := bufio.NewScanner(strings.NewReader(written[:end+1])); lines.Scan(); {
		if _, rest, ok := strings.Cut(lines.Text(), text); ok {
			return rest, true
		}
	}
	return "", false
}
