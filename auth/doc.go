// Package auth says who a user is and what the user may do: it verifies and
// signs HS256 tokens (RFC 7519), answers for rights in rooms, and looks after
// the secret that a server without a configured key makes for itself.
//
// It opens no socket, keeps no session and never logs or returns a token that
// it was given to verify. It owns one file, the data directory's secret.
package auth
