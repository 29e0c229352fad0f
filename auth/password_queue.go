package auth

import "net/netip"

// hashQueue holds the jobs that wait, in a line for each network that they come
// from. The networks take turns, so that one from which many passwords come
// waits for itself and not for all. Its owner bounds it. The zero value is empty.
type hashQueue struct {
	lines map[netip.Prefix][]*hashJob // none is empty
	turns []netip.Prefix              // the networks of the lines, the next one first
}

// push puts a job at the end of its line.
func (q *hashQueue) push(job *hashJob) {
	if q.lines == nil {
		q.lines = make(map[netip.Prefix][]*hashJob)
	}
	line := q.lines[job.from]
	if len(line) == 0 {
		q.turns = append(q.turns, job.from)
	}
	q.lines[job.from] = append(line, job)
}

// pop takes the first job of the line whose turn it is. There is one.
func (q *hashQueue) pop() *hashJob {
	from := q.turns[0]
	q.turns = q.turns[1:]
	line := q.lines[from]
	job := line[0]
	if len(line) == 1 {
		delete(q.lines, from)
	} else {
		q.lines[from] = line[1:]
		q.turns = append(q.turns, from)
	}
	return job
}

// displace takes the last job out of the longest line, to make place for one of
// the given network. It returns nil where that would only turn the two lines
// around.
func (q *hashQueue) displace(from netip.Prefix) *hashJob {
	var longest netip.Prefix
	for network, line := range q.lines {
		if len(line) > len(q.lines[longest]) {
			longest = network
		}
	}
	line := q.lines[longest]
	last := len(line) - 1
	if last <= len(q.lines[from]) {
		return nil
	}
	q.lines[longest] = line[:last] // one is left at least
	return line[last]
}
