package auth

import "context"

type identityKey struct{}

// WithIdentity returns a context of a request whose sender is known before any
// token is looked at, such as one over the administrator's socket.
func WithIdentity(ctx context.Context, id *Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// IdentityFrom returns what WithIdentity put there, nil for nothing.
func IdentityFrom(ctx context.Context) *Identity {
	id, _ := ctx.Value(identityKey{}).(*Identity)
	return id
}
