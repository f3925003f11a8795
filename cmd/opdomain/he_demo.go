package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/released"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// heGate is the gate's side of the demo: its engine, keys and ledger.
type heGate struct {
	engine *he.Child
	sign   *sm.SigningKey
	open   *sm.DecryptKey
	ledger *he.Ledger
	run    [32]byte
	member he.Member
}

func (a *app) heDemo(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "opdomain-he-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	const units = 5
	var all []*heProcess
	defer func() {
		for _, u := range all {
			u.end(false) // its engine's process goes with it
		}
	}()
	fmt.Fprintln(a.out, "1. five source units, each a process of its own 五个数源单位, 各为独立进程")
	for i := 1; i <= units; i++ {
		u, err := a.heStart(ctx, i, ledgerOf(dir, i))
		if u != nil && u.cmd.Process != nil {
			all = append(all, u)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "   %s: process %d\n", u.member.ID, u.cmd.Process.Pid)
	}
	engines := newHeEngines()
	defer engines.Close()
	g, err := a.newHeGate(engines, filepath.Join(dir, "gate"))
	if err != nil {
		return err
	}
	defer g.engine.Close()
	defer g.ledger.Close()
	engines.say(a.out)

	fmt.Fprintln(a.out, "2. epoch 1: units 1, 2 and 3 are to open; unit 3 is killed after it has contributed 第一轮: 单位三中途失联")
	gate, plan, err := a.heBegin(ctx, g, all, 1, 3, []int{0, 1, 2})
	if err != nil {
		return err
	}
	contributions, err := heEach(all, heContribute)
	if err != nil {
		return err
	}
	var silent *heProcess
	for i, o := range plan.Openers {
		if i == len(plan.Openers)-1 {
			_ = all[o].cmd.Process.Kill()
		}
		if _, err := all[o].order(heShare, contributions...); errors.Is(err, errSilent) {
			silent = all[o]
		} else if err != nil {
			return err
		}
	}
	if silent == nil {
		return errors.New("he demo: the killed unit answered")
	}
	var abort *he.Abort
	if end := gate.Abort(he.Share, silent.member.ID); !errors.As(end, &abort) {
		return end
	}
	fmt.Fprintf(a.out, "   aborted 中止: %v\n   nothing was read; the keys of the epoch are erased, and no unit gives a second share\n", abort)
	if _, err := gate.Open(ctx, nil, nil); !errors.Is(err, sandbox.Conflict) {
		return fmt.Errorf("he demo: the ended epoch opens: %w", err)
	}

	var left []*heProcess
	for _, u := range all {
		if u != silent {
			left = append(left, u)
		}
	}
	fmt.Fprintln(a.out, "3. epoch 2: new keys and fresh ciphertexts; of the four units left, 1, 2 and 5 are fixed as openers; unit 4 contributes and leaves")
	if gate, plan, err = a.heBegin(ctx, g, left, 2, 3, []int{0, 1, 3}); err != nil {
		return err
	}
	if contributions, err = heEach(left, heContribute); err != nil {
		return err
	}
	left[2].end(false)
	var shares [][]byte
	for _, o := range plan.Openers {
		s, err := left[o].order(heShare, contributions...)
		if err != nil {
			return err
		}
		shares = append(shares, s...)
	}
	cs, err := heParse(contributions)
	if err != nil {
		return err
	}
	ss, err := heParse(shares)
	if err != nil {
		return err
	}
	result, err := gate.Open(ctx, cs, ss)
	if err != nil {
		return err
	}
	if err := a.hePrint(result, left); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "4. an insurer has three of its customers scored without showing their features 保险机构密态评分")
	if err := a.heScoring(ctx, engines); err != nil {
		return err
	}
	fmt.Fprintln(a.out, "5. a partner's secret model over the averages of groups that may leave 合作方保密模型")
	return a.hePartner(ctx, engines, result)
}

func (a *app) newHeGate(engines *heEngines, dir string) (*heGate, error) {
	g := &heGate{}
	if _, err := io.ReadFull(a.rand, g.run[:]); err != nil {
		return nil, err
	}
	var err error
	if g.sign, err = sm.NewSigningKey(a.rand); err != nil {
		return nil, err
	}
	if g.open, err = sm.NewDecryptKey(a.rand); err != nil {
		return nil, err
	}
	if g.ledger, err = he.OpenLedger(dir); err != nil {
		return nil, err
	}
	if g.engine, err = engines.start(); err != nil {
		_ = g.ledger.Close()
		return nil, err
	}
	g.member = he.Member{ID: "gate", Verify: g.sign.Public(), Seal: g.open.Public()}
	return g, nil
}

