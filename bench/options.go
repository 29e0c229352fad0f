package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// options is what the command line says. It travels to the generator's other
// processes and stands in the result.
type options struct {
	URL         string        `json:"url"`
	Codec       string        `json:"codec"`
	Conns       int           `json:"connections"`
	Rooms       int           `json:"rooms"`
	Publishers  int           `json:"publishers"` // for each room
	Size        int           `json:"size"`       // bytes of content
	Rate        float64       `json:"rate"`       // messages a second of all publishers, 0 for a closed loop
	Outstanding int           `json:"outstanding"`
	SlowReaders int           `json:"slow_readers"` // percent
	Messages    uint64        `json:"messages"`     // for each publisher, 0 for Duration
	Duration    time.Duration `json:"duration_ns"`
	Warmup      time.Duration `json:"warmup_ns"`
	Settle      time.Duration `json:"settle_ns"`
	Timeout     time.Duration `json:"timeout_ns"`
	Processes   int           `json:"processes"`
	PID         int           `json:"pid"`
	Page        int           `json:"page"`
	Largest     int           `json:"largest,omitempty"`  // hold: members of the largest room, 0 for all rooms alike
	Places      int           `json:"places,omitempty"`   // pages: 0 for all
	Scenario    string        `json:"scenario,omitempty"` // rest
	Requests    int           `json:"requests,omitempty"` // rest: under way at any time
	Durability  string        `json:"durability"`
	Dir         string        `json:"dir"`
	Keep        string        `json:"keep,omitempty"` // append
	Deflate     bool          `json:"deflate"`
	AllowRemote bool          `json:"allow_remote"`
	CA          string        `json:"ca,omitempty"`         // a PEM file, for wss
	Impatient   bool          `json:"impatient,omitempty"`  // storm
	Admission   float64       `json:"admission,omitempty"`  // storm: handshakes a second, 0 for the default
	TokenFile   string        `json:"token_file,omitempty"` // handshake: "" for anonymous ones
	Prefix      string        `json:"prefix"`               // of the rooms' names, new in each run

	filled     bool // the rooms are those of a log, not of connections
	perProcess int  // connections that one process takes, where that is not maxConns
}

// maxConns is how many sockets one process of the generator takes, within the
// 20,000 descriptors that many systems grant.
const maxConns = 18_000

func defaultOptions() options {
	return options{
		URL: "ws://127.0.0.1:8080", Codec: codecJSON, Rooms: 1, Publishers: 1, Size: 128, Outstanding: 1,
		Duration: 10 * time.Second, Warmup: time.Second, Settle: 15 * time.Second, Timeout: 10 * time.Second, Processes: 1,
		Page: 100, Durability: durabilityAsync, Conns: 1, Dir: os.TempDir(),
		Prefix: fmt.Sprintf("bench-%08x", rand.Uint32()),
	}
}

// flagSet is the flags of a command, by their names, some of which mean
// different things to different commands.
func (o *options) flagSet(b benchmark) *pflag.FlagSet {
	set := pflag.NewFlagSet(b.name, pflag.ContinueOnError)
	set.SortFlags = false
	set.Usage = func() {}
	for _, name := range b.flags {
		help := flagHelp[name]
		if own, ok := b.help[name]; ok {
			help = own
		}
		if name == "codec" {
			help += ": " + strings.Join(b.codecs, ", ")
		}
		switch v := o.field(name).(type) {
		case *string:
			set.StringVar(v, name, *v, help)
		case *int:
			set.IntVar(v, name, *v, help)
		case *uint64:
			set.Uint64Var(v, name, *v, help)
		case *float64:
			set.Float64Var(v, name, *v, help)
		case *bool:
			set.BoolVar(v, name, *v, help)
		case *time.Duration:
			set.DurationVar(v, name, *v, help)
		}
	}
	return set
}

// field is where a flag's value goes.
func (o *options) field(name string) any {
	return map[string]any{
		"url": &o.URL, "codec": &o.Codec, "room-prefix": &o.Prefix, "durability": &o.Durability, "dir": &o.Dir,
		"members": &o.Conns, "connections": &o.Conns, "rooms": &o.Rooms, "publishers": &o.Publishers, "size": &o.Size,
		"outstanding": &o.Outstanding, "slow-readers": &o.SlowReaders, "page": &o.Page, "largest": &o.Largest, "scenario": &o.Scenario, "requests": &o.Requests, "processes": &o.Processes, "pid": &o.PID,
		"rate": &o.Rate, "messages": &o.Messages, "allow-remote": &o.AllowRemote, "deflate": &o.Deflate, "impatient": &o.Impatient, "admission": &o.Admission,
		"token-file": &o.TokenFile, "ca": &o.CA, "keep": &o.Keep, "places": &o.Places,
		"duration": &o.Duration, "warmup": &o.Warmup, "settle": &o.Settle, "timeout": &o.Timeout,
	}[name]
}

