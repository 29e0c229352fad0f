package bench_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/thronghq/throng/internal/throngtest"
)

func TestMain(m *testing.M) { throngtest.Main(m) }

// outcome is the part of a result that these tests look at.
type outcome struct {
	Benchmark  string
	Options    struct{ Connections, Processes int }
	Seconds    float64
	Sent       uint64
	Delivered  uint64
	Compressed uint64
	Latency    struct{ P50, P99, P999, Max float64 } `json:"latency_ms"`
	Violations struct{ Lost, Duplicates, Order uint64 }
	Refused    uint64
	Server     *struct {
		PID   int
		Cores int
		After int64 `json:"pss_after_bytes"`
	}
	Generator struct {
		CPUSeconds float64 `json:"cpu_seconds"`
	}
	Connections *struct {
		OpenedPerSecond float64 `json:"opened_per_second"`
	}
	Rest *struct {
		Requests []struct {
			Name      string
			Requests  uint64
			PerSecond float64 `json:"requests_per_second"`
			Refused   uint64
			Latency   struct{ P50, P99 float64 } `json:"latency_ms"`
		}
		Login *struct {
			Quiet  struct{ P50 float64 } `json:"messages_without_logins_ms"`
			Beside struct{ P50 float64 } `json:"messages_beside_logins_ms"`
			P50    []float64             `json:"p50_ratios"`
		}
	}
	Storm  *stormOutcome
	Gauges *struct {
		Mark   int64 `json:"memory_mark_bytes"`
		Lagged uint64
		Queued uint64
	}
	Append *struct {
		PerSecond float64 `json:"messages_per_second"`
		File      struct {
			PerSecond float64 `json:"messages_per_second"`
		}
	}
}

// stormOutcome is how clients came through a storm.
type stormOutcome struct {
	Cut          uint64
	Attempts     uint64
	Broken       uint64  `json:"broken_attempts"`
	NotRecovered uint64  `json:"not_recovered"`
	AllBack      float64 `json:"all_back_seconds"`
	CaughtUp     float64 `json:"all_caught_up_seconds"`
	Implied      float64 `json:"implied_seconds"`
}

// patience is what commands are given to wait with for anything to happen: the
// machine may be busy with other tests.
const patience = "60s"

// measure runs throng bench and returns the JSON object that it printed.
func measure(t *testing.T, args ...string) outcome {
	t.Helper()
	command := []string{"bench", args[0]}
	if args[0] != "append" { // it waits for no server
		command = append(command, "--timeout", patience)
	}
	code, stdout, stderr := throngtest.Run(t, nil, append(command, args[1:]...)...)
	if code != 0 {
		t.Fatalf("throng bench %q exits with %d\n%s\n%s", args, code, stdout, stderr)
	}
	var o outcome
	if err := json.Unmarshal([]byte(stdout), &o); err != nil {
		t.Fatalf("throng bench %q printed %q: %v", args, stdout, err)
	}
	if !strings.Contains(stderr, "violations") {
		t.Errorf("throng bench %q shows no table:\n%s", args, stderr)
	}
	if o.Benchmark != args[0] || o.Seconds <= 0 || o.Sent == 0 || o.Delivered == 0 {
		t.Errorf("throng bench %q: %+v", args, o)
	}
	if v := o.Violations; v.Lost+v.Duplicates+v.Order+o.Refused != 0 {
		t.Errorf("throng bench %q: violations %+v, %d refused", args, v, o.Refused)
	}
	if l := o.Latency; l.P50 <= 0 || l.P99 < l.P50 || l.P999 < l.P99 || l.Max < l.P999*0.999 {
		t.Errorf("throng bench %q: latency %+v", args, l)
	}
	return o
}

