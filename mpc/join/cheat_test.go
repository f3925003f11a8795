package join

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/share/sharetest"
)

// liar changes a bit of each word of the message that a party sends as its at-th.
type liar struct {
	share.Link
	at, sent int
}

func (l *liar) Send(to int, tag uint32, b []byte) error {
	if len(b) > 0 {
		if l.sent++; l.sent == l.at {
			b = bytes.Clone(b)
			for i := 0; i < len(b); i += 8 {
				b[i] ^= 1
			}
		}
	}
	return l.Link.Send(to, tag, b)
}

// TestCheat: under malicious with abort a party that changes a message anywhere in a join, from its inputs to the last comparison, ends the run
// before the two others open an output, one of them as a message that was changed. Of the same lies some go unseen by parties that do not check.
func TestCheat(t *testing.T) {
	q := Question{Version: 1, Left: Table{Owner: 0, Rows: 24, Groups: []string{"a", "b"}}, Right: Table{Owner: 1, Rows: 16, Groups: []string{"x"}}, Unmatched: "none",
		Measures: []Measure{{"paid", Amount, Left}}, Rules: Rules{MinSubjects: 3, DominanceN: 1, DominanceK: 90, PPercent: 10}}
	var tables [3][]Row
	for p := range uint64(24) {
		tables[0] = append(tables[0], Row{Group: int(p % 2), Subject: p, Values: []int64{int64(1000 + 37*p)}})
		if p < 12 {
			tables[1] = append(tables[1], Row{Subject: p})
		}
	}
	for p := range uint64(4) { // of nobody's loans: those whom the left table does not have pass as well
		tables[1] = append(tables[1], Row{Subject: 100 + p})
	}
	want, err := q.Plain(tables[0], tables[1])
	if err != nil {
		t.Fatal(err)
	}
	if !want[0].Shown {
		t.Fatal("nothing is shown: there is nothing to lie about")
	}
	// verified are the messages that a party sent before its checks were over: what comes then opens, and a session confirms it.
	play := func(m share.Adversary, cheater, at int) (out [3][]Cell, verified [3]int, errs [3]error) {
		var links [3]*liar
		_, errs = sharetest.Bent(m, func(me int, l share.Link) share.Link {
			links[me] = &liar{Link: l}
			if me == cheater {
				links[me].at = at
			}
			return links[me]
		}, func(me int, e *share.Engine, o *share.Opener) error {
			cols, err := Run(e, q, me, tables[me])
			if err != nil {
				return err
			}
			e.Verify() // as a session does before anything opens
			if err := e.Err(); err != nil {
				return err
			}
			verified[me] = links[me].sent
			opened := map[string][]uint64{}
			for _, name := range []string{OutShown, OutPeople, OutValues} {
				if opened[name], err = o.Open(cols[name]); err != nil {
					return err
				}
			}
			out[me], err = q.Read(opened)
			return err
		})
		return out, verified, errs
	}
	for _, m := range []share.Adversary{share.SemiHonest, share.MaliciousAbort} {
		honest, verified, errs := play(m, 0, 0)
		for i := range 3 {
			if errs[i] != nil || !reflect.DeepEqual(honest[i], want) {
				t.Fatalf("%s: party %d without a cheater: %v", m, i, errs[i])
			}
		}
		tried, unseen := 0, 0
		for cheater := range 3 {
			messages := verified[cheater]
			const spread = 8
			for k := range spread {
				out, _, errs := play(m, cheater, 1+k*(messages-1)/(spread-1))
				tried++
				for i := range 3 {
					if i == cheater {
						continue
					}
					if errs[i] != nil {
						continue
					}
					if out[i] != nil {
						unseen++
					}
					if m == share.MaliciousAbort {
						t.Errorf("party %d changes message %d of %d, and party %d has an output", cheater, 1+k*(messages-1)/(spread-1), messages, i)
					}
				}
			}
		}
		if m == share.SemiHonest && unseen == 0 {
			t.Errorf("each of %d lies is seen without checks: they test none", tried)
		}
	}
}
