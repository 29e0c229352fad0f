package auth

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/VictoriaMetrics/metrics"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/golang-jwt/jwt/v5"

	"github.com/thronghq/throng/proto"
)

// The pace of fetching an issuer's keys.
const (
	// leastGap lies between the beginnings of two fetches, whatever tokens
	// come.
	leastGap = 10 * time.Second

	// maxRetry is the longest wait after a failed fetch, if no token asks for
	// an unknown key before.
	maxRetry = 5 * time.Minute

	fetchTimeout   = 10 * time.Second
	defaultRefresh = 15 * time.Minute
)

// IssuerOptions describes another server whose tokens are accepted.
//
// Its tokens must name their end (exp), and may carry the claim rooms. They do
// not make administrators (admin) and belong to no login session of this
// server (sid), whatever they say.
type IssuerOptions struct {
	Name       string        // in logs and metrics
	Issuer     string        // the tokens' iss
	URL        string        // of its JWK Set (RFC 7517): https, or http where that is what stands here
	Audience   []string      // one of which its tokens must name as aud
	Algorithms []string      // that its tokens may be signed with; nil for all but HS256, which is never
	UserClaim  string        // the claim that names the user; "" for sub
	UserPrefix string        // put before it to make a user's id, so that its users are not taken for others of the same name
	Refresh    time.Duration // how often its keys are fetched; 0 for 15 minutes

	Transport http.RoundTripper // nil for one of its own
	Logger    *slog.Logger      // nil for none
	Metrics   *metrics.Set      // nil for none
}

// check reports what is wrong with the options, all at once.
func (o *IssuerOptions) check() error {
	var problems []error
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		problems = append(problems, errors.New("its URL is not one of https or http"))
	}
	if o.Issuer == "" {
		problems = append(problems, errors.New("its iss is missing"))
	}
	if len(o.Audience) == 0 {
		problems = append(problems, errors.New("its audience is missing: tokens that it made for other services would do"))
	}
	for _, alg := range o.Algorithms {
		if alg == HS256 || !slices.Contains(algorithms, alg) {
			problems = append(problems, fmt.Errorf("algorithm %.32q is none of %s, %s, %s", alg, RS256, ES256, EdDSA))
		}
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("auth: issuer %q: %w", o.Name, err)
	}
	return nil
}

// Issuer is another server whose tokens are accepted. Its keys are fetched in
// the background, by one goroutine: at first, then by period, and soon after a
// token with an unknown key. As long as they cannot be fetched, those that were
// fetched last count. It is safe for concurrent use.
type Issuer struct {
	options IssuerOptions
	fetcher fetcher

	// What the last good fetch brought; nil before the first.
	current atomic.Pointer[fetched]

	// nextFetch is when the next fetch may begin, Unix ms; while one is
	// underway, it is what it was.
	nextFetch atomic.Int64

	wanted chan struct{} // holds one request for a fetch

	cancel context.CancelFunc
	ended  sync.WaitGroup

	ok, failed  *metrics.Counter
	lastSuccess *metrics.Gauge // Unix seconds
}

// fetched is what one fetch brought.
type fetched struct {
	ring  *keyring
	begun time.Time // what was published by then is in it
}

// OpenIssuer begins to fetch the issuer's keys and does not wait for them:
// until they are there, its tokens are answered with ErrUnavailable. The caller
// closes it in the end.
func OpenIssuer(o IssuerOptions) (*Issuer, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	o.Refresh = cmp.Or(o.Refresh, defaultRefresh)
	if o.Algorithms == nil {
		o.Algorithms = []string{RS256, ES256, EdDSA}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Metrics == nil {
		o.Metrics = metrics.NewSet()
	}
	ctx, cancel := context.WithCancel(context.Background())
	i := &Issuer{options: o, fetcher: newFetcher(o.URL, o.Transport), wanted: make(chan struct{}, 1), cancel: cancel}
	label := fmt.Sprintf("{issuer=%q", o.Name)
	i.ok = o.Metrics.NewCounter(`throng_auth_issuer_fetches_total` + label + `,result="ok"}`)
	i.failed = o.Metrics.NewCounter(`throng_auth_issuer_fetches_total` + label + `,result="failed"}`)
	i.lastSuccess = o.Metrics.NewGauge(`throng_auth_issuer_last_success_timestamp_seconds`+label+`}`, nil)
	o.Metrics.NewGauge(`throng_auth_issuer_keys`+label+`}`, func() float64 {
		if c := i.current.Load(); c != nil {
			return float64(len(c.ring.keys))
		}
		return 0
	})
	if u, _ := url.Parse(o.URL); u.Scheme == "http" && !loopback(u.Hostname()) { // check has parsed it
		o.Logger.LogAttrs(ctx, slog.LevelWarn, "an issuer's keys are fetched without TLS: whoever can change what comes can be anyone",
			slog.String("issuer", o.Name))
	}
	i.ended.Go(func() { i.run(ctx) })
	return i, nil
}

func loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Close ends the fetching and waits for it.
func (i *Issuer) Close() {
	i.cancel()
	i.ended.Wait()
}

// run fetches until ctx ends.
func (i *Issuer) run(ctx context.Context) {
	retry := leastGap
	for {
		select {
		case <-i.wanted: // this fetch is what was asked for
		default:
		}
		begun := time.Now()
		wait := i.options.Refresh
		if err := i.fetch(ctx, begun); err != nil {
			wait = min(retry, i.options.Refresh)
			retry = min(2*retry, maxRetry)
		} else {
			retry = leastGap
		}
		i.nextFetch.Store(begun.Add(leastGap).UnixMilli())
		if !i.pause(ctx, begun, wait) {
			return
		}
	}
}

// pause waits until the time to fetch again has come: the given one, or, where
// a token asks for an unknown key, leastGap after the last fetch began. It
// returns false when ctx has ended.
func (i *Issuer) pause(ctx context.Context, begun time.Time, wait time.Duration) bool {
	regular := time.NewTimer(time.Until(begun.Add(max(wait, leastGap))))
	defer regular.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-regular.C:
		return true
	case <-i.wanted:
	}
	soon := time.NewTimer(time.Until(begun.Add(leastGap)))
	defer soon.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-soon.C:
		return true
	}
}

