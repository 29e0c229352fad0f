// Package auth says who a user is and what the user may do. A Verifier turns
// what a client shows into an Identity: a token (RFC 7519) of the server's own
// keys, which a KeySet holds, one of another Issuer, or an API key. Accounts
// keeps users, their logins and API keys, and what has been revoked. An
// Authorizer answers for rights in rooms.
//
// It listens on no socket, and never logs or returns a token that it was given
// to verify. Verifying never waits; Accounts does, for a disk and for the
// hashing of passwords, and belongs off the event loops. It owns two files, the
// data directory's secret and the keys file, and one goroutine for each file
// and issuer that it watches, besides those of Accounts.
package auth
