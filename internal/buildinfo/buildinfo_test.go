package buildinfo

import (
	"runtime"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	if Version() == "" {
		t.Error("a build without a version has none at all")
	}
	defer func(before string) { version = before }(version)
	version = "v1.2.3"
	if got := Version(); got != "v1.2.3" {
		t.Errorf("the linker's version is %q", got)
	}
	if got := String(); !strings.HasPrefix(got, "throng v1.2.3 (") || !strings.Contains(got, runtime.Version()) {
		t.Errorf("got %q", got)
	}
}
