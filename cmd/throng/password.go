package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

// maxPasswordInput bounds what is read from standard input.
const maxPasswordInput = 64 << 10

// passwordSource says where a new password comes from.
type passwordSource struct {
	stdin    bool
	generate bool
}

// read returns the new password.
func (s passwordSource) read(o outside, user string) (string, error) {
	switch {
	case s.stdin && s.generate:
		return "", errors.New("--password-stdin and --generate exclude each other")
	case s.generate:
		return newPassword(), nil
	case s.stdin:
		text, err := io.ReadAll(io.LimitReader(os.Stdin, maxPasswordInput))
		if err != nil {
			return "", err
		}
		return string(bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))), nil
	case !term.IsTerminal(int(os.Stdin.Fd())):
		return "", errors.New("standard input is no terminal that could be asked for a password; give it with --password-stdin, or let one be made with --generate")
	}
	first, err := ask(o, fmt.Sprintf("New password of %s: ", user))
	if err != nil {
		return "", err
	}
	second, err := ask(o, "The same once more: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", errors.New("the two passwords differ")
	}
	return first, nil
}

// show prints a password that was made up, now that it is good.
func (s passwordSource) show(o outside, password string) error {
	if !s.generate {
		return nil
	}
	_, err := fmt.Fprintln(o.out, password)
	return err
}

// ask reads a line from the terminal, which does not show it. Whatever ends the
// process meanwhile, the terminal shows again what is typed.
func ask(o outside, prompt string) (string, error) {
	terminal := int(os.Stdin.Fd())
	before, err := term.GetState(terminal)
	if err != nil {
		return "", err
	}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case s := <-signals:
			_ = term.Restore(terminal, before)
			signal.Reset(s)
			_ = syscall.Kill(os.Getpid(), s.(syscall.Signal)) // as it was meant
		case <-done:
		}
	}()
	fmt.Fprint(o.err, prompt)
	line, err := term.ReadPassword(terminal)
	fmt.Fprintln(o.err)
	close(done)
	<-ended
	signal.Stop(signals)
	return string(line), err
}
