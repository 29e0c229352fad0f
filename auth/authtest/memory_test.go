package authtest

import (
	"testing"

	"github.com/thronghq/throng/auth"
)

func TestMemory(t *testing.T) {
	TestStore(t, func(*testing.T) (auth.Store, func() auth.Store) {
		m := NewMemory()
		return m, func() auth.Store { return m }
	})
}
