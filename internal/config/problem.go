package config

import (
	"fmt"
	"strings"
)

// masked stands for a secret wherever it would be shown.
const masked = "(secret)"

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Key     string // dotted; "" where the file as a whole is wrong
	Source  string // where the value came from, "" for the default
	Value   string // the bad value, "" for none
	Wrong   string // what is wrong with it
	Accepts string // what would be accepted
}

// String is the problem in one line.
func (p Problem) String() string {
	var b strings.Builder
	for _, part := range []string{p.Key, p.Value} {
		if part != "" && b.Len() > 0 {
			b.WriteString(" = ")
		}
		b.WriteString(part)
	}
	if p.Source != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		fmt.Fprintf(&b, "(%s)", p.Source)
	}
	fmt.Fprintf(&b, ": %s", p.Wrong)
	if p.Accepts != "" {
		fmt.Fprintf(&b, "; accepted is %s", p.Accepts)
	}
	return b.String()
}

// Problems is everything that is wrong with a configuration.
type Problems []Problem

// Error lists the problems, one a line.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

// unknown is the problem of a name that is in no table. What follows prefix in
// it is held against the known names.
func unknown(source, what, prefix, name string, known []string) Problem {
	return Problem{Key: prefix + name, Source: source, Wrong: fmt.Sprintf("there is no such %s%s", what, didYouMean(prefix, name, known))}
}

// didYouMean names the known name that is nearest to the given one, if any is
// near enough to be meant.
func didYouMean(prefix, name string, known []string) string {
	best, least := "", len(name)/3+2
	for _, candidate := range known {
		if d := editDistance(name, candidate); d < least {
			best, least = candidate, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %s%s?", prefix, best)
}

// editDistance is the least number of bytes to insert, remove or change that
// makes one text of the other (Levenshtein's).
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// showTOML writes a value of the file so that a person knows it again.
func showTOML(raw any) string {
	switch v := raw.(type) {
	case string:
		return quoteTOML(v)
	case map[string]any:
		return "(a table)"
	case []any:
		items := make([]string, len(v))
		for i, item := range v {
			items[i] = showTOML(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	default:
		return fmt.Sprint(v)
	}
}
