package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
)

const perfScript = `
	ffffffff81a2b3c0 tcp_sendmsg ([kernel.kallsyms])
	ffffffff81a00000 __sys_sendto ([kernel.kallsyms])
	          493217 room.(*Room).deliverTo (/srv/bin/throng)
	          460c31 runtime.goexit.abi0 (/srv/bin/throng)

	          493217 room.(*Room).deliverTo (/srv/bin/throng)
	          460c31 runtime.goexit.abi0 (/srv/bin/throng)

	ffffffff81a2b3c0 [unknown] ([unknown])
	          460c31 runtime.goexit.abi0 (/srv/bin/throng)
`

const heapTraces = `File: throng
Type: inuse_space
-----------+-------------------------------------------------------
     bytes:  112B
     3000B   netio.newConn (inline)
             netio.(*Server).accept
-----------+-------------------------------------------------------
     1000B   room.newRoom
             netio.(*Server).accept
-----------+-------------------------------------------------------
`

// child finds a frame below n by names.
func child(t *testing.T, n *node, names ...string) *node {
	t.Helper()
	for _, name := range names {
		var found *node
		for f, c := range n.children {
			if f.name == name {
				found = c
			}
		}
		if found == nil {
			t.Fatalf("%q has no %q", n.name, name)
		}
		n = found
	}
	return n
}

func TestPerfStacks(t *testing.T) {
	root, err := parsePerf(strings.NewReader(perfScript))
	if err != nil {
		t.Fatal(err)
	}
	deliver := child(t, root, "runtime.goexit.abi0", "room.(*Room).deliverTo")
	send := child(t, deliver, "__sys_sendto", "tcp_sendmsg")
	if root.total != 3 || deliver.total != 2 || deliver.kernel || send.total != 1 || !send.kernel {
		t.Errorf("all %d, deliverTo %+v, tcp_sendmsg %+v", root.total, deliver, send)
	}
	if !child(t, root, "runtime.goexit.abi0", "[unknown]").kernel {
		t.Error("an address of the kernel's is not taken for one")
	}
	if _, err := parsePerf(strings.NewReader("throng 1234 cycles:\n")); err == nil {
		t.Error("what is no stack is taken for one")
	}
}

func TestHeapStacks(t *testing.T) {
	root, err := parseTraces(strings.NewReader(heapTraces))
	if err != nil {
		t.Fatal(err)
	}
	accept := child(t, root, "netio.(*Server).accept")
	if root.total != 4000 || accept.total != 4000 || child(t, accept, "netio.newConn").total != 3000 || child(t, accept, "room.newRoom").total != 1000 {
		t.Errorf("all %d, accept %+v", root.total, accept)
	}
}

// A drawing is XML, says what was counted, and stays within its bound however many
// functions there are.
func TestDrawings(t *testing.T) {
	var out bytes.Buffer
	if err := run("perf", "fan-out <one>", "samples", strings.NewReader(perfScript), &out); err != nil {
		t.Fatal(err)
	}
	checkXML(t, out.Bytes())
	for _, want := range []string{
		"<title>room.(*Room).deliverTo: 2 samples, 66.7%</title>", ">tcp_sendmsg</text>", "fan-out &lt;one&gt;",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("there is no %s in\n%s", want, &out)
		}
	}

	var many strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&many, "%x function%d (/bin/x)\n%x caller%d (/bin/x)\n\n", i, i, i, i%400)
	}
	out.Reset()
	if err := run("perf", "many", "samples", strings.NewReader(many.String()), &out); err != nil {
		t.Fatal(err)
	}
	checkXML(t, out.Bytes())
	if out.Len() > maxSVG || !strings.Contains(out.String(), "caller399") {
		t.Errorf("%d bytes", out.Len())
	}

	for _, format := range []string{"perf", "traces", "other"} {
		if err := run(format, "", "", strings.NewReader(""), io.Discard); err == nil {
			t.Errorf("%s: nothing was drawn of nothing", format)
		}
	}
}

func TestShortNames(t *testing.T) {
	for name, want := range map[string]string{
		"github.com/thronghq/throng/netio.(*Conn).Deliver": "netio.(*Conn).Deliver",
		"tcp_sendmsg":               "tcp_sendmsg",
		"slices.Grow[go.shape.a/b]": "slices.Grow[go.shape.a/b]",
	} {
		if got := short(name); got != want {
			t.Errorf("%s is %s", name, got)
		}
	}
}

func checkXML(t *testing.T, svg []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(svg))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
