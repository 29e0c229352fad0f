#include "textflag.h"
#include "go_asm.h"

// func prefetch(c *Conn)
//
// The connection, whose 112 bytes lie on two or three cache lines, and its operator. The
// pointer to that is read without the lock: a stale one is as good as a hint needs.
TEXT ·prefetch(SB), NOSPLIT, $0-8
	MOVQ c+0(FP), AX
	PREFETCHT0 (AX)
	PREFETCHT0 64(AX)
	PREFETCHT0 111(AX)
	MOVQ Conn_op(AX), CX
	PREFETCHT0 (CX)
	RET
