package netio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// transcript is a frameSink that writes down what it is told, and asks for a
// stop after each frame if it is told to.
type transcript struct {
	lines   []string
	stop    bool
	stopped bool
}

func (tr *transcript) message(op ws.OpCode, payload []byte) bool {
	tr.lines = append(tr.lines, fmt.Sprintf("message %d %x", op, payload))
	return !tr.stop
}

func (tr *transcript) control(op ws.OpCode, payload []byte) bool {
	tr.lines = append(tr.lines, fmt.Sprintf("control %d %x", op, payload))
	if op == ws.OpClose {
		tr.stopped = true
		return false
	}
	return !tr.stop
}

// readAll feeds a stream cut into pieces, whose sizes cuts gives in turn, and
// returns what came of it. With stop, the sink stops after every frame.
func readAll(t *testing.T, pool *buffers, stream, cuts []byte, stop bool) ([]string, error) {
	r := frameReader{pool: pool, maxMessage: 4096}
	tr := &transcript{stop: stop}
	rest := bytes.Clone(stream)
	for i := 0; len(rest) > 0 && !tr.stopped; i++ {
		n := len(rest)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		piece := rest[:n]
		rest = rest[n:]
		for len(piece) > 0 && !tr.stopped {
			took, err := r.feed(piece, tr)
			if err != nil {
				r.release()
				return tr.lines, err
			}
			if took == 0 && len(piece) > 0 {
				t.Fatal("the reader takes nothing")
			}
			if took < len(piece) && !stop && !tr.stopped {
				t.Fatalf("the reader took %d of %d bytes and nobody stopped it", took, len(piece))
			}
			piece = piece[took:]
		}
		if held := r.held(); held > 2*len(stream)+2*minBuffer {
			t.Fatalf("the reader holds %d bytes after %d", held, len(stream))
		}
	}
	r.release()
	return tr.lines, nil
}

// FuzzFrames: however a stream is cut, and wherever reading stops, the same
// messages, control frames and errors come out, and gobwas/ws, which reads
// frames one by one, sees the same headers.
func FuzzFrames(f *testing.F) {
	for _, sc := range scripts() {
		if len(sc.send) < 4096 {
			f.Add(sc.send, []byte{0}, false)
			f.Add(sc.send, []byte{3, 1, 200}, true)
		}
	}
	var pool buffers
	f.Fuzz(func(t *testing.T, stream, cuts []byte, stop bool) {
		want, wantErr := readAll(t, &pool, stream, nil, false)
		got, err := readAll(t, &pool, stream, cuts, stop)
		if !slicesEqual(got, want) {
			t.Errorf("cut by %v: %q, whole: %q", cuts, got, want)
		}
		var a, b *protocolError
		errors.As(wantErr, &a)
		errors.As(err, &b)
		if (a == nil) != (b == nil) || a != nil && a.code != b.code {
			t.Errorf("cut by %v: %v, whole: %v", cuts, err, wantErr)
		}
		if wantErr == nil && len(want) > 0 {
			h, err := ws.ReadHeader(bytes.NewReader(stream))
			if err != nil || !h.Masked || h.Rsv != 0 {
				t.Errorf("gobwas/ws reads the first header as %+v, %v", h, err)
			}
		}
	})
}

func slicesEqual(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }

// readWithGobwas reads a stream as gobwas/ws does by itself: frames, fragments
// and UTF-8. It returns what came of it up to the first error, which it returns.
func readWithGobwas(stream []byte) (lines []string, err error) {
	note := func(kind string, op ws.OpCode, payload []byte) {
		lines = append(lines, fmt.Sprintf("%s %d %x", kind, op, payload))
	}
	rd := wsutil.Reader{Source: bytes.NewReader(stream), State: ws.StateServerSide, CheckUTF8: true}
	rd.OnIntermediate = func(h ws.Header, payload io.Reader) error {
		b, err := io.ReadAll(payload)
		if err == nil && int64(len(b)) < h.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if note("control", h.OpCode, b); h.OpCode == ws.OpClose {
			return errClosed
		}
		return nil
	}
	for {
		h, err := rd.NextFrame()
		if err != nil {
			return lines, err
		}
		b, err := io.ReadAll(&rd)
		if err != nil {
			return lines, err
		}
		if !h.OpCode.IsControl() {
			note("message", h.OpCode, b)
			continue
		}
		if note("control", h.OpCode, b); h.OpCode == ws.OpClose {
			return lines, errClosed
		}
	}
}

// untilLongControl cuts a stream off before the first control frame whose length
// is written in more than 7 bits (RFC 6455, section 5.5), which gobwas/ws takes.
func untilLongControl(stream []byte) []byte {
	r := bytes.NewReader(stream)
	for {
		start := len(stream) - r.Len()
		h, err := ws.ReadHeader(r)
		if err != nil || h.Length > int64(r.Len()) {
			return stream
		}
		if h.OpCode.IsControl() && len(stream)-r.Len()-start > ws.HeaderSize(h) {
			return stream[:start]
		}
		if _, err := r.Seek(h.Length, io.SeekCurrent); err != nil {
			return stream
		}
	}
}

// errClosed ends readWithGobwas after a close frame.
var errClosed = errors.New("a close frame")