var flagHelp = map[string]string{
	"url":          "the server",
	"codec":        "what is spoken",
	"members":      "connections, in all rooms together",
	"connections":  "connections",
	"rooms":        "rooms that the connections are spread over",
	"publishers":   "members of each room that publish",
	"size":         "bytes of content in a message",
	"rate":         "messages per second, of all that send; 0 waits for messages to arrive instead, see --outstanding",
	"outstanding":  "messages of each sender that are under way at any time",
	"slow-readers": "percent of the members that never read",
	"messages":     "messages of each sender, in place of --duration",
	"duration":     "how long to measure",
	"warmup":       "how long to run before",
	"settle":       "how long the server is left alone before its memory is read",
	"page":         "messages in a page",
	"scenario":     "what is asked for: " + strings.Join(restScenarios, ", "),
	"requests":     "connections that ask, each for one thing at a time",
	"durability":   "when a message counts: async or sync",
	"dir":          "where a directory is made to write in, and removed",
	"keep":         "a data directory, which throng serve can use later, in place of --dir: the messages are added to those that are there, and stay",
	"places":       "pages that are asked for again and again, each once before the measurement; 0 for any",
	"deflate":      "offer permessage-deflate; the server must agree, see compress.enabled",
	"timeout":      "how long to wait for anything to happen",
	"impatient":    "clients come again at once, not when they are told to",
	"admission":    "the server's budget of handshakes a second (net.admission); 0 for the default, 2000 for each core",
	"ca":           "a PEM file of authorities, or of the server's own certificate, for a server that speaks TLS (wss)",
	"token-file":   "tokens to show in turn, one on each line, to /ws; without it the handshakes are anonymous ones to /echo",
	"processes":    "processes that share the connections, 18000 in each at most",
	"pid":          "the server's process, where it cannot be found by its port",
	"allow-remote": "measure a server on another machine",
	"room-prefix":  "the beginning of the rooms' names; a new one for each run unless given",
	"largest":      "members of the largest room; the others share the rest evenly, 0 makes all alike",
}

// validate reports every option that makes no sense. A benchmark without codecs
// has no connections.
func (o *options) validate(codecs []string) error {
	var problems problems
	if len(codecs) > 0 {
		o.validateLoad(codecs, &problems)
	}
	problems.unless(o.Rooms >= 1, "--rooms %d: at least 1", o.Rooms)
	problems.unless(o.Size >= leastContent && o.Size <= 16<<20, "--size %d: from %d, which is what is embedded, to 16 MiB", o.Size, leastContent)
	problems.unless(o.Size >= roomyContent || o.Conns <= shortAuthors, "--size %d: with more than %d connections at least %d", o.Size, shortAuthors, roomyContent)
	problems.unless(o.Duration > 0, "--duration %v: above 0", o.Duration)
	problems.unless(o.Timeout > 0, "--timeout %v: above 0", o.Timeout)
	problems.unless(o.Warmup >= 0, "--warmup %v: 0 or more", o.Warmup)
	problems.unless(o.Settle >= 0, "--settle %v: 0 or more", o.Settle)
	problems.unless(o.Durability == durabilityAsync || o.Durability == durabilitySync, "--durability %q: %s or %s", o.Durability, durabilityAsync, durabilitySync)
	return errors.Join(problems...)
}

func (o *options) validateLoad(codecs []string, p *problems) {
	most := cmp.Or(o.perProcess, maxConns)
	p.unless(slices.Contains(codecs, o.Codec), "--codec %q: one of %s", o.Codec, strings.Join(codecs, ", "))
	p.unless(o.Processes >= 1 && o.Processes <= 64, "--processes %d: from 1 to 64", o.Processes)
	p.unless(o.Conns >= max(o.Processes, 1) && o.Conns <= most*o.Processes, "%d connections in %d processes: from 1 to %d in each", o.Conns, o.Processes, most)
	p.unless(o.Rooms <= o.Conns || o.filled, "--rooms %d: at most the number of connections, %d", o.Rooms, o.Conns)
	p.unless(o.Publishers >= 1 && o.Publishers*o.Rooms <= o.Conns || o.filled, "--publishers %d: from 1 to the members of a room", o.Publishers)
	p.unless(numbered(o.Codec) || o.Publishers == 1, "--publishers %d: only throng has an order among authors, of others one can be checked", o.Publishers)
	p.unless(o.Admission >= 0, "--admission %g: 0 or more", o.Admission)
	p.unless(o.Rate >= 0, "--rate %g: 0 or more", o.Rate)
	p.unless(o.Outstanding >= 1 && o.Outstanding <= 100_000, "--outstanding %d: from 1 to 100000", o.Outstanding)
	p.unless(o.SlowReaders >= 0 && o.SlowReaders <= 90, "--slow-readers %d: from 0 to 90", o.SlowReaders)
	p.unless(o.Largest == 0 || o.Rooms >= 2 && o.Largest >= 1 && o.Largest <= o.Conns-o.Rooms+1, "--largest %d: with at least 2 rooms, from 1 to what the others leave of the connections, each having one member", o.Largest)
	p.unless(o.Scenario == "" || slices.Contains(restScenarios, o.Scenario), "--scenario %q: one of %s", o.Scenario, strings.Join(restScenarios, ", "))
	p.unless(o.Scenario == "" || o.Requests >= 1 && o.Requests <= maxConns/2, "--requests %d: from 1 to %d", o.Requests, maxConns/2)
	p.unless(o.Scenario == "" || o.Messages >= 1, "--messages %d: at least 1", o.Messages)
	p.unless(o.Page >= 1 && o.Page <= 1000, "--page %d: from 1 to 1000", o.Page)
}

// problems is what is wrong with options.
type problems []error

func (p *problems) unless(ok bool, format string, args ...any) {
	if !ok {
		*p = append(*p, fmt.Errorf(format, args...))
	}
}
