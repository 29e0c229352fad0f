package outboxtest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// Test holds an outbox to what is asked of one. Each part gets an empty outbox of
// its own from open.
func Test(t *testing.T, open func(t *testing.T) Outbox) {
	t.Run("records", func(t *testing.T) { testRecords(t, open(t)) })
	t.Run("bounds", func(t *testing.T) { testBounds(t, open(t)) })
	t.Run("order", func(t *testing.T) { testOrder(t, open(t)) })
	t.Run("model", func(t *testing.T) { testModel(t, open(t)) })
	t.Run("concurrency", func(t *testing.T) { testConcurrency(t, open(t)) })
}

func write(t *testing.T, o Outbox, pairs ...string) {
	t.Helper()
	var keys, values [][]byte
	for i := 0; i < len(pairs); i += 2 {
		keys, values = append(keys, []byte(pairs[i])), append(values, []byte(pairs[i+1]))
	}
	if err := o.Write(keys, values); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, o Outbox, key string) {
	t.Helper()
	if err := o.Write([][]byte{[]byte(key)}, [][]byte{nil}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, o Outbox, key string) (value string, ok bool) {
	t.Helper()
	b, err := o.Get([]byte(key))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), b != nil
}

func scan(t *testing.T, o Outbox, from, to []byte) (found []string) {
	t.Helper()
	err := o.Scan(from, to, func(key, value []byte) bool {
		found = append(found, string(key)+"="+string(value))
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func testRecords(t *testing.T, o Outbox) {
	if _, ok := get(t, o, "k"); ok {
		t.Error("an empty outbox has a record")
	}
	write(t, o, "k", "v", "empty", "")
	if v, ok := get(t, o, "k"); v != "v" || !ok {
		t.Errorf("got %q, %v", v, ok)
	}
	if v, ok := get(t, o, "empty"); v != "" || !ok {
		t.Errorf("an empty record is %q, %v", v, ok)
	}
	b, err := o.Get([]byte("k"))
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 'x'
	if v, _ := get(t, o, "k"); v != "v" {
		t.Error("what Get returned is not a copy")
	}
	write(t, o, "k", "w")
	if v, _ := get(t, o, "k"); v != "w" {
		t.Errorf("a record that was replaced is %q", v)
	}
	remove(t, o, "k")
	remove(t, o, "never")
	if _, ok := get(t, o, "k"); ok {
		t.Error("a record that was removed is there")
	}
	if err := o.Write(nil, nil); err != nil {
		t.Error(err)
	}
}

func testBounds(t *testing.T, o Outbox) {
	write(t, o, "b", "2", "a", "1", "\x00", "0", "\xff\xff", "4", "c", "3")
	all := []string{"\x00=0", "a=1", "b=2", "c=3", "\xff\xff=4"}
	for _, test := range []struct {
		from, to string
		want     []string
	}{
		{"", "", all},
		{"a", "", all[1:]},
		{"a\x00", "", all[2:]},
		{"a", "c", all[1:3]},
		{"a", "c\x00", all[1:4]},
		{"b", "b", nil},
		{"d", "\xff", nil},
		{"\xff", "", all[4:]},
	} {
		to := []byte(test.to)
		if test.to == "" {
			to = nil
		}
		if got := scan(t, o, []byte(test.from), to); !slices.Equal(got, test.want) {
			t.Errorf("from %q to %q: %q, want %q", test.from, test.to, got, test.want)
		}
	}
	visits := 0
	if err := o.Scan(nil, nil, func(_, _ []byte) bool { visits++; return visits < 2 }); err != nil || visits != 2 {
		t.Errorf("a scan that was stopped at the second record visited %d (%v)", visits, err)
	}
}

// testOrder writes a key several times in one commit: the last one stands.
func testOrder(t *testing.T, o Outbox) {
	key, other := []byte("k"), []byte("o")
	if err := o.Write([][]byte{key, key, other, other, key}, [][]byte{[]byte("1"), nil, []byte("2"), nil, []byte("3")}); err != nil {
		t.Fatal(err)
	}
	if got := scan(t, o, nil, nil); !slices.Equal(got, []string{"k=3"}) {
		t.Errorf("the outbox holds %q", got)
	}
}

// testModel compares many random commits with a map.
func testModel(t *testing.T, o Outbox) {
	rng := rand.New(rand.NewPCG(1, 2))
	model := make(map[string]string)
	for range 300 {
		var keys, values [][]byte
		for range rng.IntN(5) {
			key, value := fmt.Sprintf("%03d", rng.IntN(50)), []byte(fmt.Sprint(rng.IntN(1000)))
			if rng.IntN(3) == 0 {
				value = nil
				delete(model, key)
			} else {
				model[key] = string(value)
			}
			keys, values = append(keys, []byte(key)), append(values, value)
		}
		if err := o.Write(keys, values); err != nil {
			t.Fatal(err)
		}
		var want []string
		for key, value := range model {
			want = append(want, key+"="+value)
		}
		slices.Sort(want)
		if got := scan(t, o, nil, nil); !slices.Equal(got, want) {
			t.Fatalf("the outbox holds %q, want %q", got, want)
		}
	}
}

// testConcurrency lets commits of several goroutines be seen whole.
func testConcurrency(t *testing.T, o Outbox) {
	var writers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range 50 {
				value := []byte(fmt.Sprintf("%d-%d", w, i))
				if err := o.Write([][]byte{[]byte("a"), []byte("b")}, [][]byte{value, value}); err != nil {
					t.Error(err)
				}
				var seen []string
				err := o.Scan(nil, nil, func(_, value []byte) bool {
					seen = append(seen, string(value))
					return true
				})
				if err != nil || len(seen) != 2 || seen[0] != seen[1] {
					t.Errorf("a commit is seen in part: %q (%v)", seen, err)
				}
			}
		})
	}
	writers.Wait()
}
