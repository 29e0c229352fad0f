package session

import (
	"slices"
	"strings"

	"github.com/thronghq/throng/room"
)

// The rooms of a session are its place and those of its rare, which are sorted by
// name: most sessions are in one room.

// othersLocked returns the places beside the first.
func (s *Session) othersLocked() []*room.Membership {
	if r := s.rare.Load(); r != nil {
		return r.places
	}
	return nil
}

// countPlacesLocked counts the rooms.
func (s *Session) countPlacesLocked() int {
	if s.place == nil {
		return 0
	}
	return 1 + len(s.othersLocked())
}

// placeLocked returns one of them, by a number that holds while mu is held.
func (s *Session) placeLocked(i int) *room.Membership {
	if i == 0 {
		return s.place
	}
	return s.othersLocked()[i-1]
}

// placesLocked returns them.
func (s *Session) placesLocked() []*room.Membership {
	if s.place == nil {
		return nil
	}
	return append([]*room.Membership{s.place}, s.othersLocked()...)
}

// takePlacesLocked returns them, and the session has none any more.
func (s *Session) takePlacesLocked() []*room.Membership {
	places := s.placesLocked()
	s.place = nil
	if r := s.rare.Load(); r != nil {
		r.places = nil
	}
	return places
}

// findPlaceLocked returns the place in a room, or nil.
func (s *Session) findPlaceLocked(name string) *room.Membership {
	if s.place != nil && s.place.Room() == name {
		return s.place
	}
	others := s.othersLocked()
	if i, found := searchPlace(others, name); found {
		return others[i]
	}
	return nil
}

func searchPlace(places []*room.Membership, name string) (int, bool) {
	return slices.BinarySearchFunc(places, name, func(ms *room.Membership, name string) int {
		return strings.Compare(ms.Room(), name)
	})
}

// addPlaceLocked takes a place in a room that the session has none in.
func (s *Session) addPlaceLocked(ms *room.Membership) {
	if s.place == nil {
		s.place = ms
		return
	}
	r := s.own()
	i, _ := searchPlace(r.places, ms.Room())
	r.places = slices.Insert(r.places, i, ms)
}

// forgetPlaceLocked gives a place up, where the session still has it.
func (s *Session) forgetPlaceLocked(ms *room.Membership) {
	others := s.othersLocked()
	if s.place == ms {
		if s.place = nil; len(others) == 0 {
			return
		}
		s.place, ms = others[0], others[0] // which has to leave its old place
	}
	if i, found := searchPlace(others, ms.Room()); found && others[i] == ms {
		s.rare.Load().places = slices.Delete(others, i, i+1)
	}
}