func TestBenchmarksAgainstTheServer(t *testing.T) {
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--compress-enabled"}})
	for _, command := range []string{
		"fanout --members 40 --messages 50 --warmup 0 --deflate --size 1024 --rooms 1",
		"fanout --members 40 --duration 300ms --warmup 0 --deflate --size 1024 --rooms 2 --processes 2 --codec binary --outstanding 4",
		"history --connections 4 --rooms 2 --messages 100 --page 100 --duration 200ms --deflate",
		"conn --connections 60 --rooms 6 --settle 500ms",
		"conn --connections 60 --rooms 6 --settle 100ms --codec binary",
		"fanout --members 40 --messages 50 --warmup 100ms",
		"fanout --members 40 --duration 500ms --warmup 0 --rooms 4 --publishers 3 --outstanding 5 --codec binary",
		"fanout --members 40 --duration 500ms --warmup 100ms --rate 100 --rooms 2",
		"fanout --members 41 --messages 30 --warmup 100ms --rooms 2 --publishers 2 --processes 3",
		"fanout --members 40 --duration 500ms --warmup 0 --size 2000 --slow-readers 10 --outstanding 16",
		"echo --connections 5 --messages 100 --warmup 50ms --outstanding 3",
		"echo --connections 5 --messages 100 --warmup 0 --size 16",
		"fanout --members 40 --messages 50 --warmup 0 --size 16 --codec binary",
		"fanout --members 40 --messages 50 --warmup 0 --size 20",
		"echo --connections 5 --duration 300ms --warmup 50ms --size 100000",
		"echo --connections 6 --duration 300ms --warmup 50ms --rate 200 --processes 2",
		"echo --connections 5 --messages 100 --warmup 0 --codec json",
		"history --connections 4 --rooms 2 --messages 250 --page 100 --duration 300ms",
		"history --connections 4 --rooms 4 --messages 100 --page 33 --duration 300ms --codec binary",
		"resume --members 60 --rooms 3 --messages 400",
		"resume --members 20 --messages 10 --processes 2",
		"rest --requests 3 --members 4 --duration 300ms --warmup 50ms",
		"rest --requests 1 --members 1 --duration 300ms --warmup 0 --size 60000",
		"rest --scenario history --requests 2 --messages 1234 --page 50 --duration 200ms --warmup 0",
		"rest --scenario history --requests 2 --messages 7 --page 50 --duration 100ms --warmup 0",
		"storm --members 60 --rooms 6 --messages 10 --rate 50",
		"storm --members 61 --rooms 6 --messages 10 --rate 0 --processes 3 --impatient",
		"rest --scenario login --requests 2 --members 3 --duration 600ms --warmup 50ms",
	} {
		t.Run(command, func(t *testing.T) {
			args := append(strings.Fields(command), "--url", server.URL(""))
			o := measure(t, args...)
			if o.Server == nil || o.Server.PID != server.PID() || o.Server.Cores < 1 || o.Server.After <= 0 {
				t.Errorf("the server's process: %+v, want pid %d", o.Server, server.PID())
			}
			if o.Generator.CPUSeconds <= 0 {
				t.Error("the generator's own CPU time is missing")
			}
			if (o.Connections != nil) != (o.Benchmark == "conn") {
				t.Errorf("connections: %+v", o.Connections)
			}
			if (o.Rest != nil) != (o.Benchmark == "rest") {
				t.Errorf("rest: %+v", o.Rest)
			}
			if deflate := strings.Contains(command, "--deflate"); deflate != (o.Compressed > 0) || strings.HasPrefix(command, "fanout") && deflate && o.Compressed < o.Delivered/4 {
				t.Errorf("%d frames came compressed, for %d messages", o.Compressed, o.Delivered)
			}
			checkDeliveries(t, command, o)
			checkRest(t, command, o)
			checkStorm(t, command, o)
		})
	}
}

// checkRest looks at what each kind of request cost.
func checkRest(t *testing.T, command string, o outcome) {
	t.Helper()
	if o.Rest == nil {
		return
	}
	if len(o.Rest.Requests) < 2 || o.Rest.Requests[0].Name != "GET /healthz" {
		t.Fatalf("%s: %+v", command, o.Rest)
	}
	for _, r := range o.Rest.Requests {
		if r.Requests == 0 || r.PerSecond <= 0 || r.Refused != 0 || r.Latency.P50 <= 0 || r.Latency.P99 < r.Latency.P50 {
			t.Errorf("%s: %+v", command, r)
		}
	}
	if l := o.Rest.Login; (l != nil) != strings.Contains(command, "login") || l != nil && (len(l.P50) != 3 || l.Quiet.P50 <= 0 || l.Beside.P50 <= 0) {
		t.Errorf("%s: logins %+v", command, l)
	}
	if strings.Contains(command, "--members 4") && o.Delivered != 4*o.Sent {
		t.Errorf("%s: %d messages were published and %d delivered to 4 members", command, o.Sent, o.Delivered)
	}
}

