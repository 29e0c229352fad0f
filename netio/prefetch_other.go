//go:build !amd64

package netio

// prefetch is a hint, which other processors do without.
func prefetch(*Conn) {}
