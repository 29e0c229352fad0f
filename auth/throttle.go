package auth

import (
	"container/list"
	"net/netip"
	"sync"
	"time"

	"github.com/thronghq/throng/proto"
)

// throttle slows the guessing of passwords, with three token buckets for each
// login:
//
//   - pair: failed logins to one account from one address. It is the tight one:
//     who guesses is stopped, and the account's owner, elsewhere, is not.
//   - address: logins and registrations from one address, failed or not. An IPv6
//     address counts as its /64, which is what one customer has.
//   - account: failed logins to one account from anywhere, accountShare times
//     what the pair has, so that it takes that many addresses to lock an owner
//     out, and that only for as long as they go on.
//
// A login pays before its password is looked at, so that many at once find no
// gap; one that succeeds is given back what it paid for failing.
type throttle struct {
	pair, address, account bucketTable
	tele                   *accountsTelemetry
}

// maxBuckets bounds each table. What was used least recently goes first: its
// bucket has had most time to fill.
const maxBuckets = 1 << 16

// accountShare is how many addresses' failed logins one account bears.
const accountShare = 100

func newThrottle(pair, address proto.Rate, now func() time.Time, tele *accountsTelemetry) *throttle {
	t := &throttle{tele: tele}
	t.pair.init(pair, now)
	t.address.init(address, now)
	t.account.init(proto.Rate{PerSecond: accountShare * pair.PerSecond, Burst: accountShare * pair.Burst}, now)
	return t
}

// bucketKey names a bucket; a table uses the fields that it is about.
type bucketKey struct {
	account string
	network netip.Prefix
}

// network is what counts as one address.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := a.BitLen()
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // the zero prefix for an unknown address
	return p
}

// loginAttempt is a login that has paid.
type loginAttempt struct {
	throttle *throttle
	key      bucketKey
}

// login takes what a login costs, or returns ErrRateLimited and when to try
// again. It takes nothing then.
func (t *throttle) login(account string, address netip.Addr) (loginAttempt, *proto.Error) {
	key := bucketKey{account, network(address)}
	if wait := t.address.take(bucketKey{network: key.network}); wait > 0 {
		return loginAttempt{}, t.refuse("address", wait, "logins from this address")
	}
	if wait := t.pair.take(key); wait > 0 {
		t.address.give(bucketKey{network: key.network})
		return loginAttempt{}, t.refuse("pair", wait, "failed logins to this account")
	}
	if wait := t.account.take(bucketKey{account: account}); wait > 0 {
		t.address.give(bucketKey{network: key.network})
		t.pair.give(key)
		return loginAttempt{}, t.refuse("account", wait, "failed logins to this account")
	}
	return loginAttempt{t, key}, nil
}

// register takes what a registration costs.
func (t *throttle) register(address netip.Addr) *proto.Error {
	if wait := t.address.take(bucketKey{network: network(address)}); wait > 0 {
		return t.refuse("address", wait, "registrations from this address")
	}
	return nil
}

// didNotFail gives back what a login pays for failing: it succeeded, or was
// never tried.
func (a loginAttempt) didNotFail() {
	a.throttle.pair.give(a.key)
	a.throttle.account.give(bucketKey{account: a.key.account})
}

func (t *throttle) refuse(by string, wait time.Duration, what string) *proto.Error {
	t.tele.throttled[by].Inc()
	err := proto.ErrRateLimited.With("too many %s", what)
	err.RetryAfter = wait
	return err
}

// expire forgets buckets that are full again.
func (t *throttle) expire() {
	t.pair.expire()
	t.address.expire()
	t.account.expire()
}

func (t *throttle) size() int { return t.pair.size() + t.address.size() + t.account.size() }

// bucketTable holds the token buckets of one rate that are not full.
type bucketTable struct {
	rate proto.Rate
	now  func() time.Time

	mu     sync.Mutex
	byKey  map[bucketKey]*list.Element
	recent list.List // of *bucket, the one used last in front
}

type bucket struct {
	key    bucketKey
	tokens float64
	at     time.Time // when it had that many
}

func (t *bucketTable) init(rate proto.Rate, now func() time.Time) {
	t.rate, t.now, t.byKey = rate, now, make(map[bucketKey]*list.Element)
}

// take takes a token and returns 0, or how long it takes until there is one.
func (t *bucketTable) take(key bucketKey) (wait time.Duration) {
	if t.rate.Off() {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucketLocked(key)
	if b.tokens < 1 {
		return max(time.Duration((1-b.tokens)/t.rate.PerSecond*float64(time.Second)), time.Millisecond)
	}
	b.tokens--
	return 0
}

// give returns a token that was taken.
func (t *bucketTable) give(key bucketKey) {
	if t.rate.Off() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.bucketLocked(key)
	b.tokens = min(b.tokens+1, float64(t.rate.Burst))
}

// bucketLocked returns the bucket of a key as it is now.
func (t *bucketTable) bucketLocked(key bucketKey) *bucket {
	now := t.now()
	if e, ok := t.byKey[key]; ok {
		t.recent.MoveToFront(e)
		b := e.Value.(*bucket)
		t.fill(b, now)
		return b
	}
	if len(t.byKey) >= maxBuckets {
		t.removeLocked(t.recent.Back())
	}
	b := &bucket{key: key, tokens: float64(t.rate.Burst), at: now}
	t.byKey[key] = t.recent.PushFront(b)
	return b
}

func (t *bucketTable) fill(b *bucket, now time.Time) {
	if passed := now.Sub(b.at); passed > 0 {
		b.tokens = min(b.tokens+passed.Seconds()*t.rate.PerSecond, float64(t.rate.Burst))
	}
	b.at = now
}

func (t *bucketTable) removeLocked(e *list.Element) {
	delete(t.byKey, e.Value.(*bucket).key)
	t.recent.Remove(e)
}

func (t *bucketTable) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	for e := t.recent.Front(); e != nil; {
		next, b := e.Next(), e.Value.(*bucket)
		if t.fill(b, now); b.tokens >= float64(t.rate.Burst) {
			t.removeLocked(e)
		}
		e = next
	}
}

func (t *bucketTable) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byKey)
}
