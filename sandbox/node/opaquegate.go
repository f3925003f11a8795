package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
)

func (n *Node) submitOpaque(ctx context.Context, c api.Caller, q *questionRecord, use opaqueUse, st *attest.Statement) error {
	params := n.thresholds(query.Derivation{}).Stricter(egress.Params{MinSubjects: use.terms.MinSubjects, DominanceK: use.terms.MaxShare, PPercent: use.terms.PPercent, Prior: use.terms.Prior, MaxBits: use.terms.MaxBits})
	return n.outgoing(ctx, c, q, st, params, func(ctx context.Context) gated { return n.gateOpaque(ctx, q, use, params) })
}

// gateOpaque runs the image over the view and puts what it gives through the gate of its class. However it ends, that is evidence.
func (n *Node) gateOpaque(ctx context.Context, q *questionRecord, use opaqueUse, params egress.Params) (out gated) {
	ran := &attest.AlgorithmRanBody{Name: use.m.Name, Version: use.m.Version, Manifest: q.Opaque.Manifest, Image: use.m.Image, Question: q.ID, Inputs: q.Inputs, View: use.viewID, Tier: string(use.tier), Bits: q.Opaque.Bits}
	defer func() { out.ran = ran }()
	fail := func(reason string, err error) gated {
		ran.Fault = reason
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	image, err := n.image(ctx, use.m.Image)
	if err != nil {
		return fail(string(jail.BadImage), err)
	}
	o := run.Opaquing{Declaration: *use.m.Opaque, Input: use.source, View: use.viewID, Columns: use.columns, Subject: use.set.Subject, Order: n.opaqueDraw("opaque order", q)}
	seed := n.opaqueDraw("opaque", q)
	o.Seed = binary.BigEndian.Uint64(seed[:8])
	if use.terms.Form == policy.KAnon {
		o.K, o.Quasi = max(use.view.Leave.Leave.K, params.MinSubjects), quasiOf(use.view.Leave)
	}
	if use.m.Opaque.Model != nil {
		o.Keep = n.trainedOn
		lim := n.cfg.Models.orDefaults()
		o.Rows = lim.Rows
	}
	given, posture, err := n.confined(ctx, &o, use, image)
	ran.Posture = posture
	if err != nil {
		reason := "internal"
		if r := jail.ReasonOf(err); r != "" {
			reason = string(r)
		} else if f := (*run.OpaqueFault)(nil); errors.As(err, &f) {
			reason = f.Reason
		}
		return fail(reason, fmt.Errorf("the algorithm gave nothing, %s: %w", reason, err))
	}
	if err := n.populations.load(ctx, n, false); err != nil {
		return fail("", err)
	}
	name := q.ID // what reviewers have seen of a resubmitted one stays in the ledger beside it
	if k := len(q.entries()); k > 0 {
		name = sandbox.QuestionID(fmt.Sprintf("%s.r%d", q.ID, k))
	}
	answer := given.People.Answer(use.source)
	entry, err := n.ledger.Left(name, answer, make([]bool, len(answer.Cells)))
	if err != nil {
		return fail("", err)
	}
	compared := n.populations.book.Compare(entry, params)
	if compared.Finding != nil {
		return gated{finding: compared.Finding, cause: "whom it was computed over isolates too few people against earlier results"}
	}
	var product *egress.Product
	if use.m.Opaque.Model != nil {
		product, err = n.foreignModel(ctx, q, use, params, given)
	} else {
		product, err = n.foreignChart(ctx, q, use, params, &o, given, posture, compared.Uncertified)
	}
	if err != nil {
		return fail("", err)
	}
	if product.Unheld() != "" { // withheld: nobody was shown it
		return gated{product: product}
	}
	if err := n.populations.keep(entry); err != nil {
		return fail("", err)
	}
	return gated{product: product, entry: name, uncertified: compared.Uncertified}
}

// confined starts the image in its tier, for each answer anew.
func (n *Node) confined(ctx context.Context, o *run.Opaquing, use opaqueUse, image []byte) (given run.Opaqued, posture []byte, err error) {
	var digest [sm.Size]byte
	copy(digest[:], use.m.Image)
	img, err := jail.NewImage(bytes.NewReader(image), digest)
	if err != nil {
		return given, nil, err
	}
	defer func() { err = errors.Join(err, img.Close()) }()
	lim := use.m.Limits
	runs := &jail.Runs{Launcher: n.cfg.Jail, Tier: use.tier, Image: img, Limits: jail.Limits{Memory: int64(lim.MemoryMiB) << 20, Wall: time.Duration(lim.Seconds) * time.Second, Message: opaque.MaxOutput + 1024}}
	o.Code = runs
	given, err = run.Opaque(ctx, n.mem, n.vault, *o)
	if runs.Posture != nil {
		d := runs.Posture.Digest()
		posture = d[:]
	}
	return given, posture, err
}

// opaqueDraw is randomness of a run, of a purpose: nobody foresees it, and asked again over the same version it is the same. The code is told none but its seed.
func (n *Node) opaqueDraw(purpose string, q *questionRecord) [sm.Size]byte {
	parts := [][]byte{[]byte(purpose), q.canonical()}
	for _, in := range q.Inputs {
		parts = append(parts, []byte(in.Dataset), binary.BigEndian.AppendUint64(nil, in.Version))
	}
	return sm.HMAC(n.protection.split, sm.Frame(parts...))
}

// foreignChart puts a chart through class F.
func (n *Node) foreignChart(ctx context.Context, q *questionRecord, use opaqueUse, params egress.Params, o *run.Opaquing, given run.Opaqued, posture []byte, uncertified string) (*egress.Product, error) {
	chart := chartOf(q.ID, use.m.Opaque.Chart, given.Rows)
	_, rows := chart.Table()
	traces := scan.NewTraces(rows, scan.Strict().Width)
	if err := o.Each(ctx, n.mem, n.vault, traces.Add); err != nil {
		return nil, err
	}
	r := egress.ForeignRun{Algorithm: q.Opaque.Algorithm, Title: use.m.Title, Author: use.m.Author, Manifest: q.Opaque.Manifest, Image: use.m.Image, Posture: posture, View: use.viewID, Inputs: q.Inputs}
	for _, c := range use.m.Opaque.Columns {
		r.Columns = append(r.Columns, c.Name)
	}
	return egress.Charted(egress.ChartTerms{Chart: chart, Params: params, Cap: use.m.Limits.Bits, People: len(given.People.Who), Rows: given.Seen, K: given.Smallest, Traces: traces, Same: true, Tier: string(use.tier),
		Grade: use.terms.Grade, Compare: uncertified, Run: r})
}

// foreignModel puts a model through class D: the gate reads it in the form that was approved, trains its own on the same rows, and attacks both with shadow
// models. People whom the code did not see are those it is measured against.
func (n *Node) foreignModel(ctx context.Context, q *questionRecord, use opaqueUse, params egress.Params, given run.Opaqued) (*egress.Product, error) {
	form, err := declaredModel(use.m)
	if err != nil {
		return nil, err
	}
	m, err := model.Decode(given.Model, &form.Schema)
	if err != nil {
		return nil, fmt.Errorf("not of the declared form: %w", err)
	}
	if m.Kind != form.Kind || !reflect.DeepEqual(m.Trainer, form.Trainer) {
		return nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Withheld, Object: "kind, trainer", Detail: "a model of the kind and trainer that its manifest declares"}
	}
	m.ID = string(q.ID)
	lim := n.cfg.Models.orDefaults()
	t := run.Training{Input: use.source, Subjects: lim.Subjects, Rows: lim.Rows, Trained: n.trainedOn}
	if use.viewID != "" {
		t.View = use.viewID
	}
	for _, name := range append([]string{form.Label.Name}, featureNames(form)...) {
		i := slices.IndexFunc(use.columns, func(c catalog.Column) bool { return c.Name == name })
		t.Columns = append(t.Columns, use.columns[i]) // a declared column: the decision looked
	}
	train, test, _, err := n.trainingRows(ctx, form, t)
	if err != nil {
		return nil, fmt.Errorf("not judged: %w", err)
	}
	p := n.modelParams(params)
	p.MaxBits = min(p.MaxBits, use.m.Limits.Bits)
	report, err := model.Judge(m, train, test, p, n.shadows(q))
	if err != nil {
		return nil, fmt.Errorf("not judged: %w", err)
	}
	product, err := egress.Trained(q.ID, report)
	if err != nil {
		return nil, fmt.Errorf("%w%s", err, failures(report))
	}
	return product, nil
}
