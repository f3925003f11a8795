package node

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/noise"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/query"
)

// protection is what protects the numbers that leave, under keys of the domain that never do.
type protection struct {
	cells *noise.CellKeys
	key   []byte // by which the cells are chosen that a subject counts in
	base  int64
	split []byte // by which people are trained on or tested on, see trainedOn
}

// openProtection derives its keys below the ledger's: they live as long as the ledger does.
func openProtection(p profile.Privacy, ledger []byte) (*protection, error) {
	out := &protection{base: int64(p.RoundBase.Value)}
	table, err := noise.NewTable(p.KeyVariance.Value, p.KeyBound.Value)
	if err != nil {
		return nil, err
	}
	cells, err := sm.HKDF(ledger, nil, sm.Frame([]byte("opdomain/noise/cell-key/v1")), sm.Size)
	if err != nil {
		return nil, err
	}
	if out.key, err = sm.HKDF(ledger, nil, sm.Frame([]byte("opdomain/noise/bound/v1")), sm.Size); err != nil {
		return nil, err
	}
	if out.split, err = sm.HKDF(ledger, nil, sm.Frame([]byte("opdomain/model/split/v1")), sm.Size); err != nil {
		return nil, err
	}
	out.cells, err = noise.NewCellKeys(cells, table)
	return out, err
}

// drawRecord is one release under differential privacy: charged when it is made, drawn once, kept for ever. Of a selection it has the groups, of a
// measure their values.
type drawRecord struct {
	Charged  sandbox.Privacy
	Datasets []sandbox.DatasetID
	Table    bool // a selection of groups
	Drawn    bool
	Groups   [][]string `json:",omitempty"`
	Values   [][]int64  `json:",omitempty"`
}

// String keeps drawn values out of logs.
func (drawRecord) String() string { return "draw(redacted)" }

// questionNoise says what a question draws; it is fixed when the question is accepted.
type questionNoise struct {
	Noise    sandbox.Noise
	Bounds   []int64  // per measure
	Table    string   // the selection's record
	Releases []string // the measures' records, each once
	Of       []int    // per measure, which of them
	Order    []int
	Spent    sandbox.Privacy // charged for what nobody drew before, of each dataset
}

// releases names what a derived question draws under differential privacy, over the given version of each of its inputs. The same release under
// the same rules has the same name, whoever asks for it in whatever form.
func (n *Node) releases(d query.Derivation, versions []uint64) *questionNoise {
	q := &questionNoise{Noise: d.Noise}
	q.Noise.Rows, q.Noise.Cells = max(q.Noise.Rows, 1), max(q.Noise.Cells, 1)
	number := func(v ...int64) (b []byte) {
		for _, x := range v {
			b = binary.BigEndian.AppendUint64(b, uint64(x))
		}
		return b
	}
	name := func(parts ...[]byte) string {
		id := sm.HMAC(n.questionKey, sm.Frame(append([][]byte{[]byte("noise")}, parts...)...))
		return "n-" + hex.EncodeToString(id[:10])
	}
	same := d.Spec.Same(versions)
	q.Order = same.Order
	rules := number(q.Noise.Release.Epsilon, q.Noise.Release.Delta, int64(q.Noise.Cells), int64(n.thresholds(d).MinSubjects))
	q.Table = name(same.Table, rules)
	for i, m := range d.Spec.Measures {
		bound := d.NoiseBound(m)
		id := name(same.Measures[i], rules, number(bound))
		if !slices.Contains(q.Releases, id) {
			q.Releases = append(q.Releases, id)
		}
		q.Bounds, q.Of = append(q.Bounds, bound), append(q.Of, slices.Index(q.Releases, id))
	}
	return q
}

// thresholds are the gate's for a question.
func (n *Node) thresholds(d query.Derivation) egress.Params {
	g := n.profile.Gate
	p := egress.Params{MinSubjects: g.MinSubjects.Value, DominanceN: g.DominanceN.Value, DominanceK: g.DominanceK.Value, PPercent: g.PPercent.Value,
		Prior: g.Prior.Value, MaxBits: g.MaxBits.Value}
	return p.Stricter(egress.Params{MinSubjects: d.MinSubjects, DominanceK: d.MaxShare, PPercent: d.PPercent, Prior: d.Prior, MaxBits: d.MaxBits})
}

