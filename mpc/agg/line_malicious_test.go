package agg

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/share/sharetest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestLineMalicious: under malicious with abort a line's cells are the columnar engine's, and a party that changes one of its messages, of
// whatever step, ends the run at the others: no honest party has cells.
func TestLineMalicious(t *testing.T) {
	w, s := fixed()
	w.s.Adversary = share.MaliciousAbort
	s.Inputs = append(s.Inputs, query.Input{Alias: "p", Dataset: "people", With: "v"})
	s.Dimensions = []query.Dimension{{Column: "v.beds", As: "d"}}
	s.Measures = []query.Measure{{Func: sandbox.Sum, Column: "p.income", As: "a"}, {Func: sandbox.Subjects, As: "n"}}
	w.s.Labels["visits.beds"] = []string{"0", "1"}
	w.deal("visits", 12, 0, 2)
	w.deal("people", 12, 1)
	d := w.derive(t, s)
	cells, sent := w.run(t, d, true)
	equals(t, cells, w.plain(t, d))
	want, _ := w.run(t, d, false)
	if !want[0].Shown {
		t.Fatal("the example has a cell that is shown")
	}
	r := rand.New(rand.NewPCG(4, 9))
	for k := range 3 {
		cheater := k % 3
		at := r.IntN(len(sent[cheater])-40) + 20
		_, errs := sharetest.Bent(share.MaliciousAbort, func(me int, l share.Link) share.Link {
			if me != cheater {
				return l
			}
			return &bent{Link: l, at: at, change: func(b []byte) {
				if len(b) > 0 {
					b[r.IntN(len(b))] ^= 1 << r.IntN(8)
				}
			}}
		}, func(me int, e *share.Engine, o *share.Opener) error {
			l, _ := Compile(d, w.s)
			own, err := w.own(l, me)
			if err != nil {
				return err
			}
			cols, err := l.Run(e, me, own, nil)
			if err != nil {
				return err
			}
			_, err = o.Open(cols[OutShown])
			return err
		})
		for i, err := range errs {
			if i != cheater && !errors.Is(err, sharetest.ErrStopped) {
				t.Errorf("party %d changed message %d of %d: party %d ends with %v", cheater, at, len(sent[cheater]), i, err)
			}
		}
	}
}
