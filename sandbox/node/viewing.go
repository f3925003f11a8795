package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Viewer = (*Node)(nil)

const (
	gradeRule   = "龙华区实施方案 三(四), 六(三): 三级及以上与个人信息限定计算方式"
	routeRule   = "光明区管理办法 第二十条: 脱敏或者经个人授权"
	listArticle = "一场景一清单一授权"
)

// basis is what a view rests on: for whom it is, and on route B whose record it is of.
type basis struct {
	keys    desensitize.Keys
	allowed *desensitize.Authorisation
	subject *sandbox.Pseudonym
	column  string
	number  string
}

// basis finds what a view rests on at a time. What is missing is the Decision.
func (n *Node) basis(ctx context.Context, c api.Caller, set catalog.Dataset, r ViewRequest, at time.Time) (b basis, d sandbox.Decision, err error) {
	no := func(code, rule, article, change string) {
		d.Reasons = append(d.Reasons, sandbox.Reason{Code: code, Rule: rule, Article: article, Change: change})
	}
	if r.Scenario == "" && r.Partner == "" && r.Consent == "" {
		return b, sandbox.Decision{Allow: true}, nil
	}
	if r.Scenario == "" || r.Partner == "" {
		no("view.for-whom", "a view for somebody names the scenario and the party of it", listArticle, "name both scenario and partner, or neither")
		return b, d, nil
	}
	sc, err := n.liveScenario(ctx, c, r.Scenario)
	if err != nil {
		return b, d, err
	}
	switch {
	case sc == nil || !sc.Live(at):
		no(policy.CodeScenario, "a view is for a scenario whose grant is in force", listArticle, "make it once the grant is issued, and before it ends")
	case !slices.Contains(append(append([]sandbox.PartyID{sc.Operator}, sc.Partners...), sc.Insurers...), r.Partner):
		no(policy.CodeParty, "a view is for an operator, partner or insurer of its scenario", listArticle, "name one of them")
	case r.Plan.Purpose != sc.Purpose:
		no(policy.CodePurpose, "the plan's purpose is the scenario's", listArticle, fmt.Sprintf("have the unit sign a plan for purpose %s", sc.Purpose))
	default:
		if _, listed := sc.Item(set.ID); !listed {
			no(policy.CodeDataset, "a view is of a dataset of its scenario's list", listArticle, "have the dataset listed, or name another scenario")
		}
	}
	if len(d.Reasons) > 0 {
		return b, d, nil
	}
	b.keys = scopedKeys{n.viewKey, r.Scenario, r.Partner}
	if r.Consent == "" {
		return b, sandbox.Decision{Allow: true}, nil
	}
	return n.authorised(ctx, set, r, at, b)
}

// authorised finds the record that a receipt is about. A view is no answer: it takes none of the receipt's uses, but there must be
// one left.
func (n *Node) authorised(ctx context.Context, set catalog.Dataset, r ViewRequest, at time.Time, b basis) (basis, sandbox.Decision, error) {
	rec, _, err := n.docs.consents.Get(ctx, string(r.Consent))
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return b, sandbox.Decision{}, err
	}
	receipt := rec.Record.Receipt
	check := consent.ClaimCheck{Subject: receipt.Subject, Grantee: r.Partner, Scenario: r.Scenario, Purpose: r.Plan.Purpose, Dataset: set.ID, At: at, Claim: receipt.Claim}
	for _, s := range r.Plan.Columns {
		if s.Op != desensitize.Drop {
			check.Fields = append(check.Fields, s.Column)
		}
	}
	if r.Plan.Rest == desensitize.Pass {
		for _, c := range set.Columns {
			if !slices.ContainsFunc(r.Plan.Columns, func(s desensitize.Step) bool { return s.Column == c.Name }) {
				check.Fields = append(check.Fields, c.Name)
			}
		}
	}
	if reason, ok := consent.Check(rec.Record, check); !ok {
		return b, sandbox.Decision{Reasons: []sandbox.Reason{reason}}, nil
	}
	if set.RecordKey == "" {
		return b, sandbox.Decision{Reasons: []sandbox.Reason{{Code: "view.no-record-key", Rule: "a receipt is about one record, and the dataset has no record key to find it by", Article: routeRule,
			Change: "have the unit name the dataset's record key"}}}, nil
	}
	who, _, err := n.docs.subjects.Get(ctx, string(receipt.Subject))
	if err != nil {
		return b, sandbox.Decision{}, err
	}
	b.allowed = &desensitize.Authorisation{Consent: receipt.ID, Columns: receipt.Fields}
	b.subject, b.column, b.number = &who.Pseudonym, set.RecordKey, rec.Claim
	return b, sandbox.Decision{Allow: true}, nil
}

// compileView compiles the plan and holds every column it opens to the policy's matrix and the district's limit: a view is made
// by the domain's own code, which opens no more than an engine may.
func (n *Node) compileView(r ViewRequest, set catalog.Dataset, b basis) (*desensitize.Pipeline, sandbox.Decision) {
	pipe, decision := desensitize.Compile(r.Plan, set, desensitize.Options{Keys: b.keys, Seed: n.viewKey, Authorised: b.allowed})
	if !decision.Allow {
		return nil, decision
	}
	limit := n.profile.Engine.MaxGradeP1
	if n.desc.Hosting == sandbox.P2 {
		limit = n.profile.Engine.MaxGradeP2
	}
	var reasons []sandbox.Reason
	for _, name := range pipe.Reads() {
		c, ok := set.Column(name)
		if !ok {
			continue // the plan was compiled against these columns
		}
		rule, article := "", gradeRule
		if m := policy.Matrix(sandbox.Domain, sandbox.ClassA, n.desc.Hosting, c.Effective(), c.Personal); !m.Allow {
			rule = m.Rule
		} else if c.Effective() > limit.Value {
			rule, article = fmt.Sprintf("the district opens columns up to grade %d here", limit.Value), limit.Article
		}
		if rule != "" {
			reasons = append(reasons, sandbox.Reason{Code: policy.CodeGrade, Column: string(set.ID) + "." + name, Rule: rule, Article: article, Change: "drop the column in the plan"})
		}
	}
	if len(reasons) > 0 {
		return nil, sandbox.Decision{Reasons: reasons}
	}
	return pipe, decision
}

