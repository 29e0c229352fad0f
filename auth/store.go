package auth

// Store keeps accounts, login sessions, API keys and revocations. What Apply
// returned without an error survives a crash of the machine. Its methods may
// block on a disk and are safe for concurrent use; the records that they return
// belong to the caller, and those that they are given are only borrowed.
//
// Package storage implements it, authtest has a twin in memory, and
// authtest.TestStore is the suite that both pass.
type Store interface {
	// User returns a user, nil where there is none of that name.
	User(name string) (*UserRecord, error)
	// Users returns at most limit users in order of name: those whose names
	// begin with the prefix and come after the given one.
	Users(prefix, after string, limit int) ([]UserRecord, error)
	// Session returns a login session, expired or not, nil where there is none
	// of that id.
	Session(id string) (*SessionRecord, error)
	// Sessions returns at most limit login sessions of a user, expired or not,
	// in order of id: those that come after the given one.
	Sessions(user, after string, limit int) ([]SessionRecord, error)
	// Load returns all API keys and all revocations, in any order.
	Load() ([]KeyRecord, []RevocationRecord, error)
	// Apply makes the changes durable, all or none of them. An error that is a
	// *proto.Error, or wraps an entry of the registry, is told to the client as
	// that.
	Apply(c *Changes) error
}

// Changes is what Apply writes at once. Puts replace what is there; dropping
// what is not there changes nothing. Nothing stands in it twice, and nothing in
// both a put and a drop.
type Changes struct {
	Users       []UserRecord
	Sessions    []SessionRecord
	Keys        []KeyRecord
	Revocations []RevocationRecord

	DropUsers       []string        // by name
	DropSessions    []SessionRecord // by user and id, which alone are looked at
	DropKeys        []string        // by id
	DropRevocations []Revocation    // by subject, see Revocation.Subject
}

// Grows reports whether the changes add something and revoke nothing. A store
// whose disk is nearly full refuses those, and takes others, so that access can
// be ended at any time: also where that writes the user anew, as disabling does.
func (c *Changes) Grows() bool {
	return len(c.Users)+len(c.Sessions)+len(c.Keys) > 0 && len(c.Revocations) == 0
}

// UserRecord is a user as stored.
type UserRecord struct {
	User
	Password string // a hash as PHC string, see HashPassword's parameters in it
}

// SessionRecord is a login session as stored. A refresh token of it holds two
// secrets: one for all tokens of the session, which tells a token that was used
// before from a forged one, and one of its own. Both are kept as SHA-256.
type SessionRecord struct {
	LoginSession
	Family     [32]byte
	Current    [32]byte // of the one token that may still be used
	AccessEnds int64    // ms; when the last of its access tokens ends
}

// KeyRecord is an API key as stored.
type KeyRecord struct {
	APIKey
	Secret [32]byte // SHA-256
}

// RevocationRecord is a revocation as stored.
type RevocationRecord struct {
	Revocation
	Expires int64 // ms; when nothing is left that it could cover; 0 for never
}
