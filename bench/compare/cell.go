package main

// cell is one comparison: its sides take turns.
type cell struct {
	name    string
	rounds  int
	sides   []side
	figures func(s seen) []figure // nil for none
	curve   *axes                 // nil where the sides are no points of a curve
	within  string                // a cell that this one prepares, "" for none
}

// side is one way of doing a cell's job.
type side struct {
	name   string
	server contender // nil: the generator measures itself
	args   []string  // of throng bench
	x      float64   // curves: the size

	// more returns arguments that are known only once the server runs; nil for
	// none.
	more func(r *runner, p *process) ([]string, error)

	// The cores of the server and of the generator, "" for one each.
	serverCores, generatorCores string
}

// seen is a cell's runs.
type seen []run

// of returns a side's value in each round.
func (s seen) of(side string, value func(*measured) float64) []float64 {
	var values []float64
	for i := range s {
		if s[i].Side == side {
			values = append(values, value(&s[i].Took))
		}
	}
	return values
}

// ratio divides two sides within each round.
func (s seen) ratio(of, to string, value func(*measured) float64) []float64 {
	return divide(s.of(of, value), s.of(to, value))
}

// divide takes two lists of the same rounds.
func divide(of, by []float64) []float64 {
	return combine(of, by, func(a, b float64) float64 { return a / b })
}

// combine makes one value of two, for each round.
func combine(a, b []float64, f func(a, b float64) float64) []float64 {
	values := make([]float64, min(len(a), len(b)))
	for i := range values {
		values[i] = f(a[i], b[i])
	}
	return values
}

// The units of figures.
const (
	ratio     = "ratio"
	us        = "µs"
	ms        = "ms"
	inBytes   = "bytes"
	perSecond = "messages/s"
)

// What figures are made of.
func cpu(m *measured) float64       { return m.Server.CPUPerDelivery }
func rate(m *measured) float64      { return m.Rate }
func p50(m *measured) float64       { return m.LatencyMS.P50 }
func p99(m *measured) float64       { return m.LatencyMS.P99 }
func idlePSS(m *measured) float64   { return m.Connections.Idle }
func afterPSS(m *measured) float64  { return m.Connections.After }
func idleRSS(m *measured) float64   { return m.Connections.IdleRSS }
func afterRSS(m *measured) float64  { return m.Connections.AfterRSS }
func appended(m *measured) float64  { return m.Append.PerSecond }
func appendCPU(m *measured) float64 { return m.Append.CPUPerMessage }

// cpuPerSent is the server's CPU time for each message or request that the
// generator sent, in µs.
func cpuPerSent(m *measured) float64 {
	return m.Server.CPUPerDelivery * float64(m.Delivered) / float64(m.Sent)
}
