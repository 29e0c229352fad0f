package netio

// prefetch brings a connection and its operator nearer to the processor.
//
//go:noescape
func prefetch(c *Conn)
