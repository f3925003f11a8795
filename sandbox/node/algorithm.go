package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/jail/record"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Algorithms = (*Node)(nil)

// algorithmRecord is an approved algorithm as the core keeps it.
type algorithmRecord struct {
	Approval  attest.AlgorithmApproval
	By        sandbox.IdentityID
	Manifest  []byte // encoded
	Graph     []byte // encoded, of a Program
	Withdrawn time.Time
	Reason    string
}

const (
	algorithmApproved  = "approved"
	algorithmWithdrawn = "withdrawn"
)

// Codes of refusals beside those of package compile.
const (
	codeNotApproved = "algorithm.not-approved" // 算法未准入
	codeWithdrawn   = "algorithm.withdrawn"    // 算法已撤回

	articleAlgorithm = "龙华区实施方案 六(二)2 实施机构准入"
)

func algorithmID(name, version string) sandbox.AlgorithmID {
	return sandbox.AlgorithmID(name + "-" + version)
}

// inadmissible is a rule that something sent for approval breaks, as evidence names it, and the error its sender gets.
type inadmissible struct {
	rule string
	err  error
}

// ApproveAlgorithm lists an algorithm that the agency approved: its manifest is the author's, its image the one that the manifest names, and
// what the image records, here and once more, is what the agency signed. Nothing is kept of one that breaks a rule, but evidence of which.
func (n *Node) ApproveAlgorithm(ctx context.Context, c api.Caller, r api.AlgorithmRequest) (api.Algorithm, error) {
	var s attest.AlgorithmApproval
	if err := signed(c, r.Statement, attest.ContextAlgorithm, &s); err != nil {
		return api.Algorithm{}, err
	}
	rec, bad := n.admissible(ctx, s, r)
	if bad != nil {
		if sandbox.KindOf(bad.err) == sandbox.Unavailable {
			return api.Algorithm{}, bad.err // the domain's own fault says nothing about the algorithm
		}
		image := sm.Sum(r.Image)
		if err := n.refuseAlgorithm(ctx, c, attest.AlgorithmRefusedBody{Name: s.Name, Version: s.Version, Image: image[:], Rule: bad.rule}); err != nil {
			return api.Algorithm{}, err
		}
		return api.Algorithm{}, bad.err
	}
	rec.By = c.Identity.ID
	id := algorithmID(s.Name, s.Version)
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		tx.record(attest.AlgorithmApproved, "algorithm/"+string(id), attest.AlgorithmApprovedBody{Statement: r.Statement}, agency, everyone)
		if len(rec.Graph) == 0 { // the image is what runs
			if err := n.keepImage(ctx, s.Image, r.Image); err != nil {
				return err
			}
		}
		return n.docs.algorithms.Insert(ctx, string(id), s.Name, algorithmApproved, rec)
	})
	if err != nil {
		return api.Algorithm{}, err
	}
	return shownAlgorithm(rec, true), nil
}

func (n *Node) refuseAlgorithm(ctx context.Context, c api.Caller, b attest.AlgorithmRefusedBody) error {
	if sandbox.CheckID("algorithm", b.Name) != nil || sandbox.CheckID("version", b.Version) != nil {
		b.Name, b.Version = "", "" // a sender's text is not evidence
	}
	n.cfg.Metrics.Refused(b.Rule)
	return n.change(ctx, c.Identity.ID, func(_ context.Context, tx *change) error {
		tx.record(attest.AlgorithmRefused, "algorithm/refused", b, agency, toParty(c.Party.ID))
		return nil
	})
}

