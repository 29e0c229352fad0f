package proto

import (
	"fmt"
	"unsafe"
)

// Bounds, in bytes, of strings that no configured limit names.
const (
	maxDeviceText = 128
	maxEpoch      = 128
	maxCursor     = 1 << 10
)

// fieldValues is what a codec found in a frame: the values of its fields, none
// of them checked for what it means. All are asked for fields that were there.
type fieldValues interface {
	// text returns a string, which may alias the frame or cmd's scratch, and
	// false where the value is none.
	text(f field, cmd *Command) ([]byte, bool)

	// integer returns an integer that is not negative, and false where the
	// value is none.
	integer(f field) (uint64, bool)

	// boolean returns a truth, and false where the value is none.
	boolean(f field) (value, ok bool)

	// isObject reports whether the value is an object of further fields.
	isObject(f field) bool

	// content fills in a message's content and its kind.
	content(cmd *Command, limits *Limits) *Error

	// show returns the value for a person to read, cut short.
	show(f field) string
}

// values reads a frame's fields into a command: what each command needs, and
// what its fields may be, is the same in all codecs. The first field that is
// wrong decides err; what is read after it does not count.
type values struct {
	from   fieldValues
	seen   fieldSet
	limits *Limits
	cmd    *Command
	err    *Error
}

// id fills in the command's id.
func (v *values) id() { v.cmd.ID = v.text(fieldID, 1, v.limits.IDBytes) }

// command fills in the command's fields, as its type asks for.
func (v *values) command() {
	cmd := v.cmd
	switch cmd.Type {
	case CmdAuth:
		v.auth()
	case CmdJoin:
		cmd.Room = v.room(fieldRoom)
		cmd.Echo = v.boolean(fieldEcho)
		cmd.Since = v.since()
	case CmdLeave:
		cmd.Room = v.room(fieldRoom)
	case CmdMessage:
		v.message()
	case CmdHistory:
		v.history()
	case CmdAck:
		cmd.Room = v.room(fieldRoom)
		cmd.Epoch = v.required(fieldEpoch, 1, maxEpoch)
		cmd.Offset = v.requiredInteger(fieldOffset, 0, MaxSafeInteger)
	case CmdMembers:
		cmd.Room = v.room(fieldRoom)
		cmd.Cursor = v.text(fieldCursor, 1, maxCursor)
	case CmdStatus:
		v.status()
	case CmdHost:
		v.host()
	case CmdPing:
		cmd.Timestamp = int64(v.requiredInteger(fieldTimestamp, 0, MaxSafeInteger))
	}
}

func (v *values) auth() {
	v.cmd.Token = v.required(fieldToken, 1, v.limits.TokenBytes)
	if v.has(fieldDeviceInfo) && !v.from.isObject(fieldDeviceInfo) {
		v.wrong(fieldDeviceInfo, "an object with type and os")
		return
	}
	v.cmd.DeviceType = v.text(fieldDeviceType, 0, maxDeviceText)
	v.cmd.DeviceOS = v.text(fieldDeviceOS, 0, maxDeviceText)
}

func (v *values) since() Since {
	if !v.has(fieldSince) {
		return Since{}
	}
	const expected = "an object with offset and epoch (and timestamp, if known), or with timestamp alone, or with last alone"
	offset, epoch := v.has(fieldSinceOffset), v.has(fieldSinceEpoch)
	timestamp, last := v.has(fieldSinceTimestamp), v.has(fieldSinceLast)
	switch {
	case offset && epoch && !last:
		return Since{
			Kind:   SincePosition,
			Offset: v.integer(fieldSinceOffset, 0, MaxSafeInteger),
			Epoch:  v.text(fieldSinceEpoch, 1, maxEpoch),
			Millis: int64(v.integer(fieldSinceTimestamp, 0, MaxSafeInteger)),
		}
	case timestamp && !offset && !epoch && !last:
		return Since{Kind: SinceTime, Millis: int64(v.integer(fieldSinceTimestamp, 0, MaxSafeInteger))}
	case last && !offset && !epoch && !timestamp:
		return Since{Kind: SinceLast, Last: int(v.integer(fieldSinceLast, 1, uint64(v.limits.Replay)))}
	}
	v.wrong(fieldSince, expected)
	return Since{}
}

func (v *values) message() {
	cmd := v.cmd
	cmd.Room = v.room(fieldTo)
	cmd.Key = v.text(fieldKey, 1, v.limits.KeyBytes)
	cmd.Transient = v.boolean(fieldTransient)
	if !v.need(fieldContent, "any JSON value") {
		return
	}
	if err := v.from.content(cmd, v.limits); err != nil {
		v.fail(err)
	}
}

// checkContentSize reports content that is too large.
func checkContentSize(size int, limits *Limits) *Error {
	if size <= limits.Message {
		return nil
	}
	return ErrTooLarge.With("field %q has %d bytes; limits.message is %d", fieldContent.name(), size, limits.Message)
}

func (v *values) history() {
	v.cmd.Room = v.room(fieldRoom)
	h := &v.cmd.History
	h.From = int64(v.integer(fieldFrom, 0, MaxSafeInteger))
	h.To = int64(v.integer(fieldTo, 1, MaxSafeInteger))
	h.After = v.integer(fieldAfter, 0, MaxSafeInteger)
	h.Before = v.integer(fieldBefore, 1, MaxSafeInteger)
	h.Limit = int(v.integer(fieldLimit, 1, uint64(v.limits.HistoryPage)))
	h.Reverse = v.boolean(fieldReverse)
	v.cmd.Cursor = v.text(fieldCursor, 1, maxCursor)

	times := v.has(fieldFrom) || v.has(fieldTo)
	offsets := v.has(fieldAfter) || v.has(fieldBefore)
	switch {
	case times && offsets:
		v.fail(ErrInvalidField.With(`fields "from" and "to" (times) do not go with "after" and "before" (offsets)`))
	case v.has(fieldTo) && h.From > h.To:
		v.wrong(fieldTo, "a time at or after from")
	case v.has(fieldBefore) && h.After > h.Before:
		v.wrong(fieldBefore, "an offset at or above after")
	}
}

