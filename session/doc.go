// Package session knows who is connected: it authenticates connections,
// checks each command against rights and limits, hands it to the rooms, and
// sends the answers back through the connection's codec.
//
// It knows sockets only as Conn and rooms only as room.Hub. Its methods run on
// the pollers and never block; a session has no goroutine and no timer.
package session