// admissible checks what was sent for approval.
func (n *Node) admissible(ctx context.Context, s attest.AlgorithmApproval, r api.AlgorithmRequest) (algorithmRecord, *inadmissible) {
	no := func(rule string, err error) (algorithmRecord, *inadmissible) {
		return algorithmRecord{}, &inadmissible{rule, err}
	}
	m, err := manifest.Decode(r.Manifest)
	if err != nil {
		rule := "manifest.invalid"
		if e := (*sandbox.Error)(nil); errors.As(err, &e) && e.Kind == sandbox.Unsigned {
			rule = "manifest.unsigned"
		} else if e != nil && e.Object == "sdk" {
			rule = "manifest.sdk"
		}
		return no(rule, err)
	}
	if err := m.Holds(r.Image); err != nil {
		return no("image.digest", err)
	}
	digest := m.Digest()
	if s.Name != m.Name || s.Version != m.Version || !bytes.Equal(s.Manifest, digest[:]) || !bytes.Equal(s.Image, m.Image) {
		return no("approval.other", &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.Invalid, Object: m.Name, Detail: "the approval is of this manifest and image"})
	}
	if m.Contract == manifest.Opaque {
		return n.admissibleOpaque(s, r, m)
	}
	if m.Contract == manifest.Map {
		return n.admissibleMap(ctx, s, r, m)
	}
	if m.Contract != manifest.Program || m.Format != "wasm" {
		return no("contract.here", &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.Unavailable, Object: m.Name, Detail: "this domain records programs in wasm, and runs maps and opaque algorithms in the jail"})
	}
	if n.cfg.Recorder == nil {
		return no("recorder", &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.Unavailable, Object: m.Name, Detail: "this domain was opened without a recorder of images"})
	}
	graph, err := n.cfg.Recorder.Record(ctx, r.Image)
	if err != nil {
		rule := "image.recording"
		if f := (*record.Fault)(nil); errors.As(err, &f) {
			rule = "image." + string(f.Reason)
		}
		return no(rule, &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.KindOf(err), Object: m.Name, Err: err})
	}
	g, types, err := algo.Decode(graph)
	if err != nil {
		kind := sandbox.Invalid
		if e := (*algo.Error)(nil); errors.As(err, &e) && e.TooLarge {
			kind = sandbox.TooLarge
		}
		return no("graph.invalid", &sandbox.Error{Op: "algorithm: approve", Kind: kind, Object: m.Name, Err: err})
	}
	if err := m.Match(g, types); err != nil {
		return no("graph.manifest", err)
	}
	if d := sm.Sum(graph); !bytes.Equal(d[:], s.Graph) {
		return no("graph.digest", &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.Tampered, Object: m.Name, Detail: "the image records the graph that the agency approved"})
	}
	return algorithmRecord{Approval: s, Manifest: r.Manifest, Graph: graph}, nil
}

// WithdrawAlgorithm ends the use of an algorithm at once.
func (n *Node) WithdrawAlgorithm(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, st attest.Statement) (api.Algorithm, error) {
	var s attest.AlgorithmWithdrawal
	if err := signed(c, st, attest.ContextAlgorithmWithdraw, &s); err != nil {
		return api.Algorithm{}, err
	}
	if algorithmID(s.Name, s.Version) != id || s.Reason == "" {
		return api.Algorithm{}, &sandbox.Error{Op: "algorithm: withdraw", Kind: sandbox.Conflict, Object: string(id), Detail: "the statement is about this algorithm, with a reason"}
	}
	var rec algorithmRecord
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		cur, rev, err := n.docs.algorithms.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if !cur.Withdrawn.IsZero() {
			return &sandbox.Error{Op: "algorithm: withdraw", Kind: sandbox.Conflict, Object: string(id), Detail: "it was withdrawn before"}
		}
		cur.Withdrawn, cur.Reason = tx.at, s.Reason
		rec = cur
		tx.record(attest.AlgorithmWithdrawn, "algorithm/"+string(id), attest.AlgorithmWithdrawnBody{Statement: st}, agency, everyone)
		_, err = n.docs.algorithms.Update(ctx, string(id), rev, cur.Approval.Name, algorithmWithdrawn, cur)
		return err
	})
	return shownAlgorithm(rec, true), err
}