// heBegin plans an epoch and carries messages until everybody has the collective key.
func (a *app) heBegin(ctx context.Context, g *heGate, units []*heProcess, epoch uint64, threshold int, openers []int) (*he.Gate, *he.Plan, error) {
	plan := &he.Plan{Run: g.run, Epoch: epoch, Set: he.SumSet, Gate: g.member, Threshold: threshold, Openers: openers, Layout: heLayout()}
	for _, u := range units {
		plan.Units = append(plan.Units, u.member)
	}
	budget, why := plan.Check()
	if len(why) > 0 {
		return nil, nil, &refused{sandbox.Decision{Reasons: why}}
	}
	fmt.Fprintf(a.out, "   plan: %d units, %d open; %d values in %d ciphertexts of %s, %d kB a unit; shares flooded to 2^%d, which hides their noise to %d bits\n",
		len(units), threshold, budget.Values, budget.Ciphertexts, plan.Set, budget.Bytes/1000, budget.Flooding, budget.Security)
	gate, err := he.NewGate(he.Config{Plan: plan, Engine: g.engine, Sign: g.sign, Open: g.open, Ledger: g.ledger, Rand: a.rand})
	if err != nil {
		return nil, nil, err
	}
	encoded, err := plan.Encode()
	if err != nil {
		return nil, nil, err
	}
	own, err := gate.Commit(ctx)
	if err != nil {
		return nil, nil, err
	}
	// A step: every unit's messages and the gate's own go to all.
	gather := func(order byte, own *he.Message, parts ...[]byte) (all [][]byte, parsed []*he.Message, err error) {
		if all, err = heEach(units, order, parts...); err != nil {
			return nil, nil, err
		}
		if own != nil {
			all = append(all, he.AppendMessage(nil, own))
		}
		parsed, err = heParse(all)
		return all, parsed, err
	}
	commits, parsed, err := gather(hePlan, own, encoded)
	if err != nil {
		return nil, nil, err
	}
	if own, err = gate.Reveal(ctx, parsed); err != nil {
		return nil, nil, err
	}
	keys, parsed, err := gather(heReveal, own, commits...)
	if err != nil {
		return nil, nil, err
	}
	if err := gate.Key(ctx, parsed); err != nil {
		return nil, nil, err
	}
	deals, _, err := gather(heDeal, nil, keys...)
	if err != nil {
		return nil, nil, err
	}
	_, err = heEach(units, heJoin, deals...)
	return gate, plan, err
}

// hePrint shows what the gate read and holds it to plain arithmetic over the same generated rows.
func (a *app) hePrint(r *he.Result, units []*heProcess) error {
	rows, sums := make([]int64, len(r.Cells)), make([]int64, len(r.Cells))
	people := make([]map[uint64]bool, len(r.Cells))
	for _, u := range units {
		if err := heRows(u.number, func(cell int, subject uint64, fee int64) error {
			if rows[cell]++; people[cell] == nil {
				people[cell] = map[uint64]bool{}
			}
			sums[cell] += fee
			people[cell][subject] = true
			return nil
		}); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "   read by the gate, of %d units (the group's people lie within the bounds; what leaves is decided after this):\n", len(r.Units))
	fmt.Fprintf(a.out, "   %-24s %6s %12s %6s %14s\n", "group 分组", "rows", "average fen", "units", "people 人数")
	for i, c := range r.Cells {
		count, mean := c.Outputs[0], c.Outputs[1]
		fmt.Fprintf(a.out, "   %-24s %6d %12d %6d %6d–%d\n", c.Key, count.Rows, mean.Value, mean.Contributing, mean.SubjectsAtLeast, mean.SubjectsAtMost)
		if want := big.NewInt((2*sums[i] + rows[i]) / (2 * rows[i])); count.Rows != rows[i] || mean.Value.Cmp(want) != 0 ||
			int64(len(people[i])) < mean.SubjectsAtLeast || int64(len(people[i])) > mean.SubjectsAtMost {
			return fmt.Errorf("he demo: %s differs from plain arithmetic", c.Key)
		}
	}
	fmt.Fprintln(a.out, "   equal to plain arithmetic over the same rows 与明文计算一致")
	return nil
}

// heScoring plays an insurer and the domain, each with an adapter of its own.
func (a *app) heScoring(ctx context.Context, engines *heEngines) error {
	mine, err := engines.start()
	if err != nil {
		return err
	}
	defer mine.Close()
	domain, err := engines.start()
	if err != nil {
		return err
	}
	defer domain.Close()
	m := &he.Model{Link: he.LogisticLink, Bias: -2, Weights: []float64{0.03, 0.2, 0.9, -0.5}, Ranges: []float64{100, 5, 1, 2}}
	customers := [][]float64{{34, 0, 0, 1}, {61, 2, 1, 0.2}, {78, 4, 1, -1.5}}
	if why := m.Check(); len(why) > 0 {
		return &refused{sandbox.Decision{Reasons: why}}
	}
	asker, err := he.NewAsker(ctx, mine)
	if err != nil {
		return err
	}
	defer asker.Close()
	columns := make([][]float64, len(m.Weights))
	for f := range columns {
		for _, c := range customers {
			columns[f] = append(columns[f], c[f])
		}
	}
	cts, err := asker.Encrypt(ctx, m.Ranges, columns)
	if err != nil {
		return err
	}
	ct, err := he.Score(ctx, domain, m, asker.Keys, cts)
	if err != nil {
		return err
	}
	batch, err := asker.Decrypt(ctx, m.Link, ct, len(customers))
	if err != nil {
		return err
	}
	for i, c := range customers {
		z := m.Bias
		for f, x := range c {
			z += m.Weights[f] * x
		}
		want := 1 / (1 + math.Exp(-z))
		ct, err := asker.EncryptOne(ctx, m.Ranges, c)
		if err != nil {
			return err
		}
		if ct, err = he.ScoreOne(ctx, domain, m, asker.Keys, ct); err != nil {
			return err
		}
		one, err := asker.DecryptOne(ctx, m.Link, ct)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "   customer %d: %.4f in a batch (±%.4f), %.6f alone (±%.6f), %.6f in plain\n", i+1, batch.Values[i], batch.Bound, one.Values[0], one.Bound, want)
		if math.Abs(batch.Values[i]-want) > batch.Bound || math.Abs(one.Values[0]-want) > one.Bound {
			return fmt.Errorf("he demo: customer %d: an error beyond the stated bound", i+1)
		}
	}
	fmt.Fprintln(a.out, "   the domain saw ciphertexts only; the insurer's key never left its own process")
	return nil
}

