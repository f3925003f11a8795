package agg

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/mpc/share"
)

var threshold = Question{Groups: []string{"a", "b"}, Owners: []int{0, 1}, Rows: []int{7, 6}, Rules: Rules{MinSubjects: 4, MaxShare: 60, P: 10}}

// thresholdTables: the first group may be shown, the second has a person too few.
func thresholdTables() [3][]Row {
	return [3][]Row{
		{{0, 1, 10}, {0, 2, 20}, {0, 3, 30}, {1, 1, 40}, {1, 2, 40}},
		{{0, 3, 5}, {0, 4, 25}, {1, 2, 40}, {1, 7, 40}},
	}
}

// bent is a party's links that count the messages and change one.
type bent struct {
	share.Link
	at, sent int
	change   func(b []byte)
}

func (l *bent) Send(to int, tag uint32, b []byte) error {
	if l.sent++; l.sent-1 == l.at {
		b = bytes.Clone(b)
		l.change(b)
	}
	return l.Link.Send(to, tag, b)
}

// TestMalicious: under malicious with abort the groups are the plain ones, and a party that changes one of its messages after its inputs, of
// whatever step, ends the run: no honest party has groups. Under the semi-honest model the same change gives other groups than the plain
// ones, or numbers of a group that may not be shown.
func TestMalicious(t *testing.T) {
	tables := thresholdTables()
	want := threshold.Plain(tables[:2])
	if !want[0].Shown || want[1].Shown {
		t.Fatal("the example has a shown and a hidden group")
	}
	var sent [3]int
	links := make([]*bent, 3)
	out, errs := under(t, share.MaliciousAbort, func(me int, l share.Link) share.Link {
		links[me] = &bent{Link: l, at: -1}
		return links[me]
	}, threshold, tables)
	for i := range 3 {
		if errs[i] != nil || !slices.Equal(out[i], want) {
			t.Fatalf("party %d: %v, or other groups than the plain twin", i, errs[i])
		}
		sent[i] = links[i].sent
	}
	r := rand.New(rand.NewPCG(8, 8))
	for k := range 12 {
		cheater := k % 3
		at := 3 + r.IntN(sent[cheater]-3) // an owner's first three messages are its inputs, which are its word
		out, errs := under(t, share.MaliciousAbort, func(me int, l share.Link) share.Link {
			if me != cheater {
				return l
			}
			return &bent{Link: l, at: at, change: func(b []byte) { b[r.IntN(len(b))] ^= 1 << r.IntN(8) }}
		}, threshold, tables)
		for i := range 3 {
			if i != cheater && (errs[i] == nil || out[i] != nil) {
				t.Errorf("party %d changes its message %d of %d: party %d has groups", cheater, at, sent[cheater], i)
			}
		}
	}
}

// TestSemiHonestTakesIt shows that the changes above are ones: without the proofs a changed message changes groups.
func TestSemiHonestTakesIt(t *testing.T) {
	tables := thresholdTables()
	want := threshold.Plain(tables[:2])
	changed := false
	for at := range 60 {
		out, errs := under(t, share.SemiHonest, func(me int, l share.Link) share.Link {
			if me != 2 {
				return l
			}
			return &bent{Link: l, at: 8 * at, change: func(b []byte) { b[len(b)-8] ^= 1 }}
		}, threshold, tables)
		if changed = errs[0] == nil && !slices.Equal(out[0], want); changed {
			break
		}
	}
	if !changed {
		t.Error("no changed message changes an output, so the test above proves nothing")
	}
}