func shownAlgorithm(r algorithmRecord, whole bool) api.Algorithm {
	out := api.Algorithm{ID: algorithmID(r.Approval.Name, r.Approval.Version), Name: r.Approval.Name, Version: r.Approval.Version, Image: r.Approval.Image, By: r.By,
		Approved: r.Approval.At, Withdrawn: r.Withdrawn, Reason: r.Reason}
	if m, err := manifest.Decode(r.Manifest); err == nil {
		out.Title, out.Contract, out.Author = m.Title, string(m.Contract), m.Author
	}
	if whole {
		out.Manifest, out.Graph = r.Manifest, r.Graph
	}
	return out
}

// ListAlgorithms lists all that were approved, those withdrawn since too.
func (n *Node) ListAlgorithms(ctx context.Context, _ api.Caller) ([]api.Algorithm, error) {
	rows, err := n.docs.algorithms.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []api.Algorithm{}
	for _, r := range rows {
		out = append(out, shownAlgorithm(r.Value, false))
	}
	return out, nil
}

// GetAlgorithm gives one with its manifest and graph.
func (n *Node) GetAlgorithm(ctx context.Context, _ api.Caller, id sandbox.AlgorithmID) (api.Algorithm, error) {
	r, _, err := n.docs.algorithms.Get(ctx, string(id))
	return shownAlgorithm(r, true), err
}

// compiled makes the questions of an approved algorithm, or says why there are none. The graph is the one whose digest the agency signed: the
// image does not run again.
func (n *Node) compiled(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, u api.AlgorithmUse) (*compile.Plan, algorithmRecord, []sandbox.Reason, error) {
	rec, why, err := n.approved(ctx, id)
	if err != nil || len(why) > 0 {
		return nil, rec, why, err
	}
	if d := sm.Sum(rec.Graph); !bytes.Equal(d[:], rec.Approval.Graph) {
		return nil, rec, nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Tampered, Object: string(id), Detail: "the graph that is kept is the one that was approved"}
	}
	g, types, err := algo.Decode(rec.Graph)
	if err != nil {
		return nil, rec, nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Tampered, Object: string(id), Err: err}
	}
	asked := compile.Asked{Scenario: u.Scenario, Purpose: u.Purpose, Bind: map[string]sandbox.DatasetID{}}
	for _, b := range u.Bind {
		if _, twice := asked.Bind[b.Input]; twice || sandbox.CheckID("dataset", string(b.Dataset)) != nil {
			return nil, rec, nil, &sandbox.Error{Op: "algorithm: ask", Kind: sandbox.Invalid, Object: "bind", Detail: "an input is bound once, to a dataset's identifier"}
		}
		asked.Bind[b.Input] = b.Dataset
	}
	// Of the catalogue it learns what its scenario lists, and that as a party of it.
	in := map[sandbox.DatasetID]catalog.Dataset{}
	sc, err := n.liveScenario(ctx, c, u.Scenario)
	if err != nil {
		return nil, rec, nil, err
	}
	if sc != nil {
		var ids []sandbox.DatasetID
		for _, item := range sc.List {
			ids = append(ids, item.Dataset)
		}
		if in, err = n.described(ctx, ids); err != nil {
			return nil, rec, nil, err
		}
	}
	plan, reasons := compile.Compile(g, types, asked, in)
	if len(reasons) > 0 {
		return nil, rec, reasons, nil
	}
	for _, q := range plan.Questions {
		if q.Class != sandbox.ClassA && (sc == nil || !slices.Contains(sc.Classes, q.Class)) {
			return nil, rec, []sandbox.Reason{{Code: policy.CodeClass, Rule: fmt.Sprintf("the scenario was granted for other classes of output than %s", q.Class),
				Article: articleAlgorithm, Change: fmt.Sprintf("file a scenario that asks for class %s", q.Class)}}, nil
		}
	}
	return plan, rec, nil, nil
}

// classOf is the class of all that a Program asks: D of one that reveals models alone. Each question has its own.
func classOf(p *compile.Plan) sandbox.Class {
	if p == nil || slices.ContainsFunc(p.Questions, func(q compile.Question) bool { return q.Class != sandbox.ClassD }) {
		return sandbox.ClassA
	}
	return sandbox.ClassD
}

