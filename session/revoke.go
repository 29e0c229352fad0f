package session

import (
	"runtime"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// closesPerTurn is how many sessions are closed before other goroutines have
// their turn: each is a system call or two, in which Go sees no place to stop.
const closesPerTurn = 32

// Revoke closes the live sessions that the revocation covers, with ErrRevoked,
// and returns how many they were. From before the call on, Options.Revoked must
// say that it is revoked: then no session escapes that is just authenticating.
//
// It closes them itself, which takes some ten microseconds each, and is not for
// pollers.
func (m *Manager) Revoke(r auth.Revocation) int {
	closed := 0
	visit := func(s *Session) bool {
		if id := s.identity.Load(); r.Covers(id) && !s.over() {
			s.Close(proto.ErrRevoked.New())
			if closed++; closed%closesPerTurn == 0 {
				runtime.Gosched()
			}
		}
		return true
	}
	if r.UserID != "" {
		m.Directory.walkUser(r.UserID, [16]byte{}, visit)
	} else {
		m.Directory.walk([16]byte{}, visit)
	}
	return closed
}
