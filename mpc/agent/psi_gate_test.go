package agent

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/table"
)

// TestWorst: the split stands for at most as many as there are, comes to the sum, and its two largest are no smaller than those of whoever is in the
// intersection.
func TestWorst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfN(rapid.Uint64Range(0, 40), 1, 12).Draw(t, "group")
		in := rapid.SliceOfN(rapid.Bool(), len(all), len(all)).Draw(t, "in")
		var top, mine [2]uint64
		sum, n := uint64(0), uint64(0)
		put := func(of *[2]uint64, v uint64) {
			if v > of[0] {
				of[0], of[1] = v, of[0]
			} else if v > of[1] {
				of[1] = v
			}
		}
		for i, v := range all {
			put(&top, v)
			if in[i] {
				put(&mine, v)
				sum, n = sum+v, n+1
			}
		}
		x := worst(sum, top[0], top[1])
		if x.Sum != sum || x.N > n || x.Top1 < mine[0] || x.Top1+x.Top2 < mine[0]+mine[1] || x.Top2 > x.Top1 || x.Top1+x.Top2 > sum {
			t.Errorf("%v of %v", x, sum)
		}
	})
}

// TestGateTable: the gate takes the table as it is, shows a group whose worst split passes and suppresses one that a single own element may dominate.
func TestGateTable(t *testing.T) {
	p := &session.Plan{Job: psi.Plan{Run: "run-1", Threshold: 10, Measures: 6, MaxValue: 1 << 20}, Values: []string{"amount"}, Groups: []string{"farming", "mining", "retail"}}
	own := &elements{values: make([][]uint64, 6), plan: p}
	for i := range 120 {
		g := i % 3
		for k := range own.values {
			v := uint64(0)
			if k == 2*g {
				v = 1
			} else if k == 2*g+1 {
				v = uint64(100 + i)
				if i == 1 { // one in mining
					v = 1 << 20
				}
			}
			own.values[k] = append(own.values[k], v)
		}
	}
	sums := []PSISum{{Group: "farming", Count: 30, Values: []uint64{30 * 150}}, {Group: "mining", Count: 30, Values: []uint64{30 * 150}}, {Group: "retail", Withheld: true}}
	b, err := gateText(p, own, sums, "ds-loans")
	if err != nil {
		t.Fatal(err)
	}
	x, err := table.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	l, err := egress.NewLedger(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := table.Judge(x, table.Standard(), egress.NewBook(), l)
	if err != nil {
		t.Fatal(err)
	}
	status := map[string]string{}
	for _, c := range r.Cells {
		status[c.Labels[0]] = string(c.Status)
	}
	if len(status) != 2 || status["mining"] != "primary" || status["farming"] == "primary" {
		t.Errorf("%v", status)
	}
}
