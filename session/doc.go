// Package session knows who is connected: it authenticates connections,
// checks each command against rights, rates and limits, asks the application
// where it wants to decide, hands the command to the rooms, and sends the answers
// back through the connection's codec. Commands that come without a connection,
// by REST, go the same way.
//
// It finds the live sessions by user and by id, so that they can be listed, and
// closed when what admitted them is revoked.
//
// It knows sockets only as Conn and rooms only as room.Hub. Its methods run on
// the pollers and never block, but for those that say so; a session has no
// goroutine and no timer.
package session