// fetch fetches the keys once.
func (i *Issuer) fetch(ctx context.Context, begun time.Time) error {
	data, err := i.fetcher.get(ctx)
	var keys []key
	leftOut := 0
	if err == nil {
		keys, leftOut, err = parsePublicKeys(data, i.options.Algorithms)
	}
	if ctx.Err() != nil {
		return ctx.Err() // the end, and no failure
	}
	issuer := slog.String("issuer", i.options.Name)
	if err != nil {
		i.failed.Inc()
		i.options.Logger.LogAttrs(ctx, slog.LevelWarn, "an issuer's keys cannot be fetched; those that were there stay in force",
			issuer, slog.Any("error", err))
		return err
	}
	i.ok.Inc()
	i.lastSuccess.Set(float64(begun.Unix()))
	i.current.Store(&fetched{&keyring{keys: keys}, begun})
	i.options.Logger.LogAttrs(ctx, slog.LevelDebug, "an issuer's keys were fetched",
		issuer, slog.Int("keys", len(keys)), slog.Int("left_out", leftOut))
	return nil
}

// find returns what verifies a token, as keyring.find does. For one that has no
// key here yet, but may have after the next fetch, it asks for that and returns
// ErrUnavailable: the client is to come again. Those are tokens that say that
// they were issued after the last good fetch began, and, where they do not say,
// all that come leastGap after it: an issuer publishes a key before it signs
// with it. The clocks may differ by leastGap. Nothing of the token is believed
// yet; whoever forges these claims gets another error for it, and no more
// fetches.
func (i *Issuer) find(kid kid, alg string, now, issuedAt time.Time) (any, error) {
	if !slices.Contains(i.options.Algorithms, alg) {
		return nil, refused("its algorithm is not one that its issuer's tokens may be signed with")
	}
	c := i.current.Load()
	if c != nil {
		found, err := c.ring.find(kid, alg)
		if err == nil {
			return found, nil
		}
		if issuedAt.IsZero() {
			issuedAt = now.Add(-2 * leastGap)
		}
		if issuedAt.Add(leastGap).Before(c.begun) {
			return nil, errNoKey
		}
	}
	select {
	case i.wanted <- struct{}{}:
	default: // asked for already
	}
	wait := max(time.UnixMilli(i.nextFetch.Load()).Sub(now), time.Second)
	return nil, &proto.Error{
		Code: proto.ErrUnavailable, RetryAfter: min(wait, leastGap),
		Detail: "the keys of the token's issuer are being fetched; try again",
	}
}

// adopt makes an identity of another server's verified token one of this
// server's.
func (i *Issuer) adopt(id *Identity, token *jwt.Token) *proto.Error {
	if id.Expires.IsZero() {
		return refused("it does not say when it ends (exp)")
	}
	if claim := i.options.UserClaim; claim != "" && claim != "sub" {
		id.UserID = textClaim(token, claim)
	}
	if id.UserID == "" { // a prefix must not hide it
		return refused("it does not name its user, as its issuer's must")
	}
	id.UserID = i.options.UserPrefix + id.UserID
	id.Admin, id.Session = false, ""
	return nil
}

// textClaim returns a claim of a token that has been parsed; "" where it has
// none of that name that is a text.
func textClaim(token *jwt.Token, name string) string {
	_, rest, _ := strings.Cut(token.Raw, ".")
	payload, _, _ := strings.Cut(rest, ".")
	data, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return ""
	}
	var all map[string]jsontext.Value
	if err := json.Unmarshal(data, &all); err != nil {
		return ""
	}
	var text string
	if err := json.Unmarshal(all[name], &text); err != nil {
		return ""
	}
	return text
}
