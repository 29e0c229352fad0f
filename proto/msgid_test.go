package proto_test

import (
	"bytes"
	"math"
	"regexp"
	"testing"

	"github.com/thronghq/throng/proto"
)

func TestMsgIDFormat(t *testing.T) {
	// RFC 9562, section 5.7: 48 bits of milliseconds, version 7, variant 10.
	id := proto.NewMsgID(1_760_000_000_123_456, 0x3fff_ffff_ffff_ffff)
	if got, want := id.String(), "0199c82c-c07b-774b-bfff-ffffffffffff"; got != want {
		t.Errorf("id %s, want %s", got, want)
	}
	form := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	for _, tail := range []uint64{0, 1, 42, 1 << 61, math.MaxUint64} {
		for _, micros := range []int64{0, 1, 999, 1000, 1_760_000_000_999_999} {
			id := proto.NewMsgID(micros, tail)
			if !form.MatchString(id.String()) {
				t.Errorf("%d µs, tail %d: %s is not a UUIDv7", micros, tail, id)
			}
			if got, want := id.Tail(), tail&(1<<62-1); got != want {
				t.Errorf("tail %x, want %x", got, want)
			}
			if got := string(id.AppendText([]byte("x"))); got != "x"+id.String() {
				t.Errorf("AppendText: %s", got)
			}
		}
	}
}

// Ids sort by time: with each microsecond an id above all of the one before,
// whatever the tails, as bytes and as text.
func TestMsgIDOrder(t *testing.T) {
	const start = 1_759_999_999_999_000
	for micros := int64(start); micros < start+3000; micros++ {
		high, next := proto.NewMsgID(micros, math.MaxUint64), proto.NewMsgID(micros+1, 0)
		if bytes.Compare(high[:], next[:]) >= 0 || high.String() >= next.String() {
			t.Fatalf("%s of %d µs is not below %s", high, micros, next)
		}
	}
}
