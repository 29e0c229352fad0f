package auth

import (
	"context"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/VictoriaMetrics/metrics"

	"github.com/thronghq/throng/proto"
)

// slowHasher returns a hasher of one worker that is held in its first job until
// release is called, with n places in its queue.
func slowHasher(t *testing.T, n int) (h *hasher, release func()) {
	t.Helper()
	o := AccountsOptions{Argon2: Argon2{MemoryKiB: 8, Time: 1}, Hashes: 1, QueuedHashes: n}.withDefaults()
	h = newHasher(&o, newAccountsTelemetry(metrics.NewSet()))
	begun, hold := make(chan struct{}), make(chan struct{})
	var held sync.WaitGroup
	held.Go(func() {
		if err := h.do(context.Background(), netip.Addr{}, func(Deriver) error { close(begun); <-hold; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-begun
	release = sync.OnceFunc(func() { close(hold); held.Wait() })
	t.Cleanup(func() { release(); h.close() })
	return h, release
}

// await waits until n jobs are queued.
func await(h *hasher, n int) {
	for len(h.jobs) != n {
		runtime.Gosched()
	}
}

// TestHashesAreBounded: what does not fit into the queue is refused at once,
// and told when to come back.
func TestHashesAreBounded(t *testing.T) {
	h, release := slowHasher(t, 2)
	var waiting sync.WaitGroup
	for range 2 {
		waiting.Go(func() {
			if _, err := h.hash(context.Background(), netip.Addr{}, []byte("password")); err != nil {
				t.Error(err)
			}
		})
	}
	await(h, 2)
	_, err := h.hash(context.Background(), netip.Addr{}, []byte("password"))
	if err == nil || err.Code != proto.ErrOverloaded || err.RetryAfter < time.Second {
		t.Errorf("one too many: %v", err)
	}
	if n := h.tele.hashesRefused.Get(); n != 1 {
		t.Errorf("refused %d", n)
	}
	if n := h.running.Load(); n != 1 {
		t.Errorf("%d run at once", n)
	}
	release()
	waiting.Wait()
}

// TestHashesTakeTurns: an address from which many passwords come waits for
// itself. Others come in between, also where it has filled the queue.
func TestHashesTakeTurns(t *testing.T) {
	h, release := slowHasher(t, 4)
	var mu sync.Mutex
	var order []string
	var waiting sync.WaitGroup
	queue := func(name, from string, refused bool) {
		waiting.Go(func() {
			err := h.do(context.Background(), netip.MustParseAddr(from), func(Deriver) error {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
				return nil
			})
			if (err != nil) != refused || refused && err.Code != proto.ErrOverloaded {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	for i, name := range []string{"a1", "a2", "a3"} {
		queue(name, "192.0.2.1", false)
		await(h, i+1)
	}
	queue("a4", "192.0.2.1", true) // gives way to b1
	await(h, 4)
	queue("b1", "192.0.2.2", false)
	for h.tele.hashesRefused.Get() != 1 {
		runtime.Gosched()
	}
	queue("a5", "192.0.2.1", true) // there is no place for one more
	for h.tele.hashesRefused.Get() != 2 {
		runtime.Gosched()
	}
	release()
	waiting.Wait()
	if got := strings.Join(order, " "); got != "a1 b1 a2 a3" {
		t.Errorf("hashed %s", got)
	}
	if len(h.queue.lines)+len(h.queue.turns) > 0 {
		t.Errorf("the queue holds %v, %v", h.queue.lines, h.queue.turns)
	}
}

// TestDisplace: the longest line gives way, unless the other one would be as
// long then.
func TestDisplace(t *testing.T) {
	one, two := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	for _, c := range []struct {
		ones, twos int
		displaced  bool // for one more of two
	}{{0, 0, false}, {1, 0, false}, {2, 0, true}, {2, 1, false}, {3, 1, true}, {1, 3, false}} {
		var q hashQueue
		var last *hashJob
		for range c.ones {
			last = &hashJob{from: one}
			q.push(last)
		}
		for range c.twos {
			q.push(&hashJob{from: two})
		}
		if got := q.displace(two); (got != nil) != c.displaced || c.displaced && got != last {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// TestHashGivenUp: who goes away while waiting costs no hash.
func TestHashGivenUp(t *testing.T) {
	h, release := slowHasher(t, 2)
	ctx, cancel := context.WithCancel(context.Background())
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := h.hash(ctx, netip.Addr{}, []byte("password")); err == nil || err.Code != proto.ErrOverloaded {
			t.Errorf("given up: %v", err)
		}
	})
	await(h, 1)
	cancel()
	waiting.Wait()
	release()
	if _, err := h.hash(context.Background(), netip.Addr{}, []byte("password")); err != nil {
		t.Fatal(err)
	}
	if n := h.hashed.Load(); n != 2 {
		t.Errorf("%d jobs were done, want the held one and the last", n)
	}
}

// TestHasherCloses: the one that runs is finished, those that wait are refused,
// and later ones, too.
func TestHasherCloses(t *testing.T) {
	h, release := slowHasher(t, 2)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if _, err := h.hash(context.Background(), netip.Addr{}, []byte("password")); err == nil {
			t.Error("hashed after the end")
		}
	})
	await(h, 1)
	h.ended.Store(true) // as close does first
	release()
	h.close()
	waiting.Wait()
	if _, err := h.hash(context.Background(), netip.Addr{}, []byte("password")); err == nil || err.Code != proto.ErrShuttingDown {
		t.Errorf("after the end: %v", err)
	}
}

// TestTurns: of those who want the same, one at a time has it; who does not want
// to wait goes; nothing is left of it.
func TestTurns(t *testing.T) {
	var turns turns
	inside, counter := 0, 0
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			release, err := turns.take(context.Background(), "ada")
			if err != nil {
				t.Error(err)
				return
			}
			defer release()
			if inside++; inside != 1 {
				t.Error("two have the turn")
			}
			counter++
			inside--
		})
	}
	all.Wait()
	if counter != 50 {
		t.Errorf("%d had the turn", counter)
	}
	release, _ := turns.take(context.Background(), "ada")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := turns.take(ctx, "ada"); err == nil {
		t.Error("a turn for who has gone")
	}
	other, err := turns.take(context.Background(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	other()
	release()
	if len(turns.held) != 0 {
		t.Errorf("%d turns are left", len(turns.held))
	}
}

// TestBucketsAreBounded: what was used least recently goes first, and a full
// bucket is forgotten.
func TestBucketsAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	var table bucketTable
	table.init(proto.Rate{PerSecond: 1, Burst: 2}, func() time.Time { return now })
	key := func(i int) bucketKey {
		return bucketKey{network: netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(i >> 24), byte(i >> 16), byte(i >> 8), byte(i)}), 32)}
	}
	for i := range maxBuckets {
		table.take(key(i))
	}
	table.take(key(0)) // used again: its second token
	table.take(key(maxBuckets))
	if n := table.size(); n != maxBuckets {
		t.Errorf("%d buckets", n)
	}
	if table.take(key(0)) == 0 {
		t.Error("the bucket used last was forgotten")
	}
	if _, kept := table.byKey[key(1)]; kept {
		t.Error("the bucket used least recently was kept")
	}
	now = now.Add(time.Second)
	table.expire()
	if n := table.size(); n != 1 {
		t.Errorf("%d buckets are kept that are not full, want that of the one used twice", n)
	}
	now = now.Add(-time.Hour) // a clock that goes back
	if wait := table.take(key(0)); wait != 0 {
		t.Errorf("a token that was there is gone for %v", wait)
	}
	if wait := table.take(key(0)); wait > time.Second {
		t.Errorf("wait %v for one token", wait)
	}
}

// FuzzPasswordHash: what is accepted as a PHC string is written the same way.
func FuzzPasswordHash(f *testing.F) {
	made, err := newPasswordHash(here{}, Argon2{MemoryKiB: 8, Time: 1}, []byte("password"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(made.String())
	f.Add("$argon2id$v=19$m=65536,t=3,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG")
	f.Add("$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$c29tZXNhbHQ")
	f.Add("$argon2id$v=19$m=4294967295,t=3,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b4dWRWJTmaaJObG")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parsePasswordHash(text)
		if err != nil {
			return
		}
		if h.String() != text {
			t.Fatalf("%q became %q", text, h)
		}
		if h.MemoryKiB > maxArgon2KiB || h.Time > maxArgon2Time {
			t.Fatalf("%q costs too much", text)
		}
	})
}

// TestKnownHash checks a password's hash that another implementation made (the
// reference one's test vector, RFC 9106 parameters t=2, m=64 MiB, p=1).
func TestKnownHash(t *testing.T) {
	h, err := parsePasswordHash("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc")
	if err != nil {
		t.Fatal(err)
	}
	for password, want := range map[string]bool{"password": true, "passwore": false} {
		if got, err := h.matches(here{}, []byte(password)); got != want || err != nil {
			t.Errorf("%s: %v, %v", password, got, err)
		}
	}
}

// FuzzRefreshToken: what is accepted is written the same way.
func FuzzRefreshToken(f *testing.F) {
	f.Add(newRefreshToken().String())
	f.Add(strings.Repeat("A", 86))
	f.Add(strings.Repeat("A", 85) + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		if token, ok := parseRefreshToken(text); ok && token.String() != text {
			t.Fatalf("%q became %q", text, token)
		}
	})
}

// FuzzCanonicalName: a name comes to rest in one step, and is a user's id.
func FuzzCanonicalName(f *testing.F) {
	for _, seed := range []string{"ada", "ÅNGSTRÖM", "a:b", "שלום", "ﬀ", "ς", "\u03f4", "\u0345\u0391"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		canonical, err := canonicalName("username", name)
		if err != nil {
			return
		}
		again, err := canonicalName("username", canonical)
		if err != nil || again != canonical {
			t.Fatalf("%q became %q became %q, %v", name, canonical, again, err)
		}
		if bad := CheckUserID("username", canonical); bad != nil || len(canonical) > MaxUserName || strings.Contains(canonical, ":") {
			t.Fatalf("%q became %q: %v", name, canonical, bad)
		}
	})
}