// hePartner plays the gate and a partner whose weights nobody else learns, over averages of groups with enough people.
func (a *app) hePartner(ctx context.Context, engines *heEngines, r *he.Result) error {
	var session [32]byte
	if _, err := io.ReadFull(a.rand, session[:]); err != nil {
		return err
	}
	ours, err := engines.start()
	if err != nil {
		return err
	}
	defer ours.Close()
	theirs, err := engines.start()
	if err != nil {
		return err
	}
	defer theirs.Close()
	gate, committed, err := he.NewJoint(ctx, ours, session, true)
	if err != nil {
		return err
	}
	defer gate.Close()
	partner, partners, err := he.NewJoint(ctx, theirs, session, false)
	if err != nil {
		return err
	}
	defer partner.Close()
	if err := gate.Agree(ctx, partners, partner.Reveal()); err != nil {
		return err
	}
	if err := partner.Agree(ctx, committed, gate.Reveal()); err != nil {
		return err
	}
	checked, err := heChecked(r)
	if err != nil {
		return err
	}
	groups, err := released.Checked(checked, []string{"fee", "rows"})
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "   the gate's rules let %d of %d groups leave; nothing else is encrypted for a partner\n", len(groups), len(r.Cells))
	const shown = 3 // groups
	m := &he.Model{Link: he.LinearLink, Bias: 0.5, Weights: []float64{0.003, -0.002}, Ranges: []float64{1000, 2000}}
	for _, g := range groups[:min(shown, len(groups))] {
		ct, err := gate.Encrypt(ctx, m.Ranges, g.Averages)
		if err != nil {
			return err
		}
		score, share, err := partner.Apply(ctx, m, ct)
		if err != nil {
			return err
		}
		got, err := gate.Open(ctx, score, share)
		if err != nil {
			return err
		}
		x := g.Averages.Values()
		want := m.Bias + m.Weights[0]*x[0] + m.Weights[1]*x[1]
		fmt.Fprintf(a.out, "   %-24s %.6f (±%.6f), read by the gate; %.6f in plain\n", g.Labels[0], got.Values[0], got.Bound, want)
		if math.Abs(got.Values[0]-want) > got.Bound {
			return fmt.Errorf("he demo: %s: an error beyond the stated bound", g.Labels[0])
		}
	}
	if len(groups) == 0 {
		return errors.New("he demo: no group may leave")
	}
	fmt.Fprintln(a.out, "   the gate saw no weight and the partner no average; without the gate nothing opens, and what it read is decided on like any answer")
	return nil
}

// heChecked has the gate's rules judge what it read, by the bounds that units state.
func heChecked(r *he.Result) (*egress.Checked, error) {
	b := egress.BoundedAnswer{Inputs: []sandbox.InputVersion{{Dataset: "ds-fees", Version: 1}}, Dimensions: []string{"group"}, Known: make([]bool, len(r.Units)), Measures: []sandbox.Measure{{Name: "rows", Func: sandbox.Count}, {Name: "fee", Func: sandbox.Mean, Scale: 2, Unit: "元"}}}
	for _, c := range r.Cells {
		cell := egress.BoundedCell{Labels: []string{c.Key}}
		for _, o := range c.Outputs {
			x := egress.BoundedOutput{None: o.None, Rows: o.Rows, Subjects: o.Subjects}
			if o.Value != nil {
				x.Value = o.Value.Int64()
			}
			for _, top := range o.Tops {
				x.Tops = append(x.Tops, top.Int64())
			}
			cell.Outputs = append(cell.Outputs, x)
		}
		b.Cells = append(b.Cells, cell)
	}
	slices.SortFunc(b.Cells, func(x, y egress.BoundedCell) int { return slices.Compare(x.Labels, y.Labels) })
	return egress.CheckBounded("q-demo", b, egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
}
