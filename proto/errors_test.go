package proto_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/thronghq/throng/proto"
)

func TestRegistryIsSound(t *testing.T) {
	name := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := make(map[string]bool)
	for _, code := range proto.Codes {
		if !name.MatchString(code.Name) || seen[code.Name] {
			t.Errorf("%q: a name is words joined by _, and unique", code.Name)
		}
		seen[code.Name] = true
		if code.Reason == "" {
			t.Errorf("%s has no reason", code.Name)
		}
		if !mayClose(int(code.Close)) {
			t.Errorf("%s closes with %d, which no endpoint may send", code.Name, code.Close)
		}
		if code.HTTP != 0 && http.StatusText(code.HTTP) == "" {
			t.Errorf("%s answers with HTTP status %d", code.Name, code.HTTP)
		}
		if code.Close == 0 && code.HTTP == 0 {
			t.Errorf("%s has neither a close code nor an HTTP status", code.Name)
		}
	}
}

// mayClose: RFC 6455, section 7.4, with the codes that IANA has added since; 0
// leaves the connection open.
func mayClose(code int) bool {
	switch {
	case code == 0, code >= 1000 && code <= 1003, code >= 1007 && code <= 1014:
		return true
	}
	return code >= 3000 && code <= 4999
}

func TestErrorText(t *testing.T) {
	general := proto.ErrForbidden.New()
	if general.Text() != proto.ErrForbidden.Reason || general.Error() != "forbidden: "+proto.ErrForbidden.Reason {
		t.Errorf("general: %q, %q", general.Text(), general.Error())
	}
	special := proto.ErrForbidden.With("not %d", 7)
	if special.Text() != "not 7" || special.Error() != "forbidden: not 7" {
		t.Errorf("special: %q, %q", special.Text(), special.Error())
	}
	if later := proto.ErrOverloaded.After(time.Second); later.RetryAfter != time.Second || later.Text() != proto.ErrOverloaded.Reason {
		t.Errorf("later: %+v", later)
	}
	wrapped := fmt.Errorf("joining: %w", special)
	if !errors.Is(wrapped, proto.ErrForbidden) || errors.Is(wrapped, proto.ErrMuted) {
		t.Error("errors.Is does not tell entries apart")
	}
}
