package bench

import (
	"bytes"
	"fmt"
	"strconv"
)

// appendResume appends the JSON command that joins a room where the client left it.
func appendResume(dst []byte, room, epoch string, offset uint64) []byte {
	dst = append(dst, `{"type":"join","id":"r","room":"`...)
	dst = append(dst, room...)
	dst = append(dst, `","since":{"epoch":"`...)
	dst = append(dst, epoch...)
	dst = append(dst, `","offset":`...)
	dst = strconv.AppendUint(dst, offset, 10)
	return append(dst, "}}"...)
}

var (
	epochField     = []byte(`"epoch":"`)
	recoveredField = []byte(`"recovered":true`)
)

// joinedEpoch returns the epoch in a JSON joined event.
func joinedEpoch(payload []byte) (string, error) {
	_, rest, _ := bytes.Cut(payload, epochField)
	epoch, _, found := bytes.Cut(rest, []byte{'"'})
	if !found {
		return "", fmt.Errorf("the server sent %.200q, which lacks an epoch", payload)
	}
	return string(epoch), nil
}

// recovered reports whether a JSON joined event goes on where the client was.
func recovered(payload []byte) bool { return bytes.Contains(payload, recoveredField) }
