package bench

// stream checks one connection's place in its room: offsets are gapless from
// 1, each comes once, and the author's ack stands in for its own message.
type stream struct {
	last uint64 // the highest offset seen
}

// violations counts what must not happen. They add up over connections.
type violations struct {
	Lost       uint64 `json:"lost"`        // never arrived, and nothing said so
	Duplicates uint64 `json:"duplicates"`  // the message before came again
	Order      uint64 `json:"order"`       // an older message came after a newer one
	Told       uint64 `json:"told_missed"` // missed, and the server said so with gap
}

func (v *violations) add(other violations) {
	v.Lost += other.Lost
	v.Duplicates += other.Duplicates
	v.Order += other.Order
	v.Told += other.Told
}

// any reports whether something went wrong that the protocol rules out.
func (v *violations) any() bool { return v.Lost+v.Duplicates+v.Order > 0 }

// see takes the next message's offset and reports whether it was new.
func (s *stream) see(offset uint64, v *violations) bool {
	switch {
	case offset == s.last+1:
	case offset > s.last:
		v.Lost += offset - s.last - 1
	case offset == s.last:
		v.Duplicates++
		return false
	default:
		v.Order++
		return false
	}
	s.last = offset
	return true
}

// skip takes the server's word that the messages before next are not kept.
func (s *stream) skip(next uint64, v *violations) {
	if next > s.last+1 {
		v.Told += next - s.last - 1
		s.last = next - 1
	}
}

// end counts what never came of a room whose newest message has this offset.
func (s *stream) end(head uint64, v *violations) {
	if s.last < head {
		v.Lost += head - s.last
	}
}
