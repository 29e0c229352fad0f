package outboxtest

import "testing"

func TestMemory(t *testing.T) {
	Test(t, func(*testing.T) Outbox { return NewMemory() })
}