// ExplainAlgorithm explains each question of an algorithm, before any key opens and without charge.
func (n *Node) ExplainAlgorithm(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, u api.AlgorithmUse) (api.AlgorithmExplanation, error) {
	if is, err := n.isMap(ctx, id); err != nil || is {
		if err != nil {
			return api.AlgorithmExplanation{}, err
		}
		return n.explainMap(ctx, c, id, u)
	}
	out := api.AlgorithmExplanation{Algorithm: id, Questions: []api.Explanation{}}
	if rec, m, err := n.opaqueOf(ctx, id); err != nil {
		return out, err
	} else if rec != nil {
		return n.explainOpaque(ctx, c, id, *rec, m, u)
	}
	plan, _, reasons, err := n.compiled(ctx, c, id, u)
	if err != nil {
		return out, err
	}
	out.Decision = sandbox.Decision{Allow: len(reasons) == 0, Engine: sandbox.Domain, Class: classOf(plan), Reasons: reasons}
	if plan == nil {
		return out, nil
	}
	for _, q := range plan.Questions {
		x, err := n.explain(ctx, c, q.Spec, q.Class)
		if err != nil {
			return out, err
		}
		out.Decision.Allow = out.Decision.Allow && x.Decision.Allow
		for _, r := range x.Decision.Reasons {
			if !slices.Contains(out.Decision.Reasons, r) {
				out.Decision.Reasons = append(out.Decision.Reasons, r)
			}
		}
		out.Questions = append(out.Questions, x)
	}
	out.Plan, err = json.Marshal(plan)
	return out, err
}

// AskAlgorithm asks the questions of an algorithm in their order, each like any other: decide, charge, compute, gate, review. When one of them
// would be refused, none is asked.
func (n *Node) AskAlgorithm(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, u api.AlgorithmUse) (api.AlgorithmAnswer, error) {
	if is, err := n.isMap(ctx, id); err != nil || is {
		if err != nil {
			return api.AlgorithmAnswer{}, err
		}
		return n.askMap(ctx, c, id, u)
	}
	out := api.AlgorithmAnswer{Algorithm: id, Questions: []api.Question{}}
	if rec, _, err := n.opaqueOf(ctx, id); err != nil {
		return out, err
	} else if rec != nil {
		return n.askOpaque(ctx, c, id, u)
	}
	plan, rec, reasons, err := n.compiled(ctx, c, id, u)
	if err != nil {
		return out, err
	}
	if plan != nil {
		x, err := n.ExplainAlgorithm(ctx, c, id, u)
		if err != nil {
			return out, err
		}
		reasons = x.Decision.Reasons
	}
	out.Decision = sandbox.Decision{Allow: len(reasons) == 0, Engine: sandbox.Domain, Class: classOf(plan), Reasons: reasons}
	if len(reasons) > 0 {
		b := attest.AlgorithmRefusedBody{Name: rec.Approval.Name, Version: rec.Approval.Version, Image: rec.Approval.Image, Rule: reasons[0].Code}
		return out, n.refuseAlgorithm(ctx, c, b)
	}
	body := attest.AlgorithmAskedBody{Name: rec.Approval.Name, Version: rec.Approval.Version, Graph: rec.Approval.Graph, Scenario: u.Scenario}
	if out.Plan, err = json.Marshal(plan); err != nil {
		return out, err
	}
	var failed error
	for _, q := range plan.Questions {
		got, err := n.ask(ctx, c, q.Spec, q.Class)
		if err != nil {
			failed = err
			break
		}
		body.Questions = append(body.Questions, got.ID)
		out.Questions = append(out.Questions, got)
	}
	if len(body.Questions) > 0 { // also where a later one failed
		err = n.change(ctx, c.Identity.ID, func(_ context.Context, tx *change) error {
			tx.record(attest.AlgorithmAsked, "algorithm/"+string(id), body, agency, toParty(c.Party.ID), unitsOf(u.Scenario))
			return nil
		})
	}
	return out, errors.Join(failed, err)
}
