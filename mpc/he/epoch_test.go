package he

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// cast is the members of epochs with their keys and ledgers.
type cast struct {
	t       testing.TB
	dir     string
	sign    []*sm.SigningKey // the gate last
	open    []*sm.DecryptKey
	ledgers []*Ledger
	engine  func() Engine
}

func newCast(t testing.TB, units int) *cast {
	c := &cast{t: t, dir: t.TempDir(), engine: func() Engine { return NewLocal(rand.Reader) }}
	for i := range units + 1 {
		s, err := sm.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		o, err := sm.NewDecryptKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		l, err := OpenLedger(filepath.Join(c.dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		c.sign, c.open, c.ledgers = append(c.sign, s), append(c.open, o), append(c.ledgers, l)
	}
	return c
}

func (c *cast) plan(epoch uint64, threshold int, openers []int, l Layout) *Plan {
	p := &Plan{Epoch: epoch, Set: SumSet, Threshold: threshold, Openers: openers, Layout: l}
	n := len(c.sign) - 1
	for i := range n {
		p.Units = append(p.Units, Member{ID: sandbox.PartyID(fmt.Sprintf("unit-%d", i+1)), Verify: c.sign[i].Public(), Seal: c.open[i].Public()})
	}
	p.Gate = Member{ID: "gate", Verify: c.sign[n].Public(), Seal: c.open[n].Public()}
	p.Run[0] = 7
	return p
}

// epoch is one run through to the shares.
type epoch struct {
	plan     *Plan
	units    []*Unit
	gate     *Gate
	contribs []*Message

	commits, keys, relins []*Message
}

func (c *cast) begin(p *Plan) *epoch {
	c.t.Helper()
	b, err := p.Encode() // as each party would get it
	c.ok(err)
	got, err := DecodePlan(b)
	c.ok(err)
	if got.Digest() != p.Digest() {
		c.t.Fatal("a decoded plan differs")
	}
	p = got
	ctx, e, n := context.Background(), &epoch{plan: p}, len(p.Units)
	config := func(i int) Config {
		return Config{Plan: p, Engine: c.engine(), Sign: c.sign[i], Open: c.open[i], Ledger: c.ledgers[i], Rand: rand.Reader}
	}
	for i := range n {
		u, err := NewUnit(config(i), i)
		c.ok(err)
		e.units = append(e.units, u)
	}
	e.gate, err = NewGate(config(n))
	c.ok(err)
	all := make([]*party, 0, n+1)
	for _, u := range e.units {
		all = append(all, &u.party)
	}
	all = append(all, &e.gate.party)
	var commits, shares, deals []*Message
	for _, p := range all {
		m, err := p.Commit(ctx)
		c.ok(err)
		commits = append(commits, c.carried(m))
	}
	for _, p := range all {
		m, err := p.Reveal(ctx, commits)
		c.ok(err)
		shares = append(shares, c.carried(m))
	}
	e.commits, e.keys = commits, shares
	if p.Layout.Products != nil {
		shares = nil
		for _, p := range all {
			m, err := p.Relinearize(ctx, e.keys)
			c.ok(err)
			shares = append(shares, c.carried(m))
		}
		e.relins = shares
	}
	for _, u := range e.units {
		m, err := u.Deal(ctx, shares)
		c.ok(err)
		deals = append(deals, c.carried(m))
	}
	c.ok(e.gate.Key(ctx, shares))
	for _, u := range e.units {
		c.ok(u.Join(ctx, deals))
	}
	return e
}

func (c *cast) contribute(e *epoch, parts []*Partial) {
	c.t.Helper()
	for i, u := range e.units {
		m, err := u.Contribute(context.Background(), parts[i])
		c.ok(err)
		e.contribs = append(e.contribs, c.carried(m))
	}
}

func (c *cast) shares(e *epoch) (out []*Message) {
	c.t.Helper()
	for _, o := range e.plan.Openers {
		m, err := e.units[o].Share(context.Background(), e.contribs)
		c.ok(err)
		out = append(out, c.carried(m))
	}
	return out
}

// carried is a message as it comes off a wire.
func (c *cast) carried(m *Message) *Message {
	got, err := ParseMessage(AppendMessage(nil, m))
	c.ok(err)
	return got
}

func (c *cast) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// everyMeasure is a layout with each function that additions can do.
func everyMeasure() Layout {
	return Layout{Cells: []string{"a", "b", "c"}, Columns: 3, Measures: []Measure{
		{Func: sandbox.Count}, {Func: sandbox.Sum, X: 0}, {Func: sandbox.Mean, X: 0}, {Func: sandbox.Variance, X: 0}, {Func: sandbox.StdDev, X: 0},
		{Func: sandbox.Histogram, X: 2, Labels: 4}, {Func: sandbox.Covariance, X: 0, Y: 1}, {Func: sandbox.Correlation, X: 0, Y: 1},
		{Func: sandbox.Ratio, X: 0, Y: 1, Scale: 2, ScaleY: 1}, {Func: sandbox.Dot, X: 0, Y: 1}}}
}

type row struct {
	cell    int
	subject uint64
	values  []int64
	missing uint64
}

func randomRows(r *mrand.Rand, n, cells int, size int64) []row {
	out := make([]row, n)
	for i := range out {
		out[i] = row{r.IntN(cells), r.Uint64N(uint64(n)/2 + 1), []int64{r.Int64N(2*size) - size, r.Int64N(2*size) - size, r.Int64N(4)}, 0}
		if r.IntN(10) == 0 {
			out[i].missing = 1 << r.IntN(3)
		}
	}
	return out
}

func partials(t testing.TB, l *Layout, rows [][]row) []*Partial {
	t.Helper()
	var out []*Partial
	for _, rs := range rows {
		p, err := NewPartial(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range rs {
			if err := p.Add(r.cell, r.subject, r.values, r.missing); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, p)
	}
	return out
}

// TestEpoch runs a whole epoch with every measure and holds it to plain integer arithmetic over all units' rows.
func TestEpoch(t *testing.T) {
	for _, size := range []int64{1000, 1 << 46} {
		seed := mrand.Uint64()
		t.Logf("seed %d", seed)
		r := mrand.New(mrand.NewPCG(seed, 1))
		c := newCast(t, 4)
		l := everyMeasure()
		e := c.begin(c.plan(1, 3, []int{0, 1, 3}, l))
		rows := [][]row{randomRows(r, 200, 3, size), randomRows(r, 50, 3, size), nil, randomRows(r, 120, 2, size)} // a unit without rows
		c.contribute(e, partials(t, &l, rows))
		got, err := e.gate.Open(context.Background(), e.contribs, c.shares(e))
		c.ok(err)
		plainly(t, &l, rows, got)
	}
}

// plainly computes every output and its evidence anew, over big integers, row by row.
func plainly(t *testing.T, l *Layout, rows [][]row, got *Result) {
	t.Helper()
	for c, cell := range got.Cells {
		i := 0
		for _, m := range l.Measures {
			for label := range m.outputs() {
				o := cell.Outputs[i]
				i++
				var n int64
				s := make([]*big.Int, 5)
				for k := range s {
					s[k] = new(big.Int)
				}
				per := make([]map[uint64]*big.Int, len(rows))
				for u, rs := range rows {
					per[u] = map[uint64]*big.Int{}
					for _, r := range rs {
						x, y := big.NewInt(r.values[m.X]), big.NewInt(r.values[m.Y])
						ux, uy := m.uses()
						if r.cell != c || ux && r.missing>>m.X&1 == 1 || uy && r.missing>>m.Y&1 == 1 || m.Func == sandbox.Histogram && r.values[m.X] != int64(label) {
							continue
						}
						n++
						give := big.NewInt(1)
						switch m.Func {
						case sandbox.Count, sandbox.Histogram:
						case sandbox.Dot:
							give.Mul(x, y)
						default:
							give.Set(x)
						}
						if per[u][r.subject] == nil {
							per[u][r.subject] = new(big.Int)
						}
						per[u][r.subject].Add(per[u][r.subject], give)
						for k, f := range [][2]*big.Int{{x, big.NewInt(1)}, {y, big.NewInt(1)}, {x, x}, {x, y}, {y, y}} {
							s[k].Add(s[k], new(big.Int).Mul(f[0], f[1]))
						}
					}
				}
				want, none := plainValue(m, n, s)
				if o.Rows != n || o.None != none || !none && o.Value.Cmp(want) != 0 {
					t.Errorf("cell %d, %s %d: value or rows differ from plain arithmetic", c, m.Func, label)
				}
				all, top, contributing := map[uint64]*big.Int{}, new(big.Int), 0
				for u := range rows {
					most := new(big.Int)
					for s, v := range per[u] {
						if v.CmpAbs(most) > 0 {
							most.Abs(v)
						}
						if all[s] == nil {
							all[s] = new(big.Int)
						}
						all[s].Add(all[s], v)
					}
					for k, side := range o.Sides {
						if want := largest(m, k, rows[u], c); side.Total.Cmp(s[k]) != 0 || side.Tops[u].Cmp(want) != 0 {
							t.Errorf("cell %d, %s: column %d of unit %d comes to something else", c, m.Func, k, u)
						}
					}
					if o.Subjects[u] != int64(len(per[u])) || o.Tops[u].Cmp(most) != 0 {
						t.Errorf("cell %d, %s %d: evidence of unit %d differs", c, m.Func, label, u)
					}
					if len(per[u]) > 0 {
						contributing++
					}
				}
				for _, v := range all {
					if v.CmpAbs(top) > 0 {
						top.Abs(v)
					}
				}
				if int64(len(all)) < o.SubjectsAtLeast || int64(len(all)) > o.SubjectsAtMost || top.Cmp(o.TopAtMost) > 0 || o.Contributing != contributing {
					t.Errorf("cell %d, %s %d: a bound across units does not hold", c, m.Func, label)
				}
			}
		}
	}
}

// plainValue is the textbook formula over rationals, with the rounding of the columnar engine.
func plainValue(m Measure, n int64, s []*big.Int) (*big.Int, bool) {
	half := func(x *big.Rat) *big.Int { // halves away from zero
		v := new(big.Rat).Add(new(big.Rat).Abs(x), big.NewRat(1, 2))
		q := new(big.Int).Quo(v.Num(), v.Denom())
		if x.Sign() < 0 {
			q.Neg(q)
		}
		return q
	}
	mean := func(k int) *big.Rat { return new(big.Rat).SetFrac(s[k], big.NewInt(n)) }
	cov := func(xy, x, y int) *big.Rat { // (Σxy − n·x̄·ȳ) ÷ (n−1)
		v := new(big.Rat).Mul(mean(x), mean(y))
		v.Mul(v, big.NewRat(n, 1)).Sub(new(big.Rat).SetInt(s[xy]), v)
		return v.Quo(v, big.NewRat(n-1, 1))
	}
	root := func(v *big.Rat) *big.Int { // nearest, by bisection
		lo, hi := new(big.Int), new(big.Int).Lsh(big.NewInt(1), 300)
		for new(big.Int).Sub(hi, lo).Cmp(big.NewInt(1)) > 0 {
			mid := new(big.Int).Add(lo, hi)
			mid.Rsh(mid, 1)
			edge := new(big.Rat).Sub(new(big.Rat).SetInt(mid), big.NewRat(1, 2))
			if edge.Mul(edge, edge).Cmp(v) <= 0 {
				lo = mid
			} else {
				hi = mid
			}
		}
		return lo
	}
	scaled := func(v *big.Rat, digits int) *big.Rat { return new(big.Rat).Mul(v, new(big.Rat).SetInt(tenTo(digits))) }
	switch m.Func {
	case sandbox.Count, sandbox.Histogram:
		return big.NewInt(n), false
	case sandbox.Sum:
		return s[0], false
	case sandbox.Dot:
		return s[3], false
	case sandbox.Mean:
		if n == 0 {
			return nil, true
		}
		return half(mean(0)), false
	case sandbox.Ratio:
		if s[1].Sign() == 0 {
			return nil, true
		}
		v := new(big.Rat).SetFrac(s[0], s[1])
		return half(v.Mul(v, new(big.Rat).SetFrac(tenTo(6+m.ScaleY), tenTo(m.Scale)))), false
	}
	if n < 2 {
		return nil, true
	}
	switch m.Func {
	case sandbox.Variance:
		return half(cov(2, 0, 0)), false
	case sandbox.StdDev:
		return root(scaled(cov(2, 0, 0), 6)), false
	case sandbox.Covariance:
		return half(cov(3, 0, 1)), false
	}
	vx, vy, c := cov(2, 0, 0), cov(4, 1, 1), cov(3, 0, 1)
	if vx.Sign() == 0 || vy.Sign() == 0 {
		return nil, true
	}
	v := new(big.Rat).Mul(c, c)
	v.Quo(v, new(big.Rat).Mul(vx, vy))
	r := root(scaled(v, 12))
	if c.Sign() < 0 {
		r.Neg(r)
	}
	return r, false
}

func aborted(t *testing.T, err error, kind sandbox.Kind, who sandbox.PartyID) {
	t.Helper()
	var a *Abort
	if !errors.As(err, &a) {
		t.Fatalf("no abort: %v", err)
	}
	if !errors.Is(err, kind) || a.Member != who {
		t.Fatalf("the abort is %v, want %s by %q", err, kind, who)
	}
}

func countOnly() Layout {
	return Layout{Cells: []string{"all"}, Columns: 1, Measures: []Measure{{Func: sandbox.Sum}}}
}

// TestShareRefusals lists what a carrier may try before a share; each is a typed abort, and nothing after it gets a share.
func TestShareRefusals(t *testing.T) {
	l := countOnly()
	rows := [][]row{{{0, 1, []int64{5}, 0}}, {{0, 1, []int64{6}, 0}}, {{0, 1, []int64{7}, 0}}}
	var other []*Message // of an earlier epoch
	c := newCast(t, 3)
	n := uint64(0)
	fresh := func() *epoch {
		n++
		e := c.begin(c.plan(n, 2, []int{0, 2}, l))
		c.contribute(e, partials(t, &l, rows))
		return e
	}
	other = fresh().contribs
	for _, x := range []struct {
		name string
		make func(e *epoch) []*Message
		kind sandbox.Kind
		who  sandbox.PartyID
	}{
		{"own alone", func(e *epoch) []*Message { return e.contribs[:1] }, sandbox.Unavailable, "unit-2"},
		{"own twice", func(e *epoch) []*Message { return append(e.contribs[:3:3], e.contribs[0]) }, sandbox.Conflict, "unit-1"},
		{"another's twice", func(e *epoch) []*Message { return append(e.contribs[:3:3], e.contribs[1]) }, sandbox.Conflict, "unit-2"},
		{"own missing", func(e *epoch) []*Message { return e.contribs[1:] }, sandbox.Unavailable, "unit-1"},
		{"another's under a third name", func(e *epoch) []*Message {
			m, err := sign(rand.Reader, c.sign[2], Contribution, e.plan.Digest(), 2, e.contribs[1].Parts...)
			c.ok(err)
			return []*Message{e.contribs[0], e.contribs[1], m}
		}, sandbox.Conflict, "unit-3"},
		{"another own ciphertext", func(e *epoch) []*Message {
			m, err := sign(rand.Reader, c.sign[0], Contribution, e.plan.Digest(), 0, e.contribs[1].Parts...)
			c.ok(err)
			return []*Message{m, e.contribs[1], e.contribs[2]}
		}, sandbox.Tampered, "unit-1"},
		{"forged by the carrier", func(e *epoch) []*Message {
			m := *e.contribs[1]
			m.Parts = [][]byte{append([]byte{}, m.Parts[0]...)}
			m.Parts[0][0] ^= 1
			return []*Message{e.contribs[0], &m, e.contribs[2]}
		}, sandbox.Tampered, ""},
		{"of an earlier epoch", func(e *epoch) []*Message { return []*Message{e.contribs[0], other[1], e.contribs[2]} }, sandbox.Conflict, ""},
		{"a nil message", func(e *epoch) []*Message { return []*Message{e.contribs[0], nil, e.contribs[2]} }, sandbox.Invalid, ""},
		{"not a ciphertext", func(e *epoch) []*Message {
			m, err := sign(rand.Reader, c.sign[1], Contribution, e.plan.Digest(), 1, e.contribs[1].Parts[0][1:])
			c.ok(err)
			return []*Message{e.contribs[0], m, e.contribs[2]}
		}, sandbox.Invalid, ""},
	} {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			e := fresh()
			_, err := e.units[0].Share(context.Background(), x.make(e))
			aborted(t, err, x.kind, x.who)
			if _, err := e.units[0].Share(context.Background(), e.contribs); !errors.Is(err, sandbox.Conflict) {
				t.Fatalf("a share after an abort: %v", err)
			}
		})
	}
}

// TestOpenRefusals lists what may be wrong with the shares that reach the gate.
func TestOpenRefusals(t *testing.T) {
	l := countOnly()
	rows := [][]row{{{0, 1, []int64{5}, 0}}, {{0, 1, []int64{6}, 0}}, {{0, 1, []int64{7}, 0}}}
	c := newCast(t, 3)
	n := uint64(0)
	var other []*Message
	run := func(change func(e *epoch, s []*Message) []*Message) (*epoch, []*Message, error) {
		n++
		e := c.begin(c.plan(n, 2, []int{0, 2}, l))
		c.contribute(e, partials(t, &l, rows))
		s := c.shares(e)
		_, err := e.gate.Open(context.Background(), e.contribs, change(e, append([]*Message{}, s...)))
		return e, s, err
	}
	_, other, err := run(func(_ *epoch, s []*Message) []*Message { return s })
	c.ok(err)
	resign := func(e *epoch, from int, parts ...[]byte) *Message {
		m, err := sign(rand.Reader, c.sign[from], Share, e.plan.Digest(), from, parts...)
		c.ok(err)
		return m
	}
	for _, x := range []struct {
		name   string
		change func(e *epoch, s []*Message) []*Message
		kind   sandbox.Kind
		who    sandbox.PartyID
	}{
		{"dropped", func(_ *epoch, s []*Message) []*Message { return s[:1] }, sandbox.Unavailable, "unit-3"},
		{"repeated", func(_ *epoch, s []*Message) []*Message { return append(s, s[0]) }, sandbox.Conflict, "unit-1"},
		{"replayed", func(_ *epoch, s []*Message) []*Message { return []*Message{s[0], other[1]} }, sandbox.Conflict, ""},
		{"of another sum", func(e *epoch, s []*Message) []*Message {
			d := sm.Sum([]byte("another"))
			return []*Message{s[0], resign(e, 2, d[:], s[1].Parts[1])}
		}, sandbox.Conflict, "unit-3"},
		{"by no opener", func(e *epoch, s []*Message) []*Message {
			return []*Message{s[0], resign(e, 1, s[1].Parts...)}
		}, sandbox.Conflict, "unit-2"},
		{"wrong", func(e *epoch, s []*Message) []*Message {
			return []*Message{s[0], resign(e, 2, s[1].Parts[0], s[0].Parts[1])}
		}, sandbox.Tampered, ""},
		{"wrong in one coefficient", func(e *epoch, s []*Message) []*Message {
			b := append([]byte{}, s[1].Parts[1]...)
			b[5] ^= 3
			return []*Message{s[0], resign(e, 2, s[1].Parts[0], b)}
		}, sandbox.Tampered, ""},
		{"out of range", func(e *epoch, s []*Message) []*Message {
			b := append([]byte{}, s[1].Parts[1]...)
			for i := range 8 {
				b[i] = 255
			}
			return []*Message{s[0], resign(e, 2, s[1].Parts[0], b)}
		}, sandbox.Invalid, ""},
	} {
		t.Run(strings.ReplaceAll(x.name, " ", "-"), func(t *testing.T) {
			e, s, err := run(x.change)
			aborted(t, err, x.kind, x.who)
			if _, err := e.gate.Open(context.Background(), e.contribs, s); !errors.Is(err, sandbox.Conflict) {
				t.Fatalf("opened after an abort: %v", err)
			}
		})
	}
}

// TestMixedKeys gives a unit another share than the one committed to: so a key that the last to speak would know alone is found before it is used.
func TestMixedKeys(t *testing.T) {
	c, ctx := newCast(t, 3), context.Background()
	p := c.plan(1, 2, []int{0, 1}, countOnly())
	var all []*party
	for i := range 4 {
		q, err := newParty(Config{Plan: p, Engine: NewLocal(rand.Reader), Sign: c.sign[i], Open: c.open[i], Ledger: c.ledgers[i], Rand: rand.Reader}, i)
		c.ok(err)
		all = append(all, q)
	}
	var commits, shares []*Message
	for _, q := range all {
		m, err := q.Commit(ctx)
		c.ok(err)
		commits = append(commits, m)
	}
	for _, q := range all {
		m, err := q.Reveal(ctx, commits)
		c.ok(err)
		shares = append(shares, m)
	}
	m, err := sign(rand.Reader, c.sign[2], KeyShare, p.Digest(), 2, shares[1].Parts[0])
	c.ok(err)
	err = all[0].agree(ctx, []*Message{shares[0], shares[1], m, shares[3]})
	aborted(t, err, sandbox.Tampered, "unit-3")
}

// TestRestart kills a unit between "issued" and sending, and brings it back: no second share, whatever it still holds.
func TestRestart(t *testing.T) {
	c, l := newCast(t, 3), countOnly()
	rows := [][]row{{{0, 1, []int64{5}, 0}}, {{0, 1, []int64{6}, 0}}, {{0, 1, []int64{7}, 0}}}
	p := c.plan(1, 2, []int{0, 1}, l)
	e := c.begin(p)
	c.contribute(e, partials(t, &l, rows))

	u := e.units[0]
	before := *u // as a snapshot of its memory would have it, key in its engine and all
	var after []byte
	before.Engine = u.Engine
	u.Engine = engineFunc(func(ctx context.Context, op Op, args ...[]byte) ([][]byte, error) {
		if op == OpPartial { // the process ends here: after the entry, before a share exists
			after, _ = os.ReadFile(u.Ledger.path)
			return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "is there"}
		}
		if op == OpErase {
			return nil, nil
		}
		return before.Engine.Do(ctx, op, args...)
	})
	_, err := u.Share(context.Background(), e.contribs)
	aborted(t, err, sandbox.Unavailable, "")
	if !strings.Contains(string(after), " 1 ") || len(strings.Fields(string(after))) != 3 {
		t.Fatal("the ledger did not say issued before the share was made")
	}
	c.ok(c.ledgers[0].Close())
	c.ledgers[0], err = OpenLedger(filepath.Join(c.dir, "0"))
	c.ok(err)
	before.Ledger = c.ledgers[0]
	if _, err := before.Share(context.Background(), e.contribs); !errors.Is(err, sandbox.Conflict) {
		t.Fatalf("a second share after a restart: %v", err)
	}
	if _, err := NewUnit(Config{Plan: p, Engine: NewLocal(rand.Reader), Sign: c.sign[0], Open: c.open[0], Ledger: c.ledgers[0], Rand: rand.Reader}, 0); !errors.Is(err, sandbox.Conflict) {
		t.Fatalf("the epoch begins again after a restart: %v", err)
	}
	e = c.begin(c.plan(2, 2, []int{1, 2}, l)) // the next one does, with fresh ciphertexts
	c.contribute(e, partials(t, &l, rows))
	got, err := e.gate.Open(context.Background(), e.contribs, c.shares(e))
	c.ok(err)
	if got.Cells[0].Outputs[0].Value.Int64() != 18 {
		t.Fatal("the sum of the next epoch is wrong")
	}
}

