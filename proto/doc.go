// Package proto holds what travels: messages, commands and events, the codecs
// that turn them into frames and back, the limits, and the error registry.
//
// It opens no socket and no file, starts no goroutine, and knows no room: every
// other package may import it, and it imports nothing of throng.
package proto