// each gives the version of each input of a derived question; false when one has none yet.
func each(d query.Derivation, in map[sandbox.DatasetID]catalog.Dataset) ([]uint64, bool) {
	var out []uint64
	for _, x := range d.Inputs {
		v := x.Version
		if v == 0 {
			v = in[x.Dataset].Version
		}
		if v == 0 || v > in[x.Dataset].Version {
			return nil, false
		}
		out = append(out, v)
	}
	return out, true
}

func epsilonOf(d sandbox.DatasetID) string { return "epsilon." + string(d) }
func deltaOf(d sandbox.DatasetID) string   { return "delta." + string(d) }

// spending gives what a question would draw that nobody drew before, and what was spent of its datasets.
func (n *Node) spending(ctx context.Context, f *policy.Facts, sc *grant.Scenario, s query.Spec) error {
	if sc == nil || !slices.ContainsFunc(sc.List, func(i sandbox.ListItem) bool {
		return slices.ContainsFunc(i.Columns, func(r sandbox.ColumnRule) bool { return r.Noise.Kind == sandbox.NoiseDP })
	}) {
		return nil
	}
	d, reasons := query.DeriveFor(f.Asker, s, f.Datasets, sc.List)
	if len(reasons) > 0 || d.Noise.Kind != sandbox.NoiseDP {
		return nil
	}
	f.Spent = map[sandbox.DatasetID]sandbox.Privacy{}
	for _, in := range d.Inputs {
		e, err := n.store.Counter(ctx, epsilonOf(in.Dataset))
		if err != nil {
			return err
		}
		delta, err := n.store.Counter(ctx, deltaOf(in.Dataset))
		if err != nil {
			return err
		}
		f.Spent[in.Dataset] = sandbox.Privacy{Epsilon: e, Delta: delta}
	}
	versions, ok := each(d, f.Datasets)
	if !ok {
		return nil // asking says so
	}
	q := n.releases(d, versions)
	var err error
	f.Draws, err = n.undrawn(ctx, q)
	return err
}

// undrawn counts the releases that have no record.
func (n *Node) undrawn(ctx context.Context, q *questionNoise) (out int, err error) {
	for _, id := range append([]string{q.Table}, q.Releases...) {
		switch _, _, err := n.docs.draws.Get(ctx, id); {
		case errors.Is(err, sandbox.NotFound):
			out++
		case err != nil:
			return 0, err
		}
	}
	return out, nil
}

// charge spends the (ε, δ) of every release that nobody drew before, of each dataset behind the question, in the change that records that it is
// asked: what happens to the process afterwards gives none of it back. Releases with a record cost nothing.
func (n *Node) charge(ctx context.Context, d query.Derivation, in map[sandbox.DatasetID]catalog.Dataset, q *questionRecord) error {
	q.Noise = nil
	if d.Noise.Kind != sandbox.NoiseDP {
		return nil
	}
	versions, ok := each(d, in)
	if !ok {
		return &sandbox.Error{Op: "noise", Kind: sandbox.Internal, Object: string(q.ID), Detail: "an input has no version"}
	}
	q.Noise = n.releases(d, versions)
	var datasets []sandbox.DatasetID
	for _, x := range d.Inputs {
		if !slices.Contains(datasets, x.Dataset) {
			datasets = append(datasets, x.Dataset)
		}
	}
	fresh := 0
	for i, id := range append([]string{q.Noise.Table}, q.Noise.Releases...) {
		err := n.docs.draws.Insert(ctx, id, "", "", drawRecord{Charged: d.Noise.Release, Datasets: datasets, Table: i == 0})
		if errors.Is(err, sandbox.Conflict) {
			continue
		}
		if err != nil {
			return err
		}
		fresh++
	}
	q.Noise.Spent = d.Noise.Release.Times(fresh)
	most := policy.Budget(&n.profile, d.Noise)
	for _, id := range datasets {
		if _, err := n.store.Add(ctx, epsilonOf(id), q.Noise.Spent.Epsilon, most.Epsilon); err != nil {
			return err
		}
		if _, err := n.store.Add(ctx, deltaOf(id), q.Noise.Spent.Delta, most.Delta); err != nil {
			return err
		}
	}
	return nil
}

