package main

import (
	"net"
	"net/http"
	"slices"
	"sync"
)

// rooms are a server's rooms, by their names. A room stays when its last member
// has gone, as those of the floor do.
type rooms[M comparable] struct {
	mu    sync.Mutex
	named map[string]*room[M]
}

// room is the members that its messages go to.
type room[M comparable] struct {
	mu      sync.Mutex
	members []M
}

// admission opens the room of that name to a member whose upgrade is about to be
// answered. The room stands still until enter or refuse is called: a client that
// has its answer is a member, as in the floor, whatever its neighbours send.
func (r *rooms[M]) admission(name string) *room[M] {
	r.mu.Lock()
	in := r.named[name]
	if in == nil {
		if r.named == nil {
			r.named = make(map[string]*room[M])
		}
		in = new(room[M])
		r.named[name] = in
	}
	r.mu.Unlock()
	in.mu.Lock()
	return in
}

// enter ends an admission with a member more.
func (r *room[M]) enter(m M) {
	r.members = append(r.members, m)
	r.mu.Unlock()
}

// refuse ends an admission without.
func (r *room[M]) refuse() { r.mu.Unlock() }

func (r *room[M]) leave(m M) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.members, m); i >= 0 {
		last := len(r.members) - 1
		r.members[i] = r.members[last]
		r.members = slices.Delete(r.members, last, last+1)
	}
}

// each calls send for every member, one message at a time, which keeps the
// order. Send must not block.
func (r *room[M]) each(send func(M)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.members {
		send(m)
	}
}

// serveHTTP serves a library that upgrades requests of net/http.
func serveHTTP(l net.Listener, floor func(w http.ResponseWriter, r *http.Request, room string), echo http.HandlerFunc) error {
	return http.Serve(l, routes(floor, echo))
}

func routes(floor func(w http.ResponseWriter, r *http.Request, room string), echo http.HandlerFunc) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /echo", echo)
	mux.HandleFunc("GET /floor", func(w http.ResponseWriter, r *http.Request) {
		name := r.URL.Query().Get("room")
		if name == "" {
			http.Error(w, "?room=NAME is missing", http.StatusBadRequest)
			return
		}
		floor(w, r, name)
	})
	return mux
}
