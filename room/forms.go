package room

import (
	"bytes"
	"slices"
	"sync"

	"github.com/thronghq/throng/proto"
)

// encoding is a batch in one form: the frames one behind the other, and where
// each ends.
type encoding struct {
	form   proto.Form
	frames []byte
	ends   []int
}

// form is what the room's frames look like for a member.
func (r *Room) form(m Member) proto.Form {
	f := m.Form()
	if !r.ns.Compress {
		f.Window = proto.Plain
	}
	return f
}

// Compress compresses, in its place, a frame of one member about the room of that
// name, where the room's namespace says so; "" stands for no room.
func (h *Hub) Compress(frame []byte, room string, w proto.Window) []byte {
	if w == proto.Plain || room == "" {
		return frame
	}
	if ns := h.namespaces[proto.NamespaceOf(room)]; ns == nil || !ns.Compress {
		return frame
	}
	return h.deflate.Frame(frame, 0, w)
}

// enterForm notes that one member more takes a form, and returns the form's index
// in the room's. There are as many as codecs and windows at most.
func (r *Room) enterForm(f proto.Form) uint8 {
	i := slices.IndexFunc(r.forms, func(n formCount) bool { return n.form == f })
	if i < 0 {
		r.forms = append(r.forms, formCount{form: f})
		i = len(r.forms) - 1
	}
	r.forms[i].members++
	return uint8(i)
}

// encode makes the frames once for each form that somebody in the room takes.
// The buffers are new: members' outboxes share them from here on.
func (r *Room) encode(b *batch) {
	size := 0
	for _, o := range b.pubs {
		size += len(o.Content) + frameOverhead
	}
	for _, n := range r.forms {
		if n.members > 0 {
			r.encodeFor(b, n.form, size)
		}
	}
	for _, m := range b.listeners {
		r.encodeFor(b, r.form(m), size)
	}
}

// encodeFor makes the batch's frames in one form, unless it has them. The
// compressed ones are made from the plain ones.
func (r *Room) encodeFor(b *batch, f proto.Form, size int) encoding {
	if e := b.encoding(f); e != nil {
		return *e
	}
	var e encoding
	if f.Window != proto.Plain {
		e = r.compress(r.encodeFor(b, f.Plain(), size), f)
	} else {
		e = encoding{form: f, frames: make([]byte, 0, size), ends: make([]int, 0, len(b.pubs))}
		for _, o := range b.pubs {
			e.frames = proto.AppendMessageFrame(e.frames, f.Codec, &o.Message, false)
			e.ends = append(e.ends, len(e.frames))
		}
	}
	b.encodings = append(b.encodings, e)
	return e
}

func (b *batch) encoding(f proto.Form) *encoding {
	for i := range b.encodings {
		if b.encodings[i].form == f {
			return &b.encodings[i]
		}
	}
	return nil
}

// scratch lends buffers for what is compressed, and for what one member gets: how
// large it becomes is not known before, and members' outboxes keep no space in
// vain.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// keepOf returns a copy of frames, which were made in a buffer of scratch, and
// gives the buffer back.
func keepOf(buf *[]byte, frames []byte) []byte {
	kept := bytes.Clone(frames)
	giveBack(buf, frames)
	return kept
}

// giveBack gives scratch the buffer that frames were made in.
func giveBack(buf *[]byte, frames []byte) {
	const most = 2 * batchBytes // larger buffers are not kept
	*buf = frames
	if cap(frames) > most {
		*buf = nil
	}
	scratch.Put(buf)
}

// compress makes a form of the frames of a plain encoding, each by itself: they
// may be delivered apart.
func (r *Room) compress(plain encoding, f proto.Form) encoding {
	e := encoding{form: f, frames: plain.frames, ends: make([]int, 0, len(plain.ends))}
	buf := scratch.Get().(*[]byte)
	packed, start := (*buf)[:0], 0
	for _, end := range plain.ends {
		at := len(packed)
		packed = append(packed, plain.frames[start:end]...)
		packed = r.hub.deflate.Frame(packed, at, f.Window)
		e.ends = append(e.ends, len(packed))
		start = end
	}
	if len(packed) < len(plain.frames) { // or else they are the same
		e.frames = bytes.Clone(packed)
	}
	giveBack(buf, packed)
	return e
}

// appendMessage appends the frame of one message in a form.
func (r *Room) appendMessage(dst []byte, f proto.Form, m *proto.Message, own bool) []byte {
	start := len(dst)
	dst = proto.AppendMessageFrame(dst, f.Codec, m, own)
	return r.hub.deflate.Frame(dst, start, f.Window)
}

// fitted returns frames that are one member's without the space that they grew by,
// where that is more than they are: messages that were compressed in it may have
// been a thousand times as long. The member's outbox keeps all of it alive, and
// counts what is sent.
func fitted(frames []byte) []byte {
	if cap(frames) <= 2*len(frames) {
		return frames
	}
	return bytes.Clone(frames)
}

// encodeEvents adds the frame of an event in each form that somebody in the room
// takes.
func (r *Room) encodeEvents(b *batch, ev *proto.Event) {
	for _, n := range r.forms {
		if n.members > 0 {
			r.encodeEvent(b, n.form, ev)
		}
	}
}

// encodeEvent adds the frame of an event in one form.
func (r *Room) encodeEvent(b *batch, f proto.Form, ev *proto.Event) {
	frame := proto.AppendEventFrame(make([]byte, 0, frameOverhead), f.Codec, ev)
	b.encodings = append(b.encodings, encoding{form: f, frames: r.hub.deflate.Frame(frame, 0, f.Window)})
}
