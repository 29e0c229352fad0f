package auth

import (
	"maps"
	"strings"

	"github.com/thronghq/throng/proto"
)

// Authorizer is the one place that decides who may do what in which room;
// WebSocket and REST both ask it. It does not change once made and is safe for
// concurrent use.
//
// It decides so:
//
//  1. The room user:ID is ID's inbox. ID joins it, publishes to it, reads it
//     and sees its members, whatever else holds; nobody else has a right in it
//     but dm. Publishing to another's inbox is that right.
//  2. An administrator has every right.
//  3. A token or API key with rules gives what its rules give, and no more.
//  4. Everybody else has the rights of the room's namespace.
type Authorizer struct {
	byNamespace map[string]Rights
}

// NewAuthorizer returns an authorizer for namespaces in which everyone has the
// given rights; in those that are not named, it is DefaultRights. It copies the
// map.
func NewAuthorizer(byNamespace map[string]Rights) *Authorizer {
	return &Authorizer{byNamespace: maps.Clone(byNamespace)}
}

// ownInbox is what a user may do in the user's own inbox.
const ownInbox = Rights(1<<RightJoin | 1<<RightPublish | 1<<RightRead | 1<<RightMembers)

// Allow returns nil where the identity has the right in the room, and
// ErrForbidden, which names user, right and room, where it has not. No identity
// at all is ErrUnauthenticated. The room's name and namespace have been
// checked. Where the answer is nil, nothing is allocated.
func (a *Authorizer) Allow(id *Identity, right Right, room string) *proto.Error {
	if id == nil {
		return proto.ErrUnauthenticated.New()
	}
	if owner, inbox := strings.CutPrefix(room, proto.UserNamespace+":"); inbox {
		switch {
		case owner == id.UserID:
			if ownInbox.has(right) {
				return nil
			}
		case right == RightPublish:
			right = RightDM
		case right != RightDM:
			return proto.ErrForbidden.With("room %q is the inbox of user %q, in which nobody else has the right %q", room, owner, right)
		}
	}
	if a.allows(id, right, room) {
		return nil
	}
	return proto.ErrForbidden.With("user %q lacks the right %q in room %q", id.UserID, right, room)
}

func (a *Authorizer) allows(id *Identity, right Right, room string) bool {
	switch {
	case id.Admin:
		return true
	case id.restricted:
		return id.grants(right, room)
	}
	rights, named := a.byNamespace[proto.NamespaceOf(room)]
	if !named {
		rights = DefaultRights
	}
	return rights.has(right)
}
