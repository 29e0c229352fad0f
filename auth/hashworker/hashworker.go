// Package hashworker derives keys from passwords in a process of low
// priority beside the server's own, which runs the same program: argon2id takes
// a core for a tenth of a second and the memory that is configured, and neither
// the server's threads nor its garbage collector should feel that. Why a thread
// of low priority would not do stands in docs/design/0043-passwords.md.
//
// The process gets passwords over a pipe, keeps nothing, and ends with the pipe.
package hashworker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"runtime"
	"syscall"

	"github.com/thronghq/throng/auth"
)

// niceness is the priority of the process, as nice has it: on a machine without an
// idle core a thread of it gets a tenth of what one of the server gets, which
// leaves logins slow, and possible.
const niceness = 10

// A request is the head, the salt and the password; the answer is the key.
// Numbers are big-endian.
const headLen = 4 + 4 + 1 + 1 + 1 + 2 // memory, time, lanes, length, salt's length, password's length

// Process is an auth.Deriver. The process starts with the first key and ends
// with Rest. It belongs to one goroutine.
type Process struct {
	command []string

	cmd *exec.Cmd // nil while there is no process
	in  io.WriteCloser
	out io.ReadCloser
	buf []byte
}

// New returns a deriver whose process is the given command, which calls Serve.
func New(command ...string) *Process { return &Process{command: command} }

// Derive implements auth.Deriver. After an error the next call starts another
// process.
func (p *Process) Derive(r *auth.KeyRequest) ([]byte, error) {
	if p.cmd == nil {
		if err := p.start(); err != nil {
			return nil, fmt.Errorf("hashworker: %w", err)
		}
	}
	key, err := p.exchange(r)
	if err != nil {
		_ = p.cmd.Process.Kill() // it may hang
		return nil, errors.Join(fmt.Errorf("hashworker: %w", err), p.end())
	}
	return key, nil
}

// Rest implements auth.Deriver: the process ends, and its memory is free.
func (p *Process) Rest() {
	if p.cmd != nil {
		_ = p.end() // how it ends is nobody's concern
	}
}

func (p *Process) start() (err error) {
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env = []string{"GOMAXPROCS=1"}                    // and none of the server's secrets
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a group of its own, so that all its threads can be named
	if p.in, err = cmd.StdinPipe(); err != nil {
		return err
	}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.cmd = cmd
	if err := syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, niceness); err != nil {
		return errors.Join(fmt.Errorf("lowering the priority of the process: %w", err), p.end())
	}
	return nil
}

// end lets the process end and waits for that.
func (p *Process) end() error {
	err := p.in.Close()
	err = errors.Join(err, p.cmd.Wait())
	p.cmd = nil
	return err
}

func (p *Process) exchange(r *auth.KeyRequest) ([]byte, error) {
	p.buf = appendRequest(p.buf[:0], r)
	_, err := p.in.Write(p.buf)
	clear(p.buf) // the password
	if err != nil {
		return nil, err
	}
	key := make([]byte, r.Length)
	_, err = io.ReadFull(p.out, key)
	return key, err
}

func appendRequest(dst []byte, r *auth.KeyRequest) []byte {
	dst = binary.BigEndian.AppendUint32(dst, r.MemoryKiB)
	dst = binary.BigEndian.AppendUint32(dst, r.Time)
	dst = append(dst, r.Lanes, r.Length, byte(len(r.Salt)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(r.Password)))
	return append(append(dst, r.Salt...), r.Password...)
}

// Serve is the process: it answers requests until their end. It is called with
// standard input and output.
func Serve(in io.Reader, out io.Writer) error {
	head := make([]byte, headLen)
	for {
		switch _, err := io.ReadFull(in, head); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		r := auth.KeyRequest{
			Argon2: auth.Argon2{MemoryKiB: binary.BigEndian.Uint32(head), Time: binary.BigEndian.Uint32(head[4:])},
			Lanes:  head[8], Length: head[9],
			Salt: make([]byte, head[10]), Password: make([]byte, binary.BigEndian.Uint16(head[11:])),
		}
		if _, err := io.ReadFull(in, r.Salt); err != nil {
			return err
		}
		if _, err := io.ReadFull(in, r.Password); err != nil {
			return err
		}
		runtime.GC() // the memory of the last key, so that there is only one
		if _, err := out.Write(r.Key()); err != nil {
			return err
		}
	}
}
