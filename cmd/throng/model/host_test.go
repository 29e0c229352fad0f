package model

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// host sends one of the commands of a room's host, as the host or not.
func (w *world) host(c *client, r *truth, n, m int) {
	w.wake(r)
	whom := oneOf(users, m)
	now := r.settings
	next := settings{}
	if now != nil {
		next = *now
	}
	if n%8 == 6 && slices.Contains(next.banned, whom) {
		n = 3 // a banned host would shut everybody out of a closed room
	}
	var field, code, put string // put: why whom is put out
	switch n % 8 {
	case 0:
		next.maxUsers = m % 3
		field = fmt.Sprintf(`"maxUsers":%d`, m%3)
	case 1:
		field, put = fmt.Sprintf(`"kick":%q`, whom), "kicked"
	case 2:
		field, put = fmt.Sprintf(`"ban":%q`, whom), "banned"
		next.banned = with(next.banned, whom)
		if next.host == whom {
			code = "invalid_field"
		}
	case 3:
		field = fmt.Sprintf(`"unban":%q`, whom)
		next.banned = without(next.banned, whom)
	case 4:
		field = fmt.Sprintf(`"mute":%q`, whom)
		next.muted = with(next.muted, whom)
	case 5:
		field = fmt.Sprintf(`"unmute":%q`, whom)
		next.muted = without(next.muted, whom)
	case 6:
		field = fmt.Sprintf(`"handOver":%q`, whom)
		next.host = whom
	default:
		next.closed = m%2 == 0
		field = fmt.Sprintf(`"close":%v`, next.closed)
	}
	command := fmt.Sprintf(`"type":"host","room":%q,%s`, r.name, field)
	switch {
	case now == nil || now.host != c.user:
		w.send(c, command, w.refused(c, r.name, "not_host"))
		return
	case code != "":
		w.send(c, command, w.refused(c, r.name, code))
		return
	}
	w.send(c, command, func(e *event) {
		if e.Type != "host" || e.Room != r.name {
			w.fail("%s got %v, want host", c, e)
		}
	})
	if put == "kicked" {
		w.expel(r, whom, put)
		return
	}
	r.touch()
	r.stored, r.unsaved = &next, false
	r.writes = append(r.writes, write{r.head(), &next})
	r.change(&next)
	if put != "" {
		w.expel(r, whom, put)
	}
	if next.closed && !now.closed {
		for _, user := range slices.Sorted(maps.Keys(r.users)) {
			w.expel(r, user, "room_closed")
		}
	}
	w.calm()
	w.advance(10 * time.Millisecond) // which syncs it
}

// expel puts a user's connections out of a room.
func (w *world) expel(r *truth, user, reason string) {
	for _, c := range w.clients {
		if s := c.streams[r.name]; s != nil && c.user == user {
			c.closes[r.name], s.ending = reason, true
			r.depart(user, true)
		}
	}
}

func with(list []string, user string) []string {
	if slices.Contains(list, user) {
		return list
	}
	return append(slices.Clone(list), user)
}

func without(list []string, user string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(u string) bool { return u == user })
}
