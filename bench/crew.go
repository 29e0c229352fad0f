package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// crew is the workers of a run: one in this process, or one in each of several
// processes that run this binary again.
type crew struct {
	local   worker
	remotes []*remote

	// progress is called twice a second while a step lasts: with what has
	// been counted, or with nil where that is in other processes.
	progress func(*tally)
}

// remote is a worker in another process.
type remote struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// workerCommand is the hidden subcommand of such a process.
const workerCommand = "worker"

func newCrew(ctx context.Context, command string, o *options, progress func(*tally)) (*crew, error) {
	if o.Processes == 1 {
		runtime.LockOSThread()
		local, err := newWorker(ctx, job{Command: command, Options: *o}, progress)
		return &crew{local: local, progress: progress}, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this binary to run it again: %w", err)
	}
	c := &crew{progress: progress}
	for i := range o.Processes {
		r, err := startRemote(ctx, self, job{Command: command, Process: i, Options: *o})
		if err != nil {
			c.close()
			return nil, err
		}
		c.remotes = append(c.remotes, r)
	}
	return c, nil
}

func startRemote(ctx context.Context, self string, j job) (*remote, error) {
	r := &remote{command: exec.CommandContext(ctx, self, "bench", workerCommand)}
	r.command.Stderr = os.Stderr
	var err error
	if r.in, err = r.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.out = bufio.NewReaderSize(out, 1<<20)
	if err := r.command.Start(); err != nil {
		return nil, fmt.Errorf("starting process %d: %w", j.Process, err)
	}
	return r, json.NewEncoder(r.in).Encode(j)
}

func (r *remote) step(in input) (out output, err error) {
	if err := json.NewEncoder(r.in).Encode(in); err != nil {
		return output{}, err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return output{}, fmt.Errorf("a process of the generator ended: %w", err)
	}
	if err := json.Unmarshal(line, &out); err != nil {
		return output{}, err
	}
	if out.Error != "" {
		err = errors.New(out.Error)
	}
	return out, err
}

// do has all workers do a step at once, and returns what they say together.
func (c *crew) do(ctx context.Context, in input) (output, error) {
	if c.local != nil {
		out, err := c.local.step(ctx, in)
		if out.Tally != nil {
			out.Tally.BusiestCPU = out.Tally.CPU
		}
		return out, err
	}
	outs, errs := make([]output, len(c.remotes)), make([]error, len(c.remotes))
	var all sync.WaitGroup
	for i, r := range c.remotes {
		all.Go(func() { outs[i], errs[i] = r.step(in) })
	}
	c.watch(&all)
	var merged output
	for _, out := range outs {
		merged.merge(out)
	}
	return merged, errors.Join(errs...)
}

// watch waits for the other processes and tells the progress meanwhile.
func (c *crew) watch(all *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		all.Wait()
		close(done)
	}()
	ticker := time.NewTicker(time.Duration(progressTick))
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			c.progress(nil)
		}
	}
}

func (c *crew) close() {
	if c.local != nil {
		c.local.close()
	}
	for _, r := range c.remotes {
		_ = r.in.Close()
		_ = r.command.Wait()
	}
}

// runWorker is throng bench worker: it reads a job, then steps, and answers
// each with a line, until its input ends.
func runWorker(ctx context.Context, in io.Reader, out io.Writer) error {
	runtime.LockOSThread()
	lines := make(chan []byte)
	failed := make(chan error, 1)
	go func() { // ends with the process
		defer close(lines)
		for reader := bufio.NewReaderSize(in, 1<<16); ; {
			line, err := reader.ReadBytes('\n')
			if err != nil {
				if !errors.Is(err, io.EOF) {
					failed <- err
				}
				return
			}
			lines <- line
		}
	}()
	first, ok := <-lines
	if !ok {
		return errors.New("throng bench worker is for throng bench's own processes")
	}
	var j job
	if err := json.Unmarshal(first, &j); err != nil {
		return fmt.Errorf("reading the job: %w", err)
	}
	w, err := newWorker(ctx, j, nil)
	if err != nil {
		return err
	}
	defer w.close()
	for {
		select {
		case err := <-failed:
			return err
		case line, ok := <-lines:
			if !ok {
				return nil
			}
			if err := answer(ctx, w, line, out); err != nil {
				return err
			}
		default:
			if err := w.idle(ctx); err != nil {
				return err
			}
		}
	}
}

func answer(ctx context.Context, w worker, line []byte, out io.Writer) error {
	var in input
	if err := json.Unmarshal(line, &in); err != nil {
		return fmt.Errorf("reading a step: %w", err)
	}
	result, err := w.step(ctx, in)
	if err != nil {
		result.Error = err.Error()
	}
	return json.NewEncoder(out).Encode(result)
}