// scopedKeys are the token keys of one scenario and partner, by the names a plan gives them.
type scopedKeys struct {
	secret   *keys.Key
	scenario sandbox.ScenarioID
	partner  sandbox.PartyID
}

// Key derives the key of a name.
func (k scopedKeys) Key(name string) (token.Key, bool) {
	out, err := token.DeriveKey(k.secret, token.Scope{Scenario: k.scenario, Partner: k.partner, Kind: name})
	return out, err == nil
}

// MakeView makes a view as a request asks; see api.Viewer.
func (n *Node) MakeView(ctx context.Context, c api.Caller, r api.ViewRequest) (api.ViewOutcome, error) {
	set, _, err := n.docs.datasets.Get(ctx, string(r.Dataset))
	if err == nil && set.Unit != c.Party.ID && c.Party.Role != sandbox.Agency {
		err = notRegistered(r.Dataset)
	}
	if err != nil {
		return api.ViewOutcome{}, err
	}
	p, s, err := signedPlan(r.Plan, r.Signature)
	if err == nil {
		err = n.endLapsed(ctx)
	}
	if err != nil {
		return api.ViewOutcome{}, err
	}
	v, d, err := n.SealView(context.WithoutCancel(ctx), c, ViewRequest{Use: r.Use, Dataset: r.Dataset, Version: r.Version, Plan: p, Signature: s, Scenario: r.Scenario, Partner: r.Partner, Consent: r.Consent})
	if err != nil {
		return api.ViewOutcome{}, err
	}
	if !d.Allow {
		for _, reason := range d.Reasons {
			n.cfg.Metrics.Refused(reason.Code)
		}
		return api.ViewOutcome{Decision: d}, nil
	}
	return api.ViewOutcome{Decision: d, View: &v}, nil
}

// signedPlan reads a plan and its signature as they are sent.
func signedPlan(text string, signature []byte) (*desensitize.Plan, desensitize.Signature, error) {
	p, err := desensitize.Parse("plan", []byte(text))
	if err != nil {
		return nil, desensitize.Signature{}, err
	}
	var s desensitize.Signature
	if err := strictJSON(signature, &s); err != nil {
		return nil, s, &sandbox.Error{Op: "plan", Kind: sandbox.Invalid, Object: "signature", Detail: "the file that opdomain desensitize sign writes"}
	}
	return p, s, nil
}

// Views lists views, newest last; see api.Viewer.
func (n *Node) Views(ctx context.Context, c api.Caller) ([]api.View, error) {
	if err := n.endLapsed(ctx); err != nil {
		return nil, err
	}
	f := store.Filter{}
	if !supervises(c.Party) {
		f.Owner = string(c.Party.ID)
	}
	rows, err := n.docs.views.List(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]api.View, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.Value.seen(sandbox.DatasetID(r.ID), r.State))
	}
	slices.SortStableFunc(out, func(a, b api.View) int { return a.At.Compare(b.At) })
	return out, nil
}

// EndView erases a view; see api.Viewer.
func (n *Node) EndView(ctx context.Context, c api.Caller, id sandbox.DatasetID) (api.View, error) {
	r, _, err := n.docs.views.Get(ctx, string(id))
	if err == nil && r.Unit != c.Party.ID && c.Party.Role != sandbox.Agency {
		err = &sandbox.Error{Op: "view", Kind: sandbox.NotFound, Object: string(id)}
	}
	if err != nil {
		return api.View{}, err
	}
	if err := n.EraseView(context.WithoutCancel(ctx), c.Identity.ID, id); err != nil {
		return api.View{}, err
	}
	if r, _, err = n.docs.views.Get(ctx, string(id)); err != nil {
		return api.View{}, err
	}
	return r.seen(id, viewErased), nil
}

// endLapsed ends the views whose consent or grant is over by now. Nothing reads a view between two calls of this interface, so that
// they are looked at when it is called.
func (n *Node) endLapsed(ctx context.Context) error {
	n.destroying.Lock()
	defer n.destroying.Unlock()
	rows, err := n.docs.views.List(ctx, store.Filter{State: viewSealed})
	if err != nil {
		return err
	}
	at := n.now()
	for _, r := range rows {
		over := false
		if v := r.Value; v.Consent != "" {
			rec, _, err := n.docs.consents.Get(ctx, string(v.Consent))
			if err != nil {
				return err
			}
			over = rec.Record.State != consent.Given || !at.Before(rec.Record.Receipt.NotAfter)
		}
		if v := r.Value; v.Scenario != "" && !over {
			sc, _, err := n.docs.scenarios.Get(ctx, string(v.Scenario))
			if err != nil {
				return err
			}
			over = !sc.Live(at)
		}
		if over {
			if err := n.eraseView(context.WithoutCancel(ctx), domainIdentity, sandbox.DatasetID(r.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// eraseViewsOn ends the views that rest on a consent which was revoked.
func (n *Node) eraseViewsOn(ctx context.Context, id sandbox.ConsentID) error {
	n.destroying.Lock()
	defer n.destroying.Unlock()
	return n.eraseViewsOf(context.WithoutCancel(ctx), domainIdentity, func(v viewRecord) bool { return v.Consent == id })
}
