// Package bench measures WebSocket servers: throng itself, and beside it C
// programs that do the least which the same job asks for (bench/floor).
//
// Its load generator keeps thousands of sockets on one thread with raw epoll,
// one shared read buffer, and some hundred bytes for each connection. It sends
// messages with their due time inside, so that a delay before the send counts
// as latency, checks the order of what arrives on every connection, and reads
// the server's CPU time and memory from /proc.
//
// It never connects to an address outside the loopback unless told to, and it
// is no client library: it understands what it has to count, and no more.
package bench
