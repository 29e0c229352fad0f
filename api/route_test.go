package api

import (
	"slices"
	"testing"
)

// TestSecretsAreNotCompressed holds the table to the routes whose answers hold
// tokens or keys.
func TestSecretsAreNotCompressed(t *testing.T) {
	secret := []string{"POST /login", "POST /refresh", "POST /keys"}
	found := 0
	for _, r := range Routes() {
		if !slices.Contains(secret, r.Method+" "+r.Pattern) {
			continue
		}
		found++
		if r.gzip || r.stream {
			t.Errorf("%s %s may be compressed", r.Method, r.Pattern)
		}
	}
	if found != len(secret) {
		t.Errorf("%d of the routes are there, want %d", found, len(secret))
	}
}

// TestEveryRouteIsThereOnce, with a handler and parameters that have names.
func TestEveryRouteIsThereOnce(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range Routes() {
		name := r.Method + " " + r.Pattern
		if seen[name] || r.handle == nil || slices.Contains(r.Params, "") {
			t.Errorf("%s is there twice, or does nothing", name)
		}
		seen[name] = true
	}
}
