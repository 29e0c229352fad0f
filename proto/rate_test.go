package proto_test

import (
	"testing"

	"github.com/thronghq/throng/proto"
)

func TestParseRate(t *testing.T) {
	for text, want := range map[string]proto.Rate{
		"":                  {},
		"10/s":              {PerSecond: 10, Burst: 10},
		"0.5/s":             {PerSecond: 0.5, Burst: 1},
		"30/m burst 100":    {PerSecond: 0.5, Burst: 100},
		" 7200/h  burst 3 ": {PerSecond: 2, Burst: 3},
	} {
		got, err := proto.ParseRate(text)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %v, %v; want %v", text, got, err, want)
		}
		if again, err := proto.ParseRate(got.String()); err != nil || again != got {
			t.Errorf("ParseRate(%q), what String returned, = %v, %v; want %v", got.String(), again, err, got)
		}
	}
	for _, text := range []string{"10", "10/d", "-1/s", "0/s", "NaN/s", "Inf/s", "1e300/s", "10/s burst", "10/s burst 0", "10/s burst x", "10/s burst 1.5", "/s"} {
		if got, err := proto.ParseRate(text); err == nil {
			t.Errorf("ParseRate(%q) = %v, want an error", text, got)
		}
	}
}
