package model

import (
	"encoding/json"
	"fmt"
	"os"
	"sync"

	"github.com/thronghq/throng/internal/bintest"
	"github.com/thronghq/throng/proto"
)

// The opcodes of the codecs' frames.
const (
	text   = proto.OpCode(1)
	binary = proto.OpCode(2)
)

// tables translate between the codecs as docs/protocol.md has it, without any
// code of the server's: all of the model is about JSON.
var tables = sync.OnceValue(func() *bintest.Codec {
	page, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		panic(err)
	}
	codec, err := bintest.Read(string(page))
	if err != nil {
		panic(err)
	}
	return codec
})

// toBinary turns a client's JSON frame into the binary one.
func toBinary(frame []byte) []byte {
	encoded, err := tables().Encode(frame)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", frame, err))
	}
	return encoded
}

// fromBinary turns a frame of the server into JSON.
func fromBinary(frame []byte) []byte {
	object, err := tables().Decode(frame)
	if err != nil {
		panic(failure(fmt.Sprintf("the frame %x: %v", frame, err)))
	}
	encoded, err := json.Marshal(object)
	if err != nil {
		panic(err) // what came from JSON and bytes
	}
	return encoded
}