// FuzzAgainstGobwas holds the frame reader to another one, gobwas/ws's own: both
// see the same messages and control frames, and where one sees an error of the
// protocol, so does the other.
func FuzzAgainstGobwas(f *testing.F) {
	for _, sc := range scripts() {
		if len(sc.send) < 4096 {
			f.Add(sc.send, []byte{2, 90})
		}
	}
	f.Add([]byte("\x8a\xfe\x00\x000000"), []byte("0")) // a pong with a long length
	var pool buffers
	f.Fuzz(func(t *testing.T, stream, cuts []byte) {
		if len(stream) > 1<<16 {
			return
		}
		got, err := readAll(t, &pool, stream, cuts, false)
		want, wantErr := readWithGobwas(untilLongControl(stream))
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Fatalf("frame %d: %s, gobwas/ws: %s", i, got[i], want[i])
			}
		}
		var bad *protocolError
		theirs := wantErr != nil && !errors.Is(wantErr, io.EOF) && !errors.Is(wantErr, io.ErrUnexpectedEOF) && !errors.Is(wantErr, errClosed)
		switch errors.As(err, &bad); {
		case bad != nil && bad.code == ws.StatusMessageTooBig: // the reader's own limit
		case bad == nil && len(got) != len(want):
			t.Errorf("%q, gobwas/ws: %q (%v)", got, want, wantErr)
		case bad != nil && len(want) > len(got):
			t.Errorf("%v after %q, gobwas/ws: %q", err, got, want)
		case bad == nil && theirs:
			t.Errorf("no error after %q, gobwas/ws: %v", got, wantErr)
		}
	})
}

// FuzzText: a text cut anywhere is judged as it is as a whole, and never late.
func FuzzText(f *testing.F) {
	for _, s := range []string{"κόσμε", "\xed\xa0\x80", "\xf4\x90\x80\x80", "a\xf0\x9f\x98\x80b", "\xce"} {
		f.Add(s, uint8(1), uint8(2))
	}
	f.Fuzz(func(t *testing.T, s string, i, j uint8) {
		var u utf8Check
		ok := true
		for _, part := range []string{s[:min(int(i), len(s))], s[min(int(i), len(s)):min(int(i)+int(j), len(s))], s[min(int(i)+int(j), len(s)):]} {
			ok = ok && u.write([]byte(part))
		}
		if want := strings.ToValidUTF8(s, "") == s; (ok && u.complete()) != want {
			t.Errorf("%q cut at %d and %d: valid %v, complete %v, want %v", s, i, j, ok, u.complete(), want)
		}
	})
}

// FuzzHead: no head breaks the parser; the end of a head is found at the same
// place however it arrives; and what passes as an upgrade is a request that
// net/http reads the same way.
func FuzzHead(f *testing.F) {
	f.Add([]byte(upgradeRequest("/ws?a=b", "Origin: http://example.org", "Sec-WebSocket-Protocol: a, b")), uint16(5))
	f.Add([]byte(upgradeRequest("http://example.org/ws", "X: a", " folded")), uint16(50))
	f.Add([]byte("GET / HTTP/1.1\nHost: x\n\n"), uint16(1))
	f.Add([]byte("\r\n\r\n"), uint16(2))
	limits := Options{}
	limits.setDefaults()
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		size := findHead(b, 0)
		at := min(int(cut), len(b))
		early := findHead(b[:at], 0)
		switch {
		case early != 0 && early != size:
			t.Errorf("the head ends at %d of the first %d bytes, and at %d of all", early, at, size)
		case early == 0 && findHead(b, at) != size:
			t.Errorf("the head ends at %d when looked for from %d, and else at %d", findHead(b, at), at, size)
		}
		if size == 0 {
			return
		}
		h := parseHead(b[:size], nil)
		r, key, err := h.check(&limits.Limits, longestLine(b[:size]))
		if err != nil || !h.isUpgrade() {
			return
		}
		std, failed := http.ReadRequest(bufio.NewReader(bytes.NewReader(b[:size])))
		if failed != nil {
			if strings.Contains(failed.Error(), "parse ") || strings.Contains(failed.Error(), "malformed Host") {
				return // net/url and net/http are stricter about what is in a target and a host
			}
			t.Fatalf("net/http does not read %q: %v", b[:size], failed)
		}
		if std.Method != "GET" || std.Header.Get("Sec-WebSocket-Key") != key || std.Header.Get("Origin") != r.Origin {
			t.Errorf("net/http reads %q as %+v", b[:size], std)
		}
		if got, want := string(appendUpgrade(nil, key, "a", "")), theirUpgrade(t, key, "a"); got != want {
			t.Errorf("the answer to the key %q is %q, gobwas/ws's is %q", key, got, want)
		}
	})
}

// theirUpgrade returns gobwas/ws's answer to an upgrade that offers a subprotocol.
func theirUpgrade(t *testing.T, key, subprotocol string) string {
	t.Helper()
	request := strings.NewReader("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\nSec-WebSocket-Protocol: " + subprotocol + "\r\n\r\n")
	u := ws.Upgrader{Protocol: func([]byte) bool { return true }}
	var answer bytes.Buffer
	if _, err := u.Upgrade(readWriter{request, &answer}); err != nil {
		t.Errorf("gobwas/ws does not take the key %q: %v", key, err)
	}
	return answer.String()
}

type readWriter struct {
	io.Reader
	io.Writer
}
