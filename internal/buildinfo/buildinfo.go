// Package buildinfo says which build of throng this is.
package buildinfo

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is set by the linker (make build); a build without it says what the
// module system knows.
var version string

// Version returns the release, such as v0.1.0 or v0.1.0-7-g1ce3aa5, or
// "(devel)" where nobody said.
func Version() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

// String returns the line that throng version prints.
func String() string {
	return fmt.Sprintf("throng %s (%s, %s/%s)", Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