type engineFunc func(ctx context.Context, op Op, args ...[]byte) ([][]byte, error)

func (f engineFunc) Do(ctx context.Context, op Op, args ...[]byte) ([][]byte, error) {
	return f(ctx, op, args...)
}

// TestLedgerDamage opens ledgers that are not ones.
func TestLedgerDamage(t *testing.T) {
	good := strings.Repeat("ab", 32) + " 3 \n"
	for _, text := range []string{"x", good[:60], good + good, strings.Replace(good, " 3 ", " 0 ", 1), strings.Replace(good, " \n", " zz\n", 1), good[:len(good)-1]} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, ledgerName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenLedger(dir); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("a damaged ledger opens: %v", err)
		}
	}
}

// largest is what the person with the most adds to column k of a measure in a unit's rows of a cell.
func largest(m Measure, k int, rows []row, cell int) *big.Int {
	per, most := map[uint64]*big.Int{}, new(big.Int)
	for _, r := range rows {
		ux, uy := m.uses()
		if r.cell != cell || ux && r.missing>>m.X&1 == 1 || uy && r.missing>>m.Y&1 == 1 {
			continue
		}
		if per[r.subject] == nil {
			per[r.subject] = new(big.Int)
		}
		per[r.subject].Add(per[r.subject], big.NewInt(r.values[[]int{m.X, m.Y}[k]]))
	}
	for _, v := range per {
		if v.CmpAbs(most) > 0 {
			most.Abs(v)
		}
	}
	return most
}
