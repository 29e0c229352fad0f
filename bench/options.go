package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
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
	AllowRemote bool          `json:"allow_remote"`
	Prefix      string        `json:"prefix"` // of the rooms' names, new in each run
}

// maxConns is how many sockets one process of the generator takes, within the
// 20,000 descriptors that many systems grant.
const maxConns = 18_000

func defaultOptions() options {
	return options{
		URL: "ws://127.0.0.1:8080", Codec: codecJSON, Rooms: 1, Publishers: 1, Size: 128, Outstanding: 1,
		Duration: 10 * time.Second, Warmup: time.Second, Settle: 10 * time.Second, Timeout: 10 * time.Second, Processes: 1,
		Prefix: fmt.Sprintf("bench-%08x", rand.Uint32()),
	}
}

// flagSet is the flags of a command, by the names of the fields that it has a
// use for.
func (o *options) flagSet(command string, names ...string) *pflag.FlagSet {
	set := pflag.NewFlagSet(command, pflag.ContinueOnError)
	set.SortFlags = false
	set.Usage = func() {}
	add := map[string]func(){
		"url": func() { set.StringVar(&o.URL, "url", o.URL, "the server") },
		"codec": func() {
			set.StringVar(&o.Codec, "codec", o.Codec, "what the server speaks: json (throng.v1.json) or floor (bench/floor)")
		},
		"members":     func() { set.IntVar(&o.Conns, "members", o.Conns, "connections, in all rooms together") },
		"connections": func() { set.IntVar(&o.Conns, "connections", o.Conns, "connections") },
		"rooms":       func() { set.IntVar(&o.Rooms, "rooms", o.Rooms, "rooms that the connections are spread over") },
		"publishers":  func() { set.IntVar(&o.Publishers, "publishers", o.Publishers, "members of each room that publish") },
		"size":        func() { set.IntVar(&o.Size, "size", o.Size, "bytes of content in a message") },
		"rate": func() {
			set.Float64Var(&o.Rate, "rate", o.Rate, "messages per second of all publishers; 0 waits for messages to arrive instead, see --outstanding")
		},
		"outstanding": func() {
			set.IntVar(&o.Outstanding, "outstanding", o.Outstanding, "messages of each publisher that are under way at any time")
		},
		"slow-readers": func() {
			set.IntVar(&o.SlowReaders, "slow-readers", o.SlowReaders, "percent of the members that never read")
		},
		"messages": func() {
			set.Uint64Var(&o.Messages, "messages", o.Messages, "messages of each publisher, instead of --duration")
		},
		"duration": func() { set.DurationVar(&o.Duration, "duration", o.Duration, "how long to measure") },
		"warmup":   func() { set.DurationVar(&o.Warmup, "warmup", o.Warmup, "how long to run before") },
		"settle": func() {
			set.DurationVar(&o.Settle, "settle", o.Settle, "how long the server's memory may take to come to rest")
		},
		"page":    func() { set.IntVar(&o.Page, "page", o.Page, "messages in a page") },
		"timeout": func() { set.DurationVar(&o.Timeout, "timeout", o.Timeout, "how long to wait for anything to happen") },
		"processes": func() {
			set.IntVar(&o.Processes, "processes", o.Processes, "processes that share the connections, 18000 in each at most")
		},
		"pid": func() { set.IntVar(&o.PID, "pid", o.PID, "the server's process, where it cannot be found by its port") },
		"allow-remote": func() {
			set.BoolVar(&o.AllowRemote, "allow-remote", o.AllowRemote, "measure a server on another machine")
		},
		"room-prefix": func() {
			set.StringVar(&o.Prefix, "room-prefix", o.Prefix, "the beginning of the rooms' names; a new one for each run unless given")
		},
	}
	for _, name := range names {
		add[name]()
	}
	return set
}

// validate reports every option that makes no sense.
func (o *options) validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if o.Processes < 1 || o.Processes > 64 {
		bad("--processes %d: from 1 to 64", o.Processes)
	} else if o.Conns < o.Processes || o.Conns > maxConns*o.Processes {
		bad("%d connections in %d processes: from 1 to %d in each", o.Conns, o.Processes, maxConns)
	}
	if o.Rooms < 1 || o.Rooms > o.Conns {
		bad("--rooms %d: from 1 to the number of connections", o.Rooms)
	}
	if o.Publishers < 1 || o.Publishers*o.Rooms > o.Conns {
		bad("--publishers %d: from 1 to the members of a room", o.Publishers)
	}
	if o.Codec == codecFloor && o.Publishers > 1 {
		bad("--publishers %d: a floor has no order among authors, so that only one can be checked", o.Publishers)
	}
	if o.Size < leastContent || o.Size > 16<<20 {
		bad("--size %d: from %d, which is what is embedded, to 16 MiB", o.Size, leastContent)
	}
	if o.Rate < 0 {
		bad("--rate %g: 0 or more", o.Rate)
	}
	if o.Outstanding < 1 || o.Outstanding > 100_000 {
		bad("--outstanding %d: from 1 to 100000", o.Outstanding)
	}
	if o.SlowReaders < 0 || o.SlowReaders > 90 {
		bad("--slow-readers %d: from 0 to 90", o.SlowReaders)
	}
	if o.Duration <= 0 || o.Timeout <= 0 || o.Warmup < 0 || o.Settle < 0 {
		bad("--duration and --timeout are above 0, --warmup and --settle are not negative")
	}
	return errors.Join(errs...)
}