// checkDeliveries compares the counts where they are known beforehand.
func checkDeliveries(t *testing.T, command string, o outcome) {
	t.Helper()
	var sent, delivered uint64
	switch {
	case strings.HasPrefix(command, "conn"):
		sent, delivered = 6, 6*9
	case strings.HasPrefix(command, "fanout --members 40 --messages 50"):
		sent, delivered = 50, 50*39
	case strings.HasPrefix(command, "fanout") && strings.Contains(command, "--processes 3"): // rooms of 21 and 20
		sent, delivered = 120, 60*20+60*19
	case strings.HasPrefix(command, "echo") && strings.Contains(command, "--messages"):
		sent, delivered = 500, 500
	default:
		return
	}
	if o.Sent != sent || o.Delivered != delivered {
		t.Errorf("%d sent and %d delivered, want %d and %d", o.Sent, o.Delivered, sent, delivered)
	}
}

// checkStorm looks at who came back. The authors of six rooms are not cut off.
func checkStorm(t *testing.T, command string, o outcome) {
	t.Helper()
	if !strings.HasPrefix(command, "storm") {
		return
	}
	s, cut := o.Storm, uint64(o.Options.Connections-6)
	if s == nil || s.Cut != cut || s.Attempts != cut || s.NotRecovered != 0 || s.AllBack <= 0 || s.CaughtUp < s.AllBack {
		t.Fatalf("%s: storm %+v", command, s)
	}
	if least := 10 * cut; o.Delivered < least {
		t.Errorf("%s: %d messages reached %d clients that missed 10 each", command, o.Delivered, cut)
	}
	if o.Gauges == nil || o.Gauges.Mark <= 0 {
		t.Errorf("%s: the server's own figures are %+v", command, o.Gauges)
	}
}

// TestStormPastTheBudget has more clients come back than are admitted at once,
// and kills the server while they wait for it.
func TestStormPastTheBudget(t *testing.T) {
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--net-admission=200/s burst 5"}})
	args := strings.Fields("storm --members 400 --rooms 4 --messages 20 --rate 40 --admission 200 --timeout " + patience + " --url " + server.URL(""))
	type end struct {
		code           int
		stdout, stderr string
	}
	ended := make(chan end, 1)
	go func() {
		code, stdout, stderr := throngtest.Run(t, nil, append([]string{"bench"}, args...)...)
		ended <- end{code, stdout, stderr}
	}()
	connections := func(enough func(n float64) bool) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !enough(gauge(t, server, "throng_connections")); {
			if time.Now().After(deadline) {
				t.Fatal("the storm does not begin")
			}
		}
	}
	connections(func(n float64) bool { return n == 400 })
	connections(func(n float64) bool { return n < 100 })
	connections(func(n float64) bool { return n >= 150 }) // what they missed has long been synced
	server.Kill()
	server.Restart()
	e := <-ended
	var o outcome
	if err := json.Unmarshal([]byte(e.stdout), &o); err != nil || e.code != 0 {
		t.Fatalf("exits with %d, %v\n%s\n%s", e.code, err, e.stdout, e.stderr)
	}
	if s := o.Storm; s == nil || s.Cut != 396 || s.Broken == 0 || s.Implied < 0.9 || s.Implied > 1.1 {
		t.Errorf("storm %+v", o.Storm)
	}
	if v := o.Violations; v.Lost+v.Duplicates+v.Order != 0 || o.Delivered < 20*396 {
		t.Errorf("%d delivered, violations %+v", o.Delivered, v)
	}
	if o.Gauges == nil || o.Gauges.Queued == 0 {
		t.Errorf("nobody waited for admission: %+v", o.Gauges)
	}
	if o.Server == nil || o.Server.PID != server.PID() {
		t.Errorf("the server's process: %+v, want the second one's, %d", o.Server, server.PID())
	}
}

