package auth_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

func throttled(o *auth.AccountsOptions) {
	o.LoginRate = proto.Rate{PerSecond: 0.1, Burst: 3}
	o.AddressRate = proto.Rate{PerSecond: 1, Burst: 20}
}

func from(address string) auth.Client { return auth.Client{Address: netip.MustParseAddr(address)} }

// TestThrottlePair: who guesses at an account is stopped there, told for how
// long, and nobody else is.
func TestThrottlePair(t *testing.T) {
	w := newWorld(t, throttled)
	w.register("ada")
	w.register("bob")
	thief := from("203.0.113.9")
	for range 3 {
		w.want(second(w.Login(t.Context(), "ada", "wrong password", thief)), proto.ErrInvalidLogin)
	}
	hashed := w.metric("throng_accounts_hash_seconds_count")
	err := second(w.Login(t.Context(), "ADA", password, thief)) // the right one, by now
	w.want(err, proto.ErrRateLimited)
	if err.RetryAfter != 10*time.Second {
		t.Errorf("retry after %v", err.RetryAfter)
	}
	if now := w.metric("throng_accounts_hash_seconds_count"); now != hashed {
		t.Error("a throttled login was hashed")
	}
	if n := w.metric(`throng_accounts_throttled_total{by="pair"}`); n != "1" {
		t.Errorf("counted %s times", n)
	}
	w.login("ada") // from elsewhere
	w.ok(second(w.Login(t.Context(), "bob", password, thief)))
	w.advance(10 * time.Second)
	w.want(second(w.Login(t.Context(), "ada", "wrong password", thief)), proto.ErrInvalidLogin)
	w.want(second(w.Login(t.Context(), "ada", password, thief)), proto.ErrRateLimited)
	w.advance(10 * time.Second)
	w.ok(second(w.Login(t.Context(), "ada", password, thief)))
	w.ok(second(w.Login(t.Context(), "ada", password, thief))) // a success costs nothing
	// The check of the old password is a login, too.
	w.want(w.ChangePassword(t.Context(), "ada", "", "wrong password", "new password", thief), proto.ErrInvalidLogin)
	w.want(w.ChangePassword(t.Context(), "ada", "", password, "new password", thief), proto.ErrRateLimited)
}

// TestThrottleUnknownUsers: a name that nobody has is throttled as others are.
func TestThrottleUnknownUsers(t *testing.T) {
	w := newWorld(t, throttled)
	for range 3 {
		w.want(second(w.Login(t.Context(), "nobody", password, here)), proto.ErrInvalidLogin)
	}
	w.want(second(w.Login(t.Context(), "nobody", password, here)), proto.ErrRateLimited)
}

// TestThrottleAddress: one address cannot try many accounts, register many, or
// log in without end; an IPv6 customer is one.
func TestThrottleAddress(t *testing.T) {
	w := newWorld(t, throttled)
	for i := range 20 {
		client := from(fmt.Sprintf("2001:db8:1:2::%x", i+1))
		if i%2 == 0 {
			w.ok(second(w.Register(t.Context(), fmt.Sprint("user", i), password, client)))
		} else {
			w.want(second(w.Login(t.Context(), fmt.Sprint("user", i), password, client)), proto.ErrInvalidLogin)
		}
	}
	w.want(second(w.Register(t.Context(), "more", password, from("2001:db8:1:2:ffff::1"))), proto.ErrRateLimited)
	err := second(w.Login(t.Context(), "user0", password, from("2001:db8:1:2::1%eth0")))
	w.want(err, proto.ErrRateLimited)
	if err.RetryAfter != time.Second {
		t.Errorf("retry after %v", err.RetryAfter)
	}
	w.ok(second(w.Login(t.Context(), "user0", password, from("2001:db8:1:3::1"))))
	w.advance(time.Second)
	w.ok(second(w.Login(t.Context(), "user0", password, from("2001:db8:1:2::1"))))
	w.want(second(w.Login(t.Context(), "user0", password, from("2001:db8:1:2::1"))), proto.ErrRateLimited)

	// An IPv4 address is the same in IPv6's clothes.
	for i := range 10 {
		name := fmt.Sprint("nobody", i)
		w.want(second(w.Login(t.Context(), name, password, from("192.0.2.7"))), proto.ErrInvalidLogin)
		w.want(second(w.Login(t.Context(), name, password, from("::ffff:192.0.2.7"))), proto.ErrInvalidLogin)
	}
	w.want(second(w.Login(t.Context(), "user0", password, from("192.0.2.7"))), proto.ErrRateLimited)
}

// TestThrottleAccount: it takes a hundred addresses to keep an owner out, and
// that lasts for as long as they go on.
func TestThrottleAccount(t *testing.T) {
	w := newWorld(t, throttled)
	w.register("ada")
	guess := func(n int) {
		t.Helper()
		for i := range n {
			for range 3 {
				w.want(second(w.Login(t.Context(), "ada", "wrong password", from(fmt.Sprintf("198.51.%d.%d", i/250, i%250)))), proto.ErrInvalidLogin)
			}
		}
	}
	guess(99)
	w.ok(second(w.Login(t.Context(), "ada", password, here)))
	w.advance(time.Hour)
	guess(100)
	err := second(w.Login(t.Context(), "ada", password, here))
	w.want(err, proto.ErrRateLimited)
	if err.RetryAfter != 100*time.Millisecond {
		t.Errorf("retry after %v", err.RetryAfter)
	}
	w.advance(time.Second)
	w.ok(second(w.Login(t.Context(), "ada", password, here)))
}

// TestThrottleOff lets everything through.
func TestThrottleOff(t *testing.T) {
	w := newWorld(t)
	w.register("ada")
	for range 50 {
		w.want(second(w.Login(t.Context(), "ada", "wrong password", here)), proto.ErrInvalidLogin)
	}
	w.login("ada")
	if n := w.metric("throng_accounts_throttle_entries"); n != "0" {
		t.Errorf("%s entries", n)
	}
}