func (v *values) status() {
	v.cmd.Status = v.required(fieldStatus, 0, maxDeviceText)
	if v.err != nil {
		return
	}
	switch string(v.cmd.Status) {
	case "online", "away", "busy":
	default:
		v.wrong(fieldStatus, `"online", "away" or "busy"`)
	}
}

// hostFields names the field that asks for each of the host's actions.
var hostFields = [...]struct {
	field  field
	action HostAction
}{
	{fieldMaxUsers, HostMaxUsers},
	{fieldKick, HostKick},
	{fieldBan, HostBan},
	{fieldUnban, HostUnban},
	{fieldMute, HostMute},
	{fieldUnmute, HostUnmute},
	{fieldHandOver, HostHandOver},
	{fieldClose, HostClose},
}

func (v *values) host() {
	cmd := v.cmd
	cmd.Room = v.room(fieldRoom)
	var asked field
	count := 0
	for _, entry := range hostFields {
		if v.has(entry.field) {
			asked, cmd.Action = entry.field, entry.action
			count++
		}
	}
	switch {
	case count != 1:
		cmd.Action = HostNone
		v.fail(ErrInvalidField.With("the host command asks for %d actions; exactly one of maxUsers, kick, ban, unban, mute, unmute, handOver and close is expected", count))
	case asked == fieldMaxUsers:
		cmd.Max = int(v.integer(fieldMaxUsers, 0, 1<<31-1))
	case asked == fieldClose:
		if !v.boolean(fieldClose) {
			cmd.Action = HostReopen
		}
	default:
		cmd.User = v.text(asked, 1, v.limits.UserIDBytes)
	}
}

// room returns a required field that names a room. Its length is CheckRoomName's
// to judge, as an inbox's name may be longer than others.
func (v *values) room(f field) []byte {
	if !v.has(f) {
		v.missing(f, textOf(1, MaxRoomName))
		return nil
	}
	name, ok := v.from.text(f, v.cmd)
	if !ok || len(name) == 0 {
		v.wrong(f, textOf(1, MaxRoomName))
		return nil
	}
	// CheckRoomName only looks at the name while it runs.
	if err := CheckRoomName(f.name(), unsafe.String(unsafe.SliceData(name), len(name))); err != nil {
		v.fail(err)
		return nil
	}
	return name
}

// required returns the text of a field that must be there.
func (v *values) required(f field, least, most int) []byte {
	if !v.has(f) {
		v.missing(f, textOf(least, most))
		return nil
	}
	return v.text(f, least, most)
}

// text returns a field's string, of least to most bytes, or nil where the field
// is absent or wrong.
func (v *values) text(f field, least, most int) []byte {
	if !v.has(f) {
		return nil
	}
	text, ok := v.from.text(f, v.cmd)
	if !ok || len(text) < least || len(text) > most {
		v.wrong(f, textOf(least, most))
		return nil
	}
	return text
}

func textOf(least, most int) string {
	return fmt.Sprintf("a string of %d to %d bytes", least, most)
}

// requiredInteger returns the integer of a field that must be there.
func (v *values) requiredInteger(f field, least, most uint64) uint64 {
	if !v.has(f) {
		v.missing(f, integerOf(least, most))
		return 0
	}
	return v.integer(f, least, most)
}

// integer returns a field's integer, least to most, or 0 where the field is
// absent or wrong.
func (v *values) integer(f field, least, most uint64) uint64 {
	if !v.has(f) {
		return 0
	}
	n, ok := v.from.integer(f)
	if !ok || n < least || n > most {
		v.wrong(f, integerOf(least, most))
		return 0
	}
	return n
}

func integerOf(least, most uint64) string {
	return fmt.Sprintf("an integer of %d to %d", least, most)
}

// boolean returns a field's truth, false where it is absent or wrong.
func (v *values) boolean(f field) bool {
	if !v.has(f) {
		return false
	}
	value, ok := v.from.boolean(f)
	if !ok {
		v.wrong(f, "true or false")
	}
	return value
}

// has reports whether the field was there.
func (v *values) has(f field) bool { return v.seen.has(f) }

// need reports whether the field is there, and fails where it is not.
func (v *values) need(f field, expected string) bool {
	if !v.has(f) {
		v.missing(f, expected)
		return false
	}
	return true
}

func (v *values) missing(f field, expected string) {
	v.fail(ErrInvalidField.With("field %q is missing; %s is expected", f.name(), expected))
}

// wrong fails for a field's value, which it shows, unless it is a secret.
func (v *values) wrong(f field, expected string) {
	shown := "not one"
	if f != fieldToken {
		shown = v.from.show(f)
	}
	v.fail(wrongValue(f, shown, expected))
}

func wrongValue(f field, shown, expected string) *Error {
	return ErrInvalidField.With("field %q is %s; %s is expected", f.name(), shown, expected)
}

// fail keeps the first error.
func (v *values) fail(err *Error) {
	if v.err == nil {
		v.err = err
	}
}
