package auth

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Right is one thing that a user may do in a room.
type Right uint8

// The rights, by the names of the rooms claim.
const (
	RightJoin    Right = iota // join the room and see what is said from then on
	RightPublish              // send messages to it
	RightRead                 // read its history, replay included
	RightCreate               // bring it to life, and so become its host
	RightDM                   // write to a user's inbox, a room named user:ID
	RightMembers              // see who is in it
	RightManage               // act as its host, delete others' messages, trim it, delete it
)

var rightNames = [...]string{
	RightJoin:    "join",
	RightPublish: "publish",
	RightRead:    "read",
	RightCreate:  "create",
	RightDM:      "dm",
	RightMembers: "members",
	RightManage:  "manage",
}

// String returns the name that the rooms claim uses.
func (r Right) String() string { return rightNames[r] }

// Rights is a set of rights.
type Rights uint8

// AllRights is the set of every right. DefaultRights, all but manage, is what
// users have whose tokens do not say what they may do, in namespaces that do
// not say it either.
const (
	AllRights     = Rights(1<<len(rightNames) - 1)
	DefaultRights = AllRights &^ (1 << RightManage)
)

// RightsOf returns the set of the given rights.
func RightsOf(rights ...Right) Rights {
	var set Rights
	for _, r := range rights {
		set |= 1 << r
	}
	return set
}

func (s Rights) has(r Right) bool { return s&(1<<r) != 0 }

// ParseRights reads a list of names, such as join, publish. The error names
// the first that is none.
func ParseRights(names []string) (Rights, error) {
	var set Rights
	for _, name := range names {
		right, err := parseRight(name)
		if err != nil {
			return 0, err
		}
		set |= 1 << right
	}
	return set, nil
}

func parseRight(name string) (Right, error) {
	for i, known := range rightNames {
		if known == name {
			return Right(i), nil
		}
	}
	return 0, fmt.Errorf("%.32q is not one of %s", name, strings.Join(rightNames[:], ", "))
}

// MarshalJSON writes the set as the rooms claim has it: a list of names.
func (s Rights) MarshalJSON() ([]byte, error) {
	names := []string{}
	for i, name := range rightNames {
		if s.has(Right(i)) {
			names = append(names, name)
		}
	}
	return json.Marshal(names)
}

// UnmarshalJSON reads a list of names.
func (s *Rights) UnmarshalJSON(data []byte) error {
	var names []string
	if err := json.Unmarshal(data, &names); err != nil {
		return fmt.Errorf("allow is not a list of strings")
	}
	set, err := ParseRights(names)
	*s = set
	return err
}

// Rule gives rights in the rooms that it matches. A list of rules is the rooms
// claim of a token.
type Rule struct {
	// Match is a room's name, or a prefix of names followed by one "*". A
	// star elsewhere is refused, so that no pattern reads differently from
	// what it does.
	Match string `json:"match"`
	Allow Rights `json:"allow"`
}

// Check reports what is wrong with the rule, or nil.
func (r Rule) Check() error {
	if r.Match == "" {
		return fmt.Errorf(`match is empty; write a room's name, a prefix with a star such as "chat:*", or "*" for every room`)
	}
	if star := strings.IndexByte(r.Match, '*'); star >= 0 && star != len(r.Match)-1 {
		return fmt.Errorf("match %.64q has a star before its end; only the last character may be one", r.Match)
	}
	return nil
}

func (r *Rule) covers(room string) bool {
	if prefix, found := strings.CutSuffix(r.Match, "*"); found {
		return strings.HasPrefix(room, prefix)
	}
	return r.Match == room
}
