package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/dataset"
	"github.com/opdomain/opdomain/sandbox/egress/mark"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
	"github.com/opdomain/opdomain/sandbox/store"
)

// leavingRecord is what a question of class E asks to leave. The same plan over the same version gives the same rows, whichever view holds
// them, so the view is not part of what makes two questions the same.
type leavingRecord struct {
	View   sandbox.DatasetID
	Plan   []byte // digest
	Scheme *mark.Scheme
	Need   policy.Demands
}

// canonical is what makes two questions of an asker over the same versions the same.
func (q *questionRecord) canonical() []byte {
	if q.Joint != nil {
		return q.Joint.canonical()
	}
	if q.Opaque != nil {
		return q.Opaque.canonical(q.Spec.Scenario)
	}
	if q.Decision.Class == sandbox.ClassD { // its answer and its model are two questions
		return sm.Frame([]byte("opdomain/model/v1"), q.Spec.Canonical())
	}
	if q.Map != nil {
		return canonicalMap(q.Spec, *q.Map)
	}
	if q.Leave == nil {
		return q.List.Canonical(q.Spec)
	}
	b, err := json.Marshal(struct {
		Class    sandbox.Class      `json:"class"`
		Scenario sandbox.ScenarioID `json:"scenario"`
		Plan     []byte             `json:"plan"`
	}{sandbox.ClassE, q.Spec.Scenario, q.Leave.Plan})
	if err != nil {
		panic("node: canonical question: " + err.Error()) // texts only
	}
	return b
}

// leavingView finds a sealed view that was made for the caller and may leave.
func (n *Node) leavingView(ctx context.Context, c api.Caller, id sandbox.DatasetID) (viewRecord, error) {
	v, _, err := n.docs.views.Get(ctx, string(id))
	if err == nil && v.Partner != c.Party.ID {
		err = &sandbox.Error{Op: "egress: submit", Kind: sandbox.NotFound, Object: string(id)}
	}
	if err != nil {
		return v, err
	}
	fail := func(k sandbox.Kind, rule, hint string) (viewRecord, error) {
		return v, &sandbox.Error{Op: "egress: submit", Kind: k, Object: string(id), Detail: rule, Hint: hint}
	}
	switch {
	case !v.Erased.IsZero() || v.Key == "":
		return fail(sandbox.Expired, "the view was erased with its use", "have the unit make it again: the same plan over the same version gives the same rows")
	case v.Consent != "":
		return fail(sandbox.Denied, "a view on one person's consent is no data set", "ask for the record as class B")
	case v.Leave == nil || v.Signature == nil:
		return fail(sandbox.Denied, "views leave by a plan that says so, signed by the owner", "have the unit sign a version of the plan with a section leave")
	}
	return v, n.planSigned(ctx, v.Unit, v.Leave, *v.Signature)
}

// leavingAgain finds the view of a question that was asked, or another by the same plan over the same version: it holds the same rows.
func (n *Node) leavingAgain(ctx context.Context, c api.Caller, q *questionRecord) (viewRecord, error) {
	v, err := n.leavingView(ctx, c, q.Leave.View)
	if sandbox.KindOf(err) != sandbox.Expired {
		return v, err
	}
	rows, lerr := n.docs.views.List(ctx, store.Filter{State: viewSealed})
	if lerr != nil {
		return v, lerr
	}
	for _, r := range rows {
		if x := r.Value; x.Partner == c.Party.ID && x.Leave != nil && x.Scenario == q.Spec.Scenario && x.Source == q.Inputs[0] {
			if digest := x.Leave.Digest(); bytes.Equal(digest[:], q.Leave.Plan) {
				q.Leave.View = sandbox.DatasetID(r.ID)
				return n.leavingView(ctx, c, q.Leave.View)
			}
		}
	}
	return v, err
}

