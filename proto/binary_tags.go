package proto

import (
	"fmt"
	"slices"
	"strings"
)

// A tag is a field's number on the wire. A number is never given to another
// field, nor a field another form; docs/protocol.md lists them all, and a test
// holds the two together. Tags below 64 make keys of one byte.
type tag uint64

const (
	tagID             tag = 1
	tagRoom           tag = 2
	tagTo             tag = 3
	tagFrom           tag = 4
	tagMsgID          tag = 5
	tagOffset         tag = 6
	tagTimestamp      tag = 7
	tagContent        tag = 8 // JSON text
	tagBytes          tag = 9 // content that is bytes
	tagKey            tag = 10
	tagTransient      tag = 11
	tagEpoch          tag = 12
	tagDuplicate      tag = 13
	tagRecovered      tag = 14
	tagHost           tag = 15
	tagMembers        tag = 16
	tagMaxUsers       tag = 17
	tagUserID         tag = 18
	tagStatus         tag = 19
	tagMessageList    tag = 20
	tagMemberList     tag = 21
	tagNextPage       tag = 22
	tagAfter          tag = 23
	tagBefore         tag = 24
	tagNextOffset     tag = 25
	tagFromTime       tag = 26
	tagToTime         tag = 27
	tagLimit          tag = 28
	tagReverse        tag = 29
	tagCursor         tag = 30
	tagEcho           tag = 31
	tagSinceOffset    tag = 32
	tagSinceEpoch     tag = 33
	tagSinceTimestamp tag = 34
	tagSinceLast      tag = 35
	tagCode           tag = 36
	tagReason         tag = 37
	tagRetry          tag = 38
	tagRetryAfter     tag = 39
	tagKick           tag = 40
	tagBan            tag = 41
	tagUnban          tag = 42
	tagMute           tag = 43
	tagUnmute         tag = 44
	tagHandOver       tag = 45
	tagClose          tag = 46
	tagToken          tag = 47
	tagDeviceType     tag = 48
	tagDeviceOS       tag = 49
	tagSessionID      tag = 50
	tagConnectedAt    tag = 51
	tagHeartbeat      tag = 52
	tagDeleted        tag = 53
	tagExpiresAt      tag = 54

	tagLimitMessage tag = 64
	tagLimitFrame   tag = 65
	tagLimitDepth   tag = 66
	tagLimitID      tag = 67
	tagLimitKey     tag = 68
	tagLimitKeyTTL  tag = 69
	tagLimitRooms   tag = 70
	tagLimitHistory tag = 71
	tagLimitReplay  tag = 72
	tagLimitOutbox  tag = 73
	tagLimitInvalid tag = 74
)

// commandTags finds the commands' fields by their tags; what it does not hold
// is not known in commands.
var commandTags = [...]field{
	tagID:             fieldID,
	tagRoom:           fieldRoom,
	tagTo:             fieldTo,
	tagOffset:         fieldOffset,
	tagTimestamp:      fieldTimestamp,
	tagContent:        fieldContent,
	tagBytes:          fieldContent,
	tagKey:            fieldKey,
	tagTransient:      fieldTransient,
	tagEpoch:          fieldEpoch,
	tagMaxUsers:       fieldMaxUsers,
	tagStatus:         fieldStatus,
	tagAfter:          fieldAfter,
	tagBefore:         fieldBefore,
	tagFromTime:       fieldFrom,
	tagToTime:         fieldTo,
	tagLimit:          fieldLimit,
	tagReverse:        fieldReverse,
	tagCursor:         fieldCursor,
	tagEcho:           fieldEcho,
	tagSinceOffset:    fieldSinceOffset,
	tagSinceEpoch:     fieldSinceEpoch,
	tagSinceTimestamp: fieldSinceTimestamp,
	tagSinceLast:      fieldSinceLast,
	tagKick:           fieldKick,
	tagBan:            fieldBan,
	tagUnban:          fieldUnban,
	tagMute:           fieldMute,
	tagUnmute:         fieldUnmute,
	tagHandOver:       fieldHandOver,
	tagClose:          fieldClose,
	tagToken:          fieldToken,
	tagDeviceType:     fieldDeviceType,
	tagDeviceOS:       fieldDeviceOS,
}

// commandField returns the field of a command that has the tag, fieldNone for
// none.
func commandField(t tag) field {
	if t < tag(len(commandTags)) {
		return commandTags[t]
	}
	return fieldNone
}

// The types of frames. A command and an event of one name share a number.
const typeMessage = 4

// binaryCommands holds the number of each command.
var binaryCommands = [...]byte{
	CmdAuth:    1,
	CmdJoin:    2,
	CmdLeave:   3,
	CmdMessage: typeMessage,
	CmdHistory: 5,
	CmdAck:     6,
	CmdMembers: 7,
	CmdStatus:  8,
	CmdHost:    9,
	CmdPing:    10,
}

// binaryEvents holds the number of each event.
var binaryEvents = [...]byte{
	EvHistory:       5,
	EvAck:           6,
	EvMembers:       7,
	EvHost:          9,
	EvPong:          11,
	EvSession:       12,
	EvJoined:        13,
	EvLeft:          14,
	EvMemberJoined:  15,
	EvMemberLeft:    16,
	EvMemberCount:   17,
	EvLag:           18,
	EvGap:           19,
	EvRoomClosed:    20,
	EvRoomUpdated:   21,
	EvDelivered:     22,
	EvError:         23,
	EvDeleted:       24,
	EvTokenExpiring: 25,
}

// binaryCommandOf returns the command of that number, CmdNone for none.
func binaryCommandOf(number byte) CommandType {
	if number == 0 {
		return CmdNone
	}
	return CommandType(max(0, slices.Index(binaryCommands[:], number)))
}

// numberedCommands lists the commands that clients may send, with their
// numbers, for them to read.
var numberedCommands = func() string {
	var names []string
	for name := range strings.SplitSeq(servedCommands, ", ") {
		names = append(names, fmt.Sprintf("%d (%s)", binaryCommands[commandOf([]byte(name))], name))
	}
	return strings.Join(names, ", ")
}()