// gauge reads one of the server's figures, 0 where it cannot be read.
func gauge(t *testing.T, server *throngtest.Server, name string) float64 {
	t.Helper()
	response, err := http.Get(server.URL("/metrics"))
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			value, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}

// TestHandshakes has clients of three users, and anonymous ones, connect.
func TestHandshakes(t *testing.T) {
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--net-admission=1000000/s"}})
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	var tokens string
	for _, user := range []string{"ada", "bob", "cyd"} {
		code, stdout, stderr := throngtest.Run(t, nil, "token", "--user", user, "--data-dir", server.DataDir)
		if code != 0 {
			t.Fatalf("throng token exits with %d\n%s", code, stderr)
		}
		tokens += stdout
	}
	if err := errors.Join(os.WriteFile(good, []byte(tokens), 0o600), os.WriteFile(bad, []byte("nobody\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	command := []string{"handshake", "--connections", "8", "--duration", "200ms", "--warmup", "50ms", "--url", server.URL("")}
	const accepted = `throng_handshakes_total{result="accepted"}`
	opened := gauge(t, server, accepted)
	for _, more := range [][]string{nil, {"--processes", "2"}, {"--token-file", good}} {
		if o := measure(t, append(command, more...)...); o.Sent != o.Delivered || o.Sent < 8 {
			t.Errorf("%q: %d begun, %d done", more, o.Sent, o.Delivered)
		} else if now := gauge(t, server, accepted); now < opened+float64(o.Delivered) {
			t.Errorf("%q: the server opened %.0f connections, the generator counts %d", more, now-opened, o.Delivered)
		} else {
			opened = now
		}
	}
	code, _, stderr := throngtest.Run(t, nil, append([]string{"bench"}, append(command, "--token-file", bad)...)...)
	if code != 1 {
		t.Errorf("a token that is none: exits with %d\n%s", code, stderr)
	}
}

// TestBenchmarksOverTLS also shows what a certificate that is not trusted does.
func TestBenchmarksOverTLS(t *testing.T) {
	pair, other := throngtest.NewPair(t, "bench"), throngtest.NewPair(t, "other")
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--tls-cert", pair.Cert, "--tls-key", pair.Key, "--net-admission=1000000/s"}})
	for _, command := range []string{
		"conn --connections 30 --rooms 3 --settle 50ms",
		"fanout --members 40 --messages 50 --warmup 50ms",
		"fanout --members 40 --messages 20 --warmup 0 --size 60000 --outstanding 4 --processes 2",
		"echo --connections 5 --messages 100 --warmup 0",
		"handshake --connections 5 --duration 100ms --warmup 0",
	} {
		t.Run(command, func(t *testing.T) {
			o := measure(t, append(strings.Fields(command), "--url", server.WSURL(""), "--ca", pair.Cert)...)
			if o.Server == nil || o.Server.PID != server.PID() {
				t.Errorf("the server's process: %+v, want pid %d", o.Server, server.PID())
			}
		})
	}
	code, _, stderr := throngtest.Run(t, nil, "bench", "echo", "--url", server.WSURL(""), "--ca", other.Cert, "--timeout", patience)
	if code != 1 || !strings.Contains(stderr, "certificate") {
		t.Errorf("another certificate: exits with %d\n%s", code, stderr)
	}
}

func TestAppend(t *testing.T) {
	for _, durability := range []string{"async", "sync"} {
		o := measure(t, "append", "--rooms", "10", "--messages", "5000", "--durability", durability, "--dir", t.TempDir())
		if o.Sent != 5000 || o.Delivered != 5000 || o.Append == nil || o.Append.PerSecond <= 0 || o.Append.File.PerSecond <= 0 {
			t.Errorf("%s: %+v, append %+v", durability, o, o.Append)
		}
	}
}

// TestPagesOfAKeptLog fills a data directory in two runs, of which the second one
// goes on where the first has ended, and has a server read it.
func TestPagesOfAKeptLog(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		fill := strings.Fields("append --rooms 7 --messages 700 --outstanding 50 --room-prefix kept --keep")
		if o := measure(t, append(fill, dir)...); o.Sent != 700 || o.Delivered != 700 {
			t.Errorf("%+v", o)
		}
	}
	server := throngtest.Start(t, throngtest.Options{DataDir: dir})
	pages := strings.Fields("pages --rooms 7 --messages 200 --room-prefix kept --duration 100ms --url " + server.URL(""))
	for _, more := range []string{"", "--places 5 --connections 3", "--page 200 --processes 2 --connections 2"} {
		if o := measure(t, append(pages, strings.Fields(more)...)...); o.Delivered%o.Sent != 0 || o.Delivered < 50*o.Sent {
			t.Errorf("%s: %d pages have %d messages", more, o.Sent, o.Delivered)
		}
	}
	code, _, stderr := throngtest.Run(t, nil, append([]string{"bench"}, append(pages, "--messages", "300", "--page", "300")...)...)
	if code != 1 || !strings.Contains(stderr, "shorter than asked for") {
		t.Errorf("a page of more than there is: exits with %d\n%s", code, stderr)
	}
}

// startFloor builds a floor and starts it.
func startFloor(t *testing.T, mode string) (url string, pid int) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "floor")
	if out, err := exec.Command("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", binary, "floor/floor.c").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	floor := exec.Command(binary, mode, "0")
	floor.Stderr = os.Stderr
	out, err := floor.StdoutPipe()
	if err == nil {
		err = floor.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = floor.Process.Kill()
		_ = floor.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	_, url, ok := strings.Cut(strings.TrimSpace(line), " is ready: ")
	if err != nil || !ok {
		t.Fatalf("the floor says %q, %v", line, err)
	}
	return url, floor.Process.Pid
}

func TestBenchmarksAgainstTheFloors(t *testing.T) {
	for _, mode := range []string{"one", "batch"} {
		url, pid := startFloor(t, mode)
		for _, command := range []string{
			"conn --connections 60 --rooms 6 --settle 100ms --codec floor",
			"fanout --members 40 --messages 50 --warmup 100ms --codec floor",
			"fanout --members 40 --messages 200 --warmup 0 --rooms 4 --outstanding 8 --codec floor",
			"fanout --members 40 --messages 20 --warmup 0 --size 300000 --codec floor",
			"fanout --members 40 --messages 50 --warmup 0 --size 16 --codec floor",
			"echo --connections 5 --messages 100 --warmup 50ms --outstanding 3",
			"echo --connections 5 --messages 100 --warmup 0 --size 100000",
			"handshake --connections 5 --duration 100ms --warmup 50ms",
		} {
			t.Run(mode+" "+command, func(t *testing.T) {
				o := measure(t, append(strings.Fields(command), "--url", url)...)
				if o.Server == nil || o.Server.PID != pid {
					t.Errorf("the floor's process: %+v, want pid %d", o.Server, pid)
				}
				checkDeliveries(t, command, o)
			})
		}
	}
}

// TestHold keeps connections at a server that pings them every second.
func TestHold(t *testing.T) {
	server := throngtest.Start(t, throngtest.Options{Args: []string{"--ping-interval", "1s"}})
	code, stdout, stderr := throngtest.Run(t, nil, "bench", "hold", "--connections", "120", "--rooms", "5", "--largest", "70",
		"--settle", "100ms", "--duration", "4s", "--url", server.URL(""))
	if code != 0 {
		t.Fatalf("exits with %d\n%s\n%s", code, stdout, stderr)
	}
	var r struct {
		Hold struct {
			Joined, Reached, Pinged, Survived int
			Largest                           int `json:"largest_room"`
			InLargest                         int `json:"reached_in_largest_room"`
			Memory                            []struct {
				Moment  string
				RSS     int64 `json:"rss_bytes"`
				PSS     int64 `json:"pss_bytes"`
				Sockets int64 `json:"tcp_sockets"`
				Slab    int64 `json:"kernel_slab_bytes"`
			}
		}
	}
	if err := json.Unmarshal([]byte(stdout), &r); err != nil {
		t.Fatalf("%q: %v", stdout, err)
	}
	h := r.Hold
	if h.Joined != 120 || h.Reached != 120 || h.Pinged != 120 || h.Survived != 120 || h.Largest != 70 || h.InLargest != 70 || len(h.Memory) != 4 {
		t.Errorf("%+v", h)
	}
	for i, m := range h.Memory {
		if m.RSS < 1<<20 || m.PSS < 1<<20 || m.Slab == 0 || i > 0 && m.Sockets < 240 {
			t.Errorf("%+v", m)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for _, test := range []struct {
		args string
		code int
		part string // of standard output or standard error
	}{
		{"", 0, "throng bench fanout"},
		{"--help", 0, "throng bench append"},
		{"fanout --help", 0, "--slow-readers"},
		{"fandango", 64, `no benchmark "fandango"`},
		{"fanout 7", 64, `unexpected argument "7"`},
		{"fanout --members x", 64, "--members"},
		{"fanout --codec echo", 64, "json, binary, floor"},
		{"fanout --members 10 --rooms 11", 64, "--rooms 11"},
		{"fanout --members 18001", 64, "from 1 to 18000"},
		{"fanout --publishers 2 --codec floor", 64, "--publishers 2"},
		{"fanout --size 3 --page 7", 64, "--page"},
		{"fanout --size 3", 64, "--size 3"},
		{"fanout --processes 0", 64, "--processes 0"},
		{"pages --messages 49 --url ws://127.0.0.1:1 --pid " + strconv.Itoa(os.Getpid()), 1, "less than a page of 50"},
		{"storm --url wss://127.0.0.1:1", 64, "throng bench storm speaks no TLS"},
		{"echo --url wss://127.0.0.1:1 --ca /nowhere/at/all --pid " + strconv.Itoa(os.Getpid()), 1, "--ca"},
		{"handshake --token-file /nowhere/at/all", 1, "no process that listens there"},
		{"storm --help", 0, "--impatient"},
		{"storm --admission -1", 64, "--admission -1"},
		{"rest --help", 0, "--scenario"},
		{"rest --scenario dance", 64, `--scenario "dance": one of publish, history, login`},
		{"rest --requests 0 --messages 0", 64, "--requests 0"},
		{"hold --connections 10 --rooms 1 --largest 5", 64, "--largest 5"},
		{"hold --connections 10 --rooms 4 --largest 8", 64, "--largest 8"},
		{"append --durability perhaps", 64, `--durability "perhaps"`},
		{"fanout --url ws://192.0.2.1:80", 1, "--allow-remote"},
		{"echo --url ws://192.0.2.1:80", 1, "--allow-remote"},
		{"fanout --url ws://127.0.0.1:1", 1, "no process that listens there"},
		{"fanout --url ws://127.0.0.1:1 --pid " + strconv.Itoa(os.Getpid()), 1, "connection refused"},
		{"worker", 1, "own processes"},
	} {
		code, stdout, stderr := throngtest.Run(t, nil, append([]string{"bench"}, strings.Fields(test.args)...)...)
		if code != test.code || !strings.Contains(stdout+stderr, test.part) {
			t.Errorf("throng bench %s: exits with %d, want %d with %q\n%s%s", test.args, code, test.code, test.part, stdout, stderr)
		}
	}
}

// TestRefusedUpgrade shows what a server says.
func TestRefusedUpgrade(t *testing.T) {
	server := throngtest.Start(t, throngtest.Options{NoDev: true})
	code, _, stderr := throngtest.Run(t, nil, "bench", "echo", "--url", server.URL(""), "--timeout", patience)
	if code != 1 || !strings.Contains(stderr, "the upgrade was refused: HTTP/1.1 404") {
		t.Errorf("exits with %d\n%s", code, stderr)
	}
}