// decideDataset decides a question of class E before any key opens.
func (n *Node) decideDataset(ctx context.Context, c api.Caller, v viewRecord, at time.Time) (*grant.Scenario, policy.Facts, sandbox.Decision, policy.Demands, error) {
	f, sc, err := n.facts(ctx, c, query.Spec{Scenario: v.Scenario, Inputs: []query.Input{{Alias: "d", Dataset: v.Source.Dataset}}}, at)
	if err != nil {
		return nil, f, sandbox.Decision{}, policy.Demands{}, err
	}
	decision, need := policy.DecideDataset(f, policy.DatasetQuestion{Scenario: v.Scenario, Purpose: v.Leave.Purpose, Dataset: v.Source.Dataset, Columns: v.Reads})
	if _, why := v.Leave.Parts(v.Columns); len(why) > 0 {
		decision.Allow, decision.Reasons = false, append(decision.Reasons, why...)
	}
	return sc, f, decision, need, nil
}

// AskDataset submits a view that was made for the asker, to leave as class E; see api.Gatekeeper. The gate reads the view itself.
func (n *Node) AskDataset(ctx context.Context, c api.Caller, id sandbox.DatasetID) (api.Question, error) {
	if err := n.endLapsed(ctx); err != nil {
		return api.Question{}, err
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	at := n.now()
	v, err := n.leavingView(ctx, c, id)
	if err != nil {
		return api.Question{}, err
	}
	sc, f, decision, need, err := n.decideDataset(ctx, c, v, at)
	if err != nil {
		return api.Question{}, err
	}
	digest := v.Leave.Digest()
	q := questionRecord{Asker: c.Identity.ID, Party: c.Party.ID, Spec: query.Spec{Scenario: v.Scenario, Purpose: v.Leave.Purpose}, Inputs: []sandbox.InputVersion{v.Source}, Decision: decision, Asked: at,
		State: stateRefused, Leave: &leavingRecord{View: id, Plan: digest[:], Scheme: schemeOf(v), Need: need}}
	if !decision.Allow {
		return n.refuse(ctx, c, q)
	}
	prior, err := n.identify(ctx, &q, at)
	if err != nil {
		return api.Question{}, err
	}
	if prior != nil {
		if prior.State != stateComputing {
			return n.seen(*prior, at), nil
		}
		leave := q.Leave // its view, which lives
		q = *prior
		q.Leave = leave
	} else if err := n.standing(ctx, q.Inputs); err != nil {
		return api.Question{}, err
	} else if err := n.accept(ctx, c, sc, query.Derivation{}, f.Datasets, &q); err != nil {
		return api.Question{}, err
	}
	if err := n.submitDataset(ctx, c, &q, v, nil); err != nil {
		return api.Question{}, err
	}
	return n.seen(q, at), nil
}

// resubmitDataset decides and checks a returned data set anew, over the view it was of or a new one by the same plan over the same version.
func (n *Node) resubmitDataset(ctx context.Context, c api.Caller, q *questionRecord, st attest.Statement, at time.Time) error {
	v, err := n.leavingAgain(ctx, c, q)
	if err != nil {
		return err
	}
	_, _, decision, need, err := n.decideDataset(ctx, c, v, at)
	if err != nil {
		return err
	}
	if !decision.Allow {
		return &sandbox.Error{Op: "resubmit", Kind: sandbox.Denied, Object: string(q.ID), Detail: "the data set is no longer admitted: " + first(reasonCodes(decision), "policy"), Hint: "submit it again; the refusal says what would pass"}
	}
	q.Leave.Need = need
	return n.submitDataset(ctx, c, q, v, &st)
}

func (n *Node) submitDataset(ctx context.Context, c api.Caller, q *questionRecord, v viewRecord, st *attest.Statement) error {
	params := n.thresholds(query.Derivation{})
	return n.outgoing(ctx, c, q, st, params, func(ctx context.Context) gated { return n.gateDataset(ctx, q, v, params) })
}

// crossable names the ledger's entries of other data sets over a dataset that have been before anybody, whoever their recipients are.
func (n *Node) crossable(ctx context.Context, q *questionRecord, set sandbox.DatasetID) ([]sandbox.QuestionID, error) {
	rows, err := n.docs.questions.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	var out []sandbox.QuestionID
	for _, r := range rows {
		x := r.Value
		if x.Leave != nil && slices.ContainsFunc(x.Inputs, func(in sandbox.InputVersion) bool { return in.Dataset == set }) {
			out = append(out, x.entries()...)
		}
	}
	return append(out, q.Ledger...), nil
}

// gateDataset reads the view, checks and marks the asker's copy, and compares its classes with everything that left before.
func (n *Node) gateDataset(ctx context.Context, q *questionRecord, v viewRecord, params egress.Params) (out gated) {
	fail := func(err error) gated {
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	parts, why := v.Leave.Parts(v.Columns)
	if len(why) > 0 {
		return gated{cause: why[0].Rule}
	}
	leave := v.Leave.Leave
	need := q.Leave.Need
	t := dataset.Terms{Question: q.ID, Recipient: q.Asker, Grade: need.Grade, KAnon: need.KAnon, Marked: need.Mark, K: max(leave.K, params.MinSubjects), L: max(leave.L, 1), Rows: leave.Rows, Bytes: leave.Bytes}
	if leave.L == 0 {
		t.L = 2
	}
	var sensitive []string
	for i, c := range v.Columns {
		x := dataset.Column{Name: c.Name, Role: scan.Label, Quasi: parts[i] == desensitize.Quasi, Sensitive: parts[i] == desensitize.Sensitive}
		switch {
		case parts[i] == desensitize.Token:
			x.Role = scan.Token
		case c.Type == catalog.Money || c.Type == catalog.Number:
			x.Role = scan.Amount
		}
		if x.Sensitive {
			sensitive = append(sensitive, c.Name)
		}
		t.Columns = append(t.Columns, x)
	}
	most := scan.Standard().Rows
	if v.Rows > int64(most) {
		return gated{cause: fmt.Sprintf("%d rows, at most %d leave at once; have the plan sample them", v.Rows, most)}
	}
	var err error
	if q.Leave.Scheme != nil {
		if t.Code, err = n.markCode(ctx, *q.Leave.Scheme); err != nil {
			return fail(err)
		}
	}
	rows, who, err := run.Rows(ctx, n.mem, n.vault, q.Leave.View, v.Columns)
	if err != nil {
		return fail(fmt.Errorf("not read: %w", err))
	}
	if t.Source, err = n.shingles(ctx, v, sensitive); err != nil {
		return fail(err)
	}
	if err := n.populations.load(ctx, n, false); err != nil {
		return fail(err)
	}
	checked, err := dataset.Check(t, rows, who)
	if err != nil {
		return fail(err)
	}
	name := q.ID
	if k := len(q.entries()); k > 0 {
		name = sandbox.QuestionID(fmt.Sprintf("%s.r%d", q.ID, k))
	}
	answer := checked.Answer(v.Source)
	entry, err := n.ledger.Left(name, answer, make([]bool, len(answer.Cells)))
	if err != nil {
		return fail(err)
	}
	compared := n.populations.book.Compare(entry, params)
	if compared.Finding != nil {
		return gated{finding: compared.Finding, cause: "it isolates too few people against earlier copies and answers"}
	}
	earlier, err := n.crossable(ctx, q, v.Source.Dataset)
	if err != nil {
		return fail(err)
	}
	if f := n.populations.book.Crossed(entry, earlier, t.K); f != nil {
		return gated{finding: f, cause: "its classes and those of an earlier copy have too few people in common"}
	}
	made := checked.Made
	made.Items = append(made.Items, egress.ItemResult{ID: "plan", Pass: true, ZH: fmt.Sprintf("脱敏方案 %s 第 %d 版，数源单位 %s 签署", v.Plan, v.PlanVersion, v.Unit), EN: fmt.Sprintf("plan %s version %d, signed by %s of %s", v.Plan, v.PlanVersion, v.Signature.Signer, v.Unit)},
		egress.ItemResult{ID: "ledger", Pass: true, ZH: "与既往全部出域结果比对，未孤立任何少数人", EN: "against every earlier result it isolates nobody" + suffix(compared.Uncertified)},
		egress.ItemResult{ID: "identifiers", Pass: true, ZH: fmt.Sprintf("扫描 %d 行，未发现标识符", len(rows)), EN: fmt.Sprintf("no identifier found in %d rows", len(rows))})
	product, err := egress.NewProduct(made) // scans
	if err != nil {
		return fail(err)
	}
	// Only what comes before reviewers is kept: what its list withholds was shown to nobody.
	for _, x := range made.Items {
		if !x.Pass {
			return gated{product: product}
		}
	}
	if err := n.populations.keep(entry); err != nil {
		return fail(err)
	}
	out = gated{product: product, entry: name, uncertified: compared.Uncertified}
	if need.Owner {
		out.owners = []sandbox.PartyID{v.Unit}
	}
	return out
}

func suffix(uncertified string) string {
	if uncertified == "" {
		return ""
	}
	return "; not certified: " + uncertified
}

// shingles fingerprints the source's values of the sensitive columns; nil where they are fewer than a shingle is wide.
func (n *Node) shingles(ctx context.Context, v viewRecord, sensitive []string) (scan.Source, error) {
	width := scan.Strict().Width
	if len(sensitive) < width {
		return nil, nil
	}
	set, _, err := n.docs.datasets.Get(ctx, string(v.Source.Dataset))
	if err != nil {
		return nil, err
	}
	var columns []catalog.Column
	for _, name := range sensitive {
		c, ok := set.Column(name)
		if !ok {
			return nil, &sandbox.Error{Op: "egress: dataset", Kind: sandbox.Conflict, Object: string(v.Source.Dataset), Detail: "its source no longer has a column of the view"}
		}
		columns = append(columns, *c)
	}
	snap, err := n.vault.Snapshot(v.Source.Dataset, v.Source.Version)
	if err != nil {
		return nil, err
	}
	key := make([]byte, 32)
	if _, err := io.ReadFull(n.cfg.Rand, key); err != nil {
		return nil, &sandbox.Error{Op: "egress: dataset", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	s, err := scan.NewShingles(key, sensitive, int(max(snap.Rows, 1)), width)
	if err != nil {
		return nil, err
	}
	err = run.EachRow(ctx, n.mem, n.vault, snap, columns, func(row []string, _ sandbox.Pseudonym) error {
		for i := range row {
			row[i] = egress.Label(row[i])
		}
		s.Add(row)
		return nil
	})
	return s, err
}

// schemeOf is how copies by a plan are marked: the same for every recipient, so that their codes are compared. nil: not marked.
func schemeOf(v viewRecord) *mark.Scheme {
	if v.Leave == nil || v.Leave.Leave == nil || len(v.Leave.Leave.Mark) == 0 {
		return nil
	}
	leave := v.Leave.Leave
	s := mark.Scheme{Dataset: fmt.Sprintf("%s %s %d", v.Source.Dataset, v.Leave.ID, v.Leave.Version)}
	for _, c := range v.Columns {
		quasi := slices.Contains(leave.Quasi, c.Name)
		if !quasi && !slices.Contains(leave.Sensitive, c.Name) {
			continue // a token of its own per recipient places nothing
		}
		x := mark.Column{Name: c.Name, Quasi: quasi}
		if i := slices.IndexFunc(leave.Mark, func(m desensitize.Marked) bool { return m.Column == c.Name }); i >= 0 {
			x.Step, x.Type = leave.Mark[i].Step, mark.Number
			if c.Type == catalog.Date {
				x.Type = mark.Date
			}
		}
		s.Columns = append(s.Columns, x)
	}
	return &s
}

const markSecret = "mark"

// markCode gives the codes of a scheme. The key is a random one of the domain, wrapped like its others, made with the first copy.
func (n *Node) markCode(ctx context.Context, s mark.Scheme) (*mark.Code, error) {
	has, err := n.keys.HasSecret(markSecret)
	if err != nil {
		return nil, err
	}
	if !has {
		copies, err := n.copies(ctx)
		if err != nil {
			return nil, err
		}
		if len(copies) > 0 { // another key would name nobody
			return nil, &sandbox.Error{Op: "mark", Kind: sandbox.Tampered, Object: "secret-" + markSecret + ".key", Detail: "the key of the marks is missing", Hint: "restore it from a backup"}
		}
	}
	k, err := n.keys.Secret(markSecret)
	if err != nil {
		return nil, err
	}
	key, err := k.Derive(mark.KeySize, "opdomain", n.desc.Domain, "recipient-mark")
	if err != nil {
		return nil, err
	}
	return mark.New(key, s)
}

// marked is a scheme with everybody who was sent a copy under it.
type markedCopies struct {
	scheme     mark.Scheme
	dataset    sandbox.DatasetID
	recipients []sandbox.IdentityID
}

// copies lists what was sent marked, by scheme. Who was sent a copy that was revoked or has expired had it.
func (n *Node) copies(ctx context.Context) (out []markedCopies, err error) {
	rows, err := n.docs.questions.List(ctx, listState(stateReview))
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		q := r.Value
		if q.Leave == nil || q.Leave.Scheme == nil || q.Release == "" {
			continue
		}
		i := slices.IndexFunc(out, func(m markedCopies) bool {
			return m.scheme.Dataset == q.Leave.Scheme.Dataset && slices.Equal(m.scheme.Columns, q.Leave.Scheme.Columns)
		})
		if i < 0 {
			i, out = len(out), append(out, markedCopies{scheme: *q.Leave.Scheme, dataset: q.Inputs[0].Dataset})
		}
		if !slices.Contains(out[i].recipients, q.Review.Recipient) {
			out[i].recipients = append(out[i].recipients, q.Review.Recipient)
		}
	}
	return out, nil
}

const pico = 1_000_000_000_000

// TraceCopy holds a copy that turned up against everybody who was sent one; see api.Gatekeeper. The bound of false accusation is over
// all recipients of all schemes that were tried.
func (n *Node) TraceCopy(ctx context.Context, _ api.Caller, r api.CopyTrace) (api.TracedCopy, error) {
	all, err := n.copies(ctx)
	if err != nil {
		return api.TracedCopy{}, err
	}
	if r.Dataset != "" {
		all = slices.DeleteFunc(all, func(m markedCopies) bool { return m.dataset != r.Dataset })
	}
	out := api.TracedCopy{Bound: int64(mark.FalseAccusation * pico), Suspects: []api.TraceSuspect{}}
	for _, m := range all {
		code, err := n.markCode(ctx, m.scheme)
		if err != nil {
			return out, err
		}
		t, err := code.Tracer(r.Header)
		if sandbox.KindOf(err) == sandbox.Invalid { // none of its columns
			continue
		}
		if err != nil {
			return out, err
		}
		for _, row := range r.Rows {
			t.Add(row)
		}
		x, err := t.Trace(m.recipients)
		if err != nil {
			return out, err
		}
		out.Tried++
		for _, s := range x.Suspects {
			out.Suspects = append(out.Suspects, api.TraceSuspect{Recipient: s.Recipient, Dataset: m.dataset, Of: strings.TrimSpace(m.scheme.Dataset), Positions: x.Positions, Agree: s.Agree, Chance: int64(math.Ceil(s.Chance * pico))})
		}
	}
	for i := range out.Suspects {
		s := &out.Suspects[i]
		s.Chance = min(pico, s.Chance*int64(out.Tried))
		s.Accused = s.Chance <= out.Bound
	}
	slices.SortStableFunc(out.Suspects, func(a, b api.TraceSuspect) int { return cmp.Compare(a.Chance, b.Chance) })
	if out.Tried == 0 {
		return out, &sandbox.Error{Op: "egress: trace", Kind: sandbox.NotFound, Object: "copies", Detail: "no marked data set that left has a column of the copy", Hint: "give its columns their names"}
	}
	return out, nil
}
