package auth_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/thronghq/throng/auth"
	"github.com/thronghq/throng/proto"
)

// inBubble runs a test of what happens by itself, on a clock of its own. A
// goroutine that outlives the accounts fails it.
func inBubble(t *testing.T, test func(w *world), change ...func(*auth.AccountsOptions)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, append(change, func(o *auth.AccountsOptions) { o.Now = time.Now })...)
		test(w)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestHousekeeping: every minute the last use of keys is written, and what no
// revocation can cover any more is forgotten, on disk, too.
func TestHousekeeping(t *testing.T) {
	inBubble(t, func(w *world) {
		key, token, err := w.CreateKey(w.t.Context(), auth.APIKey{Name: "a"})
		w.ok(err)
		w.register("ada")
		w.ok(w.Logout(w.t.Context(), w.login("ada").Session))
		time.Sleep(time.Second)
		if _, err := w.VerifyKey([]byte(token)); err != nil {
			t.Fatal(err)
		}
		used := time.Now().UnixMilli()
		time.Sleep(time.Minute)
		synctest.Wait()
		keys, revocations, _ := w.store.Load()
		if len(keys) != 1 || keys[0].ID != key.ID || keys[0].LastUsedAt != used || len(revocations) != 1 {
			t.Errorf("after a minute stored %+v, %+v; used at %d", keys, revocations, used)
		}
		time.Sleep(16 * time.Minute)
		synctest.Wait()
		if _, revocations, _ := w.store.Load(); len(revocations) > 0 {
			t.Errorf("after the tokens' end stored %+v", revocations)
		}
		if n := w.metric("throng_accounts_revocations"); n != "0" {
			t.Errorf("%s revocations in memory", n)
		}
	})
}

// fakeDeriver counts its keys and rests, and fails while it is told to.
type fakeDeriver struct {
	keys, rests atomic.Int64
	broken      atomic.Bool
}

func (d *fakeDeriver) Derive(r *auth.KeyRequest) ([]byte, error) {
	if d.broken.Load() {
		return nil, errors.New("broken")
	}
	d.keys.Add(1)
	return r.Key(), nil
}

func (d *fakeDeriver) Rest() { d.rests.Add(1) }

// TestDeriverRests: a worker without work for a minute gives back what it has,
// once, and works again afterwards. The end is a rest, too.
func TestDeriverRests(t *testing.T) {
	d := new(fakeDeriver)
	inBubble(t, func(w *world) {
		w.register("ada")
		time.Sleep(59 * time.Second)
		w.login("ada")
		time.Sleep(59 * time.Second)
		synctest.Wait()
		if n := d.rests.Load(); n != 0 {
			t.Errorf("rested %d times within a minute", n)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if n := d.rests.Load(); n != 1 {
			t.Errorf("rested %d times in an hour without work", n)
		}
		w.login("ada")
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if rests, keys := d.rests.Load(), d.keys.Load(); rests != 2 || keys != 3 {
			t.Errorf("rested %d times, %d keys", rests, keys)
		}
	}, func(o *auth.AccountsOptions) {
		o.Hashes, o.NewDeriver = 1, func() auth.Deriver { return d }
	})
	if n := d.rests.Load(); n != 3 {
		t.Errorf("rested %d times in the end", n)
	}
}

// TestDeriverFails: nobody is let in, nobody pays for it, and it passes.
func TestDeriverFails(t *testing.T) {
	d := new(fakeDeriver)
	inBubble(t, func(w *world) {
		w.register("ada")
		d.broken.Store(true)
		for range 10 {
			w.want(second(w.Login(w.t.Context(), "ada", password, here)), proto.ErrInternal)
			w.want(second(w.Login(w.t.Context(), "nobody", password, here)), proto.ErrInternal)
			w.want(w.SetPassword(w.t.Context(), "ada", "new password"), proto.ErrInternal)
		}
		if n := w.metric("throng_accounts_hash_failures_total"); n != "30" {
			t.Errorf("%s failures were counted", n)
		}
		d.broken.Store(false)
		w.login("ada")
	}, func(o *auth.AccountsOptions) {
		o.NewDeriver = func() auth.Deriver { return d }
		o.LoginRate = proto.Rate{PerSecond: 0.01, Burst: 3}
	})
}
