package proto_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/thronghq/throng/proto"
)

// FuzzBinaryDecode holds the two codecs against each other: a command that the
// binary one accepts is, said in JSON, the same command, and so it is when that
// is turned into a binary frame by the page's tables.
func FuzzBinaryDecode(f *testing.F) {
	for _, direction := range []string{"client", "server"} {
		for _, v := range readVectors(f, direction) {
			f.Add(v.frame(f))
		}
	}
	for _, written := range []string{
		"", "00", "08", "03 05", "03 05(a) 05(a)", "03 05 ff ff ff ff ff ff ff 7f", "03 05(a) e9 07(later)",
		"04 07(a) 11([[[[[[]]]]]])", "04 15(k) 11( {\"a\":1,\"a\":2} ) 07(a)", "05 05(a) 34 03 36 02",
		"01 5f(t) 61 00 63(os)", "02 05(a) 44 00", "02 05(a) 40 00 43(e) 44 00", "04 07(a) 11(\"\\ud800\")",
	} {
		f.Add(frameOf(f, written))
	}
	limits := proto.DefaultLimits()
	limits.Depth = 6 // within reach of the fuzzer
	binary, text, tables := proto.NewBinary(&limits), proto.NewJSON(&limits), readTables(f)
	var cmd, again proto.Command
	f.Fuzz(func(t *testing.T, frame []byte) {
		before := slices.Clone(frame)
		err := binary.Decode(frame, &cmd)
		if !bytes.Equal(frame, before) {
			t.Fatal("Decode changed the frame")
		}
		expectSameID(t, text, &cmd)
		if err != nil {
			if err.Text() == "" || !utf8.ValidString(err.Text()) {
				t.Fatalf("reason %q", err.Text())
			}
			return
		}
		said := commandJSON(t, &cmd)
		if err := text.Decode(said, &again); err != nil {
			t.Fatalf("accepted as binary, but of %s: %v", said, err)
		}
		expectCommand(t, &again, &cmd)
		if err := binary.Decode(encode(t, tables, string(said)), &again); err != nil {
			t.Fatalf("%v of %s", err, said)
		}
		expectCommand(t, &again, &cmd)
	})
}

// commandJSON says a command in JSON.
func commandJSON(t *testing.T, cmd *proto.Command) []byte {
	t.Helper()
	fields := map[string]any{"type": cmd.Type.String()}
	text := func(name string, value []byte) {
		if value != nil {
			fields[name] = string(value)
		}
	}
	unlessZero := func(name string, value int64) {
		if value != 0 {
			fields[name] = value
		}
	}
	text("id", cmd.ID)
	text("room", cmd.Room)
	text("cursor", cmd.Cursor)
	switch cmd.Type {
	case proto.CmdAuth:
		text("token", cmd.Token)
		device := make(map[string]string)
		if cmd.DeviceType != nil {
			device["type"] = string(cmd.DeviceType)
		}
		if cmd.DeviceOS != nil {
			device["os"] = string(cmd.DeviceOS)
		}
		fields["deviceInfo"] = device
	case proto.CmdJoin:
		fields["echo"] = cmd.Echo
		if since := sinceJSON(&cmd.Since); since != nil {
			fields["since"] = since
		}
	case proto.CmdMessage:
		delete(fields, "room")
		text("to", cmd.Room)
		text("key", cmd.Key)
		fields["transient"] = cmd.Transient
	case proto.CmdHistory:
		unlessZero("from", cmd.History.From)
		unlessZero("to", cmd.History.To)
		unlessZero("after", int64(cmd.History.After))
		unlessZero("before", int64(cmd.History.Before))
		unlessZero("limit", int64(cmd.History.Limit))
		fields["reverse"] = cmd.History.Reverse
	case proto.CmdAck:
		text("epoch", cmd.Epoch)
		fields["offset"] = cmd.Offset
	case proto.CmdStatus:
		text("status", cmd.Status)
	case proto.CmdHost:
		hostJSON(fields, cmd)
	case proto.CmdPing:
		fields["timestamp"] = cmd.Timestamp
	}
	if cmd.Kind == proto.KindBytes {
		fields["content"], fields["encoding"] = append([]byte{}, cmd.Content...), "base64"
	}
	said, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if cmd.Type == proto.CmdMessage && cmd.Kind == proto.KindJSON {
		said = append(append(append(said[:len(said)-1], `,"content":`...), cmd.Content...), '}')
	}
	return said
}

func sinceJSON(s *proto.Since) map[string]any {
	switch s.Kind {
	case proto.SincePosition:
		return map[string]any{"offset": s.Offset, "epoch": string(s.Epoch), "timestamp": s.Millis}
	case proto.SinceTime:
		return map[string]any{"timestamp": s.Millis}
	case proto.SinceLast:
		return map[string]any{"last": s.Last}
	}
	return nil
}

func hostJSON(fields map[string]any, cmd *proto.Command) {
	switch cmd.Action {
	case proto.HostMaxUsers:
		fields["maxUsers"] = cmd.Max
	case proto.HostKick:
		fields["kick"] = string(cmd.User)
	case proto.HostBan:
		fields["ban"] = string(cmd.User)
	case proto.HostUnban:
		fields["unban"] = string(cmd.User)
	case proto.HostMute:
		fields["mute"] = string(cmd.User)
	case proto.HostUnmute:
		fields["unmute"] = string(cmd.User)
	case proto.HostHandOver:
		fields["handOver"] = string(cmd.User)
	case proto.HostClose, proto.HostReopen:
		fields["close"] = cmd.Action == proto.HostClose
	}
}