// protect holds an answer to the rules and to the strictest noise rule of its columns.
func (n *Node) protect(ctx context.Context, d query.Derivation, q *questionRecord, a *sandbox.Answer, p egress.Params) (*egress.Checked, error) {
	if d.Noise.Kind == sandbox.NoiseDP || q.Noise != nil {
		return n.private(ctx, d, q, a, p)
	}
	c, err := egress.Check(q.ID, a, p, n.populations.book.Linked(n.ledger, a)...)
	if err != nil {
		return c, err
	}
	switch d.Noise.Kind {
	case "", sandbox.NoiseExact:
	case sandbox.NoiseRounded:
		err = c.Round(q.ID, n.protection.base)
	case sandbox.NoisePerturbed:
		err = c.Perturb(q.ID, n.protection.cells)
	default:
		err = &sandbox.Error{Op: "noise", Kind: sandbox.Withheld, Object: string(q.ID), Detail: "a kind of noise that this release does not know"}
	}
	return c, err
}

// private draws what was not drawn before, and makes it durable before it is handed on.
func (n *Node) private(ctx context.Context, d query.Derivation, q *questionRecord, a *sandbox.Answer, p egress.Params) (*egress.Checked, error) {
	charged := q.Noise
	if charged == nil || d.Noise.Kind != sandbox.NoiseDP || len(charged.Of) != len(d.Spec.Measures) {
		return nil, &sandbox.Error{Op: "noise", Kind: sandbox.Withheld, Object: string(q.ID), Detail: "its noise rule is not the one that was charged", Hint: "ask the question again"}
	}
	ids := append([]string{charged.Table}, charged.Releases...)
	records := make([]drawRecord, len(ids))
	drawn := egress.Drawn{Values: make([][][]int64, len(charged.Releases))}
	for i, id := range ids {
		var err error
		if records[i], _, err = n.docs.draws.Get(ctx, id); err != nil {
			return nil, err
		}
		switch r := &records[i]; {
		case !r.Drawn:
		case i == 0:
			drawn.Chosen, drawn.Groups = true, r.Groups
		default:
			drawn.Values[i-1] = append([][]int64{}, r.Values...)
		}
	}
	private := egress.Private{Release: charged.Noise.Release, Cells: charged.Noise.Cells, Order: charged.Order, Key: n.protection.key}
	part := map[int]int{}
	for _, o := range d.Outputs() {
		private.Bounds = append(private.Bounds, charged.Bounds[o.Measure])
		private.Of = append(private.Of, egress.Output{Release: charged.Of[o.Measure], Part: part[o.Measure]})
		part[o.Measure]++
	}
	c, err := egress.CheckPrivate(q.ID, a, p, private, &drawn)
	if err != nil {
		return nil, err
	}
	return c, n.change(ctx, domainIdentity, func(ctx context.Context, _ *change) error {
		for i, id := range ids {
			if records[i].Drawn {
				continue
			}
			_, rev, err := n.docs.draws.Get(ctx, id)
			if err != nil {
				return err
			}
			next := records[i]
			next.Drawn = true
			if i == 0 {
				next.Groups = drawn.Groups
			} else {
				next.Values = drawn.Values[i-1]
			}
			if _, err := n.docs.draws.Update(ctx, id, rev, "", "", next); err != nil {
				return err
			}
		}
		return nil
	})
}

// deviations adds to an explanation the standard deviation of the noise of each output, which follows from rules alone.
func (n *Node) deviations(d query.Derivation, x *api.Explanation) error {
	if x.Derivation == nil {
		return nil
	}
	for i, o := range d.Outputs() {
		sd := 0.0
		switch d.Noise.Kind {
		case sandbox.NoiseRounded:
			sd = noise.RoundDeviation(n.protection.base)
		case sandbox.NoisePerturbed:
			sd = n.protection.cells.Deviation()
		case sandbox.NoiseDP:
			g, err := noise.NewGaussian(d.Noise.Release, d.NoiseBound(d.Spec.Measures[o.Measure]), max(d.Noise.Cells, 1))
			if err != nil {
				return err
			}
			sd = g.Deviation()
		}
		x.Derivation.Outputs[i].Deviation = int64(math.Ceil(sd * 1000))
	}
	return nil
}
