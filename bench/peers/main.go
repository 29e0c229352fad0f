// Command peers runs a small room server over one of the WebSocket libraries
// that throng is measured against. Each serves what bench/floor's C program
// serves, so that throng bench drives them all alike:
//
//	GET /floor?room=NAME	in the room NAME; a message goes to all of the room,
//				its sender included, as it came
//	GET /echo		each message back, with its opcode
//
// The exception is centrifuge, whose protocol is its own.
//
// A server here is what a user of the library would write who has read its
// documentation and wants it fast: see README.md for what each one sets, and
// why. None keeps a history, authenticates anybody, or bounds its rooms.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// maxMessage is the longest message that a server takes: what the echo of
// throng takes.
const maxMessage = 16 << 20

// readBuffer is the read buffer of each connection, where the library lets its
// user choose: one read takes several messages of the usual benchmarks, and
// fifteen thousand of them are 15 MiB.
const readBuffer = 1 << 10

// queued is how many messages may wait for a connection. One that has more
// waiting is closed: whoever reads that slowly has no place in a benchmark of
// those who read.
const queued = 32

// peer is a server over one library. Serve returns only with an error.
type peer struct {
	name  string
	serve func(net.Listener) error
}

func peers() []peer {
	return []peer{
		{"gws", serveGWS},
		{"gorilla", serveGorilla},
		{"coder", serveCoder},
		{"melody", serveMelody},
		{"nbio", serveNBIO},
		{"gobwas", serveGobwas},
		{"centrifuge", serveCentrifuge},
	}
}

func main() {
	set := pflag.NewFlagSet("peers", pflag.ExitOnError)
	listen := set.String("listen", "127.0.0.1:8000", "where to listen, on the loopback")
	collect := set.Bool("collect", false, "collect garbage every two seconds, so that memory is what is in use")
	_ = set.Parse(os.Args[1:]) // exits
	if set.NArg() != 1 {
		fmt.Fprintf(os.Stderr, "usage: peers %s [--listen 127.0.0.1:PORT] [--collect]\n", strings.Join(names(), "|"))
		os.Exit(64)
	}
	if *collect {
		go collectGarbage()
	}
	if err := run(set.Arg(0), *listen); err != nil {
		fmt.Fprintf(os.Stderr, "peers: %v\n", err)
		os.Exit(1)
	}
}

// collectGarbage is for the comparison of memory: a Go process that has little to
// do keeps its garbage for two minutes.
func collectGarbage() {
	for range time.Tick(2 * time.Second) {
		debug.FreeOSMemory()
	}
}

func names() []string {
	var names []string
	for _, p := range peers() {
		names = append(names, p.name)
	}
	return names
}

func run(name, address string) error {
	for _, p := range peers() {
		if p.name != name {
			continue
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		bound, ok := l.Addr().(*net.TCPAddr)
		if !ok || !bound.IP.IsLoopback() {
			return errors.Join(fmt.Errorf("%s is not on the loopback: these servers are for nobody else", l.Addr()), l.Close())
		}
		fmt.Printf("%s is ready: http://%s/\n", name, l.Addr())
		return p.serve(l)
	}
	return fmt.Errorf("there is no peer %q: %s", name, strings.Join(names(), ", "))
}
