package bench

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

// serverFrame is a frame as a server sends it.
func serverFrame(t testing.TB, op ws.OpCode, payload []byte) []byte {
	t.Helper()
	frame, err := ws.CompileFrame(ws.NewFrame(op, true, payload))
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

// readFrame is another reader of frames.
func readFrame(r io.Reader) (ws.Frame, error) {
	header, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	payload, err := io.ReadAll(io.LimitReader(r, header.Length))
	if err == nil && int64(len(payload)) < header.Length {
		err = io.ErrUnexpectedEOF
	}
	return ws.Frame{Header: header, Payload: payload}, err
}

// sizes are payloads at the edges of the header's three forms.
var sizes = []int{0, 1, 125, 126, 127, 65_535, 65_536, 70_000}

func TestNextFrameTakesFramesInPieces(t *testing.T) {
	for _, size := range sizes {
		payload := bytes.Repeat([]byte{'x'}, size)
		frame := serverFrame(t, ws.OpBinary, payload)
		for cut := range min(len(frame), 200) {
			if _, _, n, need, err := nextFrame(frame[:cut], false); n != 0 || need <= cut || err != nil {
				t.Fatalf("%d bytes of a frame of %d: size %d, need %d, %v", cut, len(frame), n, need, err)
			}
		}
		op, got, n, _, err := nextFrame(append(frame[:len(frame):len(frame)], "the next frame"...), false)
		if op != ws.OpBinary || !bytes.Equal(got, payload) || n != len(frame) || err != nil {
			t.Errorf("a payload of %d bytes: opcode %v, %d bytes, size %d, %v", size, op, len(got), n, err)
		}
	}
}

func TestNextFrameRefuses(t *testing.T) {
	for _, test := range []struct {
		name    string
		frame   []byte
		deflate bool
		want    error
	}{
		{"a masked frame", []byte{0x81, 0x80}, false, errMasked},
		{"a compressed frame", []byte{0xc1, 0x00}, false, errReserved},
		{"a compressed ping", []byte{0xc9, 0x00}, true, errReserved},
		{"a reserved bit", []byte{0xa1, 0x00}, true, errReserved},
		{"another", []byte{0x91, 0x00}, true, errReserved},
		{"a first fragment", []byte{0x01, 0x00}, false, errFragmented},
		{"a last fragment", []byte{0x80, 0x00}, false, errFragmented},
	} {
		if _, _, _, _, err := nextFrame(test.frame, test.deflate); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, err, test.want)
		}
	}
	if _, _, _, _, err := nextFrame([]byte{0x82, 127, 0, 0, 0, 0, 0xff, 0, 0, 0}, false); err == nil {
		t.Error("a frame beyond the bound was taken")
	}
}

func TestEndFrameIsWhatServersRead(t *testing.T) {
	for _, size := range sizes {
		payload := bytes.Repeat([]byte("ab"), size)[:size]
		before := []byte("before")
		frame := beginFrame(before)
		frame = endFrame(append(frame, payload...), len(before), ws.OpText)
		reader := bytes.NewReader(frame[len(before):])
		got, err := readFrame(reader)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Header.Masked || !got.Header.Fin || got.Header.OpCode != ws.OpText {
			t.Errorf("a payload of %d bytes: header %+v", size, got.Header)
		}
		if unmasked := ws.UnmaskFrameInPlace(got).Payload; !bytes.Equal(unmasked, payload) {
			t.Errorf("a payload of %d bytes did not survive", size)
		}
		if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
			t.Errorf("a payload of %d bytes: something follows the frame", size)
		}
	}
}

func FuzzNextFrame(f *testing.F) {
	for _, size := range sizes[:5] {
		f.Add(serverFrame(f, ws.OpText, bytes.Repeat([]byte{'x'}, size)), size%2 == 0)
	}
	f.Add([]byte{0xc1, 0x01, 0x00}, true)
	f.Fuzz(func(t *testing.T, b []byte, deflate bool) {
		op, payload, size, need, err := nextFrame(b, deflate)
		if err != nil {
			return
		}
		if size == 0 {
			if need <= len(b) {
				t.Fatalf("%d bytes are there, and %d are asked for", len(b), need)
			}
			return
		}
		if size > len(b) || len(payload) > size-2 {
			t.Fatalf("a frame of %d bytes with %d of payload in %d", size, len(payload), len(b))
		}
		if again, err := readFrame(bytes.NewReader(b[:size])); err != nil || again.Header.OpCode != op || !bytes.Equal(again.Payload, payload) {
			t.Fatalf("another reader of frames sees %+v, %v", again.Header, err)
		}
	})
}
