package storage

import (
	"strconv"
	"strings"
)

// maxEpochs bounds the old epochs that a room remembers. Positions of older
// ones are unknown, as if their messages had been trimmed.
const maxEpochs = 64

// epochName is the opaque name of a life of a room's log: the log's birth and
// the generation in which the life began.
func epochName(birth, generation uint64) string {
	b := make([]byte, 0, 24)
	b = strconv.AppendUint(b, birth, 36)
	b = append(b, '.')
	b = strconv.AppendUint(b, generation, 36)
	return string(b)
}

// parseEpoch returns the generation that a name of this log's lives holds.
func parseEpoch(name string, birth uint64) (generation uint64, ok bool) {
	head, tail, found := strings.Cut(name, ".")
	if !found {
		return 0, false
	}
	b, err := strconv.ParseUint(head, 36, 64)
	if err != nil || b != birth {
		return 0, false
	}
	g, err := strconv.ParseUint(tail, 36, 64)
	return g, err == nil
}

// epochEnd returns the last offset up to which a position of the given
// generation is good, where head is the log's newest offset. A generation that
// stands between two of the list is one in which the room woke and stored
// nothing that lasted; what it showed beyond the next epoch's start was lost.
func epochEnd(epochs []epoch, generation, head uint64) (end uint64, ok bool) {
	if generation < epochs[0].generation || generation > epochs[len(epochs)-1].generation {
		return 0, false
	}
	for _, e := range epochs {
		if e.generation > generation {
			return e.start - 1, true
		}
	}
	return head, true
}

// beginEpoch returns the list with a new epoch at its end, and without those
// that ended before first, the lowest offset that may still be read. It never
// changes the given slice.
func beginEpoch(epochs []epoch, next epoch, first uint64) []epoch {
	drop := 0
	for i := 1; i < len(epochs) && epochs[i].start < first; i++ {
		drop = i
	}
	drop = max(drop, len(epochs)+1-maxEpochs)
	kept := epochs[drop:]
	return append(append(make([]epoch, 0, len(kept)+1), kept...), next)
}
