package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"
)

// The scenarios of throng bench rest.
const (
	restPublish = "publish"
	restHistory = "history"
	restLogin   = "login"
)

var restScenarios = []string{restPublish, restHistory, restLogin}

// restPassword is that of the users which the generator registers.
const restPassword = "correct horse battery staple"

// apiPath is where the REST API is.
const apiPath = "/api/v1"

// rest is a run of throng bench rest.
type rest struct {
	options  *options
	target   target
	server   *server
	progress *progress
	sources  sources

	floor *requestResult
	found *restResult
}

// restResult is what the requests of a scenario cost.
type restResult struct {
	Scenario string           `json:"scenario"`
	Requests []*requestResult `json:"requests"` // the floor first
	Login    *loginResult     `json:"login,omitempty"`
}

// rows adds the lines of the table.
func (r *restResult) rows(row func(name, format string, args ...any)) {
	for _, q := range r.Requests {
		floor := ""
		if q.ToFloor > 0 {
			floor = fmt.Sprintf(" (%.2f of the floor's)", q.ToFloor)
		}
		row(q.Name, "%d, %.0f/s, %.1f µs of server CPU each%s, p50 %.3f ms, p99 %.3f ms, %d refused",
			q.Requests, q.PerSecond, q.CPUPerRequest, floor, q.Latency.P50, q.Latency.P99, q.Refused)
	}
	if l := r.Login; l != nil {
		row("messages", "p50 %.3f ms, p99 %.3f ms without logins; p50 %.3f ms, p99 %.3f ms beside them", l.Quiet.P50, l.Quiet.P99, l.Beside.P50, l.Beside.P99)
		row("ratio", "p50 %.2f, p99 %.2f, medians of %d rounds; logins keep %.2f cores busy", median(l.P50), median(l.P99), len(l.P99), l.Busy)
	}
}

func runRest(ctx context.Context, o *options, p *progress) (*result, error) {
	watched, err := watchServer(ctx, o)
	if err != nil {
		return nil, err
	}
	t, err := parseTarget(ctx, o.URL, o.AllowRemote)
	if err != nil {
		return nil, err
	}
	r := &rest{options: o, target: t, server: watched, progress: p, sources: newSources(t), found: &restResult{Scenario: o.Scenario}}
	var found *result
	switch o.Scenario {
	case restPublish:
		found, err = r.publish(ctx)
	case restHistory:
		found, err = r.history(ctx)
	default:
		found, err = r.login(ctx)
	}
	if err != nil {
		return nil, err
	}
	found.Rest = r.found
	return found, nil
}

// load makes a load that shows a token.
func (r *rest) load(token string) *restLoad {
	return &restLoad{target: r.target, options: r.options, server: r.server, clock: newClock(), token: token}
}

// measureFloor measures what a request costs that does nothing.
func (r *rest) measureFloor(ctx context.Context) error {
	r.progress.stage("measuring GET /healthz")
	askers := make([]asker, r.options.Requests)
	for i := range askers {
		askers[i] = healthz{}
	}
	p, err := r.load("").run(ctx, askers)
	if err != nil {
		return err
	}
	r.floor = p.result("GET /healthz", nil)
	r.found.Requests = append(r.found.Requests, r.floor)
	return nil
}

// credentials is the body of a registration or login.
func credentials(user string) []byte {
	body, err := json.Marshal(map[string]string{"username": user, "password": restPassword})
	if err != nil {
		panic(err) // strings always marshal
	}
	return body
}

// register makes a user.
func (r *rest) register(ctx context.Context, user string) error {
	c, err := dialREST(ctx, r.target, r.sources.next(), r.options.Timeout)
	if err != nil {
		return err
	}
	defer c.close()
	_, err = c.must(http.StatusCreated, http.MethodPost, apiPath+"/register", credentials(user))
	return err
}

// bearer registers a user and returns an access token of theirs.
func (r *rest) bearer(ctx context.Context, user string) (string, error) {
	if err := r.register(ctx, user); err != nil {
		return "", err
	}
	c, err := dialREST(ctx, r.target, r.sources.next(), r.options.Timeout)
	if err != nil {
		return "", err
	}
	defer c.close()
	body, err := c.must(http.StatusOK, http.MethodPost, apiPath+"/login", credentials(user))
	if err != nil {
		return "", err
	}
	var answer struct{ AccessToken string }
	if err := json.Unmarshal(body, &answer); err != nil || answer.AccessToken == "" {
		return "", errors.Join(fmt.Errorf("the answer to a login has no token: %.300s", body), err)
	}
	return answer.AccessToken, nil
}

// userOf names one of the run's users.
func (r *rest) userOf(i int) string { return fmt.Sprintf("%s-u%03d", r.options.Prefix, i) }

// messagesPath is where a room's messages are. Its name needs no escaping.
func messagesPath(room string) string { return apiPath + "/rooms/" + room + "/messages" }

// sources are addresses of this machine to connect from, one after the other: a
// server rightly bounds what comes from a single one.
type sources struct {
	local bool // the server is on the loopback, which has millions of them
	at    netip.Addr
}

func newSources(t target) sources {
	a := t.addr.Addr()
	first := [4]byte{127, byte(1 + rand.IntN(254)), byte(rand.IntN(256)), byte(rand.IntN(256))}
	return sources{local: a.Is4() && a.IsLoopback(), at: netip.AddrFrom4(first)}
}

// next returns an address, or one that is not valid where the kernel is to
// choose.
func (s *sources) next() netip.Addr {
	if !s.local {
		return netip.Addr{}
	}
	b := s.at.Next().As4()
	if b[0] != 127 || b == [4]byte{127, 255, 255, 255} {
		b = [4]byte{127, 1, 0, 1}
	}
	s.at = netip.AddrFrom4(b)
	return s.at
}

// overall makes the result of phases that were measured one after the other;
// counted is what all of them did.
func (r *rest) overall(counted *tally, phases ...phase) *result {
	var elapsed time.Duration
	var used usage
	for _, p := range phases {
		elapsed += p.elapsed
		used.user += p.used.user
		used.system += p.used.system
	}
	if r.server != nil {
		r.server.begin, r.server.end = usage{}, used
	}
	return newResult(counted, elapsed, r.server)
}
