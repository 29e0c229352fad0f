package bench

import "testing"

func TestStreamCountsViolations(t *testing.T) {
	for _, test := range []struct {
		name    string
		offsets []uint64
		head    uint64
		want    violations
	}{
		{"in order", []uint64{1, 2, 3}, 3, violations{}},
		{"nothing sent", nil, 0, violations{}},
		{"one never came", []uint64{1, 3}, 3, violations{Lost: 1}},
		{"the last ones never came", []uint64{1}, 4, violations{Lost: 3}},
		{"none came", nil, 2, violations{Lost: 2}},
		{"one came twice", []uint64{1, 2, 2, 3}, 3, violations{Duplicates: 1}},
		{"an older one again", []uint64{1, 2, 3, 1}, 3, violations{Order: 1}},
		{"two changed places", []uint64{1, 3, 2, 4}, 4, violations{Lost: 1, Order: 1}},
	} {
		var s stream
		var got violations
		for _, offset := range test.offsets {
			s.see(offset, &got)
		}
		s.end(test.head, &got)
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		if got.any() != (test.want != violations{}) {
			t.Errorf("%s: any is %v", test.name, got.any())
		}
	}
}

func TestStreamTakesTheServersWordForAGap(t *testing.T) {
	var s stream
	var got violations
	s.see(1, &got)
	s.skip(5, &got)
	s.see(5, &got)
	s.skip(3, &got) // nothing that was not seen
	s.end(5, &got)
	if want := (violations{Told: 3}); got != want || got.any() {
		t.Errorf("%+v, want %+v", got, want)
	}
}
