package node

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Codes of refusals of an Opaque algorithm before any key opens, beside those of the policy.
const (
	codeOpaqueInput = "opaque.input" // 输入不符
	codeOpaqueView  = "opaque.view"  // 视图不可用
	codeLayer       = "engine.layer" // 隔离层缺失
)

// opaqueRecord is what a question asks of an Opaque algorithm. The same plan over the same version gives the same rows, whichever view holds them, so the view is
// not part of what makes two questions the same.
type opaqueRecord struct {
	Algorithm sandbox.AlgorithmID
	Manifest  []byte            // digest
	View      sandbox.DatasetID // "" for the dataset itself
	Plan      []byte            // of the view: its digest
	Bits      int               // that its output may carry, charged
}

func (o *opaqueRecord) canonical(s sandbox.ScenarioID) []byte {
	b, err := json.Marshal(struct {
		Scenario sandbox.ScenarioID  `json:"scenario"`
		Of       sandbox.AlgorithmID `json:"algorithm"`
		Manifest []byte              `json:"manifest"`
		Plan     []byte              `json:"plan,omitempty"`
	}{s, o.Algorithm, o.Manifest, o.Plan})
	if err != nil {
		panic("node: canonical question: " + err.Error()) // texts only
	}
	return sm.Frame([]byte("opdomain/opaque/v1"), b)
}

// carriedOf counts what outputs of foreign code may carry under a grant.
func carriedOf(g sandbox.GrantID) string { return "carried." + string(g) }

// imagePart is a part of an approved image; a document of the store has a bound.
type imagePart struct{ Bytes []byte }

const imagePartBytes = 8 << 20

// imageName names a part by as much of the digest as an id holds; who reads the image checks the whole.
func imageName(digest []byte, part int) string { return fmt.Sprintf("%x.%d", digest[:24], part) }

// keepImage keeps an image by its digest, once.
func (n *Node) keepImage(ctx context.Context, digest, image []byte) error {
	for i := 0; i*imagePartBytes < len(image); i++ {
		part := image[i*imagePartBytes : min((i+1)*imagePartBytes, len(image))]
		err := n.docs.images.Insert(ctx, imageName(digest, i), "", "approved", imagePart{part})
		if err != nil && !errors.Is(err, sandbox.Conflict) { // another version may have the same image
			return err
		}
	}
	return nil
}

// image gives an approved image, its digest checked.
func (n *Node) image(ctx context.Context, digest []byte) ([]byte, error) {
	var out []byte
	for i := 0; i == 0 || len(out) == i*imagePartBytes; i++ {
		part, _, err := n.docs.images.Get(ctx, imageName(digest, i))
		if i > 0 && errors.Is(err, sandbox.NotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		out = append(out, part.Bytes...)
	}
	if d := sm.Sum(out); !bytes.Equal(d[:], digest) {
		return nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Tampered, Object: "image", Detail: "the image that is kept is the one that was approved"}
	}
	return out, nil
}

// carries is how many bits the output of an Opaque algorithm may carry, whatever its author meant it to: of a chart what its schema holds, of a
// model what its manifest allows it, to which the gate holds it.
func carries(m *manifest.Manifest) int {
	if m.Opaque.Chart == nil {
		return m.Limits.Bits
	}
	return int((chartOf("", m.Opaque.Chart, nil).MilliBits() + 999) / 1000)
}

// chartOf is an output in the gate's form.
func chartOf(id sandbox.QuestionID, c *opaque.Chart, rows []opaque.Row) egress.Chart {
	out := egress.Chart{Question: id, Name: c.Name, Most: c.Rows}
	for _, l := range c.Labels {
		out.Labels = append(out.Labels, egress.ChartLabel{Name: l.Name, Of: l.Of})
	}
	for _, v := range c.Values {
		out.Values = append(out.Values, egress.ChartValue{Name: v.Name, Unit: v.Unit, Scale: v.Scale, Min: v.Min, Max: v.Max, Step: v.Step})
	}
	for _, r := range rows {
		out.Rows = append(out.Rows, egress.ChartRow{Labels: r.Labels, Values: r.Values})
	}
	return out
}

// declaredModel is the form of a model that a manifest declares: kind, label, features, trainer.
func declaredModel(m *manifest.Manifest) (*model.Model, error) {
	form, err := model.DecodeForm(m.Opaque.Model.Form, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range append([]string{form.Label.Name}, featureNames(form)...) {
		if !slices.ContainsFunc(m.Opaque.Columns, func(c opaque.Column) bool { return c.Name == name }) {
			return nil, &sandbox.Error{Op: "model", Kind: sandbox.Invalid, Object: name, Detail: "label and features are declared columns"}
		}
	}
	return form, nil
}

func featureNames(m *model.Model) (out []string) {
	for _, f := range m.Features {
		out = append(out, f.Name)
	}
	return out
}

// admissibleOpaque checks what was sent for approval of an Opaque algorithm. The image does not run for it.
func (n *Node) admissibleOpaque(s attest.AlgorithmApproval, r api.AlgorithmRequest, m *manifest.Manifest) (algorithmRecord, *inadmissible) {
	no := func(rule, detail string, err error) (algorithmRecord, *inadmissible) {
		return algorithmRecord{}, &inadmissible{rule, &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.Invalid, Object: m.Name, Detail: detail, Err: err}}
	}
	if len(s.Graph) > 0 {
		return no("approval.other", "an opaque algorithm records no graph", nil)
	}
	if rule := staticImage(r.Image); rule != "" {
		return no("image.elf", rule, nil)
	}
	if rule := n.cfg.Algorithms.over(m.Limits); rule != "" {
		return algorithmRecord{}, &inadmissible{"manifest.limits", &sandbox.Error{Op: "algorithm: approve", Kind: sandbox.TooLarge, Object: m.Name, Detail: rule}}
	}
	if m.Opaque.Model != nil {
		if _, err := declaredModel(m); err != nil {
			return no("opaque.model", "the form of the model is one that the gate trains", err)
		}
		return algorithmRecord{Approval: s, Manifest: r.Manifest}, nil
	}
	b, err := egress.EncodeChart(chartOf("q", m.Opaque.Chart, nil))
	if err == nil {
		err = egress.Scan(sandbox.ClassF, "q", b)
	}
	if err != nil {
		return no("opaque.labels", "names, units and registered labels are plain and read like no identifier", err)
	}
	if c := carries(m); c > m.Limits.Bits || c > n.profile.Gate.MaxBits.Value {
		return no("opaque.bits", fmt.Sprintf("its output may carry %d bits, and its manifest allows %d", c, m.Limits.Bits), nil)
	}
	return algorithmRecord{Approval: s, Manifest: r.Manifest}, nil
}

// staticImage says what keeps an image from being one that the jail executes on this machine; empty when nothing does.
func staticImage(b []byte) string {
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return "a native image is an ELF file"
	}
	machine := map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64}[runtime.GOARCH]
	if f.Class != elf.ELFCLASS64 || f.Machine != machine || f.Type != elf.ET_EXEC && f.Type != elf.ET_DYN {
		return "an executable for " + runtime.GOOS + " on " + runtime.GOARCH
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			return "a static image: built with CGO_ENABLED=0"
		}
	}
	return ""
}

// opaqueUse is an Opaque algorithm that was asked for, resolved.
type opaqueUse struct {
	rec      algorithmRecord
	m        *manifest.Manifest
	set      catalog.Dataset
	source   sandbox.InputVersion
	view     *viewRecord
	viewID   sandbox.DatasetID
	columns  []catalog.Column // that there are to see
	tier     jail.Tier
	terms    policy.OpaqueTerms
	scenario *grant.Scenario
	facts    policy.Facts
}

// opaqueOf finds an approved Opaque algorithm; nil where the id is none's, or another contract's.
func (n *Node) opaqueOf(ctx context.Context, id sandbox.AlgorithmID) (*algorithmRecord, *manifest.Manifest, error) {
	rec, _, err := n.docs.algorithms.Get(ctx, string(id))
	if errors.Is(err, sandbox.NotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	m, err := manifest.Decode(rec.Manifest)
	if err != nil {
		return nil, nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Tampered, Object: string(id), Err: err}
	}
	if m.Contract != manifest.Opaque {
		return nil, nil, nil
	}
	if d := m.Digest(); !bytes.Equal(d[:], rec.Approval.Manifest) || !bytes.Equal(m.Image, rec.Approval.Image) {
		return nil, nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Tampered, Object: string(id), Detail: "the manifest that is kept is the one that was approved"}
	}
	return &rec, m, nil
}

// decideOpaque decides a use before any key opens; what it carries may be charged already.
func (n *Node) decideOpaque(ctx context.Context, c api.Caller, rec algorithmRecord, m *manifest.Manifest, u api.AlgorithmUse, charged bool, at time.Time) (opaqueUse, sandbox.Decision, error) {
	use := opaqueUse{rec: rec, m: m}
	d := sandbox.Decision{Engine: sandbox.Opaque, Class: m.Outputs[0].Class}
	no := func(code, at, rule, article, change string) {
		d.Allow, d.Reasons = false, append(d.Reasons, sandbox.Reason{Code: code, Column: at, Rule: rule, Article: article, Change: change})
	}
	if !rec.Withdrawn.IsZero() {
		no(codeWithdrawn, "", "an algorithm that the agency has withdrawn does not run", articleAlgorithm, "use a later version")
		return use, d, nil
	}
	bound := sandbox.DatasetID(m.Opaque.Input)
	for i, b := range u.Bind {
		if i > 0 || b.Input != m.Opaque.Input || sandbox.CheckID("dataset", string(b.Dataset)) != nil {
			return use, d, &sandbox.Error{Op: "algorithm: ask", Kind: sandbox.Invalid, Object: "bind", Detail: "the one input is bound once, to the identifier of a dataset or of a view made for you: " + m.Opaque.Input}
		}
		bound = b.Dataset
	}
	q := policy.OpaqueQuestion{Scenario: u.Scenario, Purpose: u.Purpose, Class: d.Class, Dataset: bound, Carries: carries(m), Charged: charged}
	for _, col := range m.Opaque.Columns {
		q.Columns = append(q.Columns, col.Name)
	}
	v, _, err := n.docs.views.Get(ctx, string(bound))
	switch {
	case err == nil && v.Partner == c.Party.ID:
		use.view, use.viewID, q.Dataset, q.View, q.Columns = &v, bound, v.Source.Dataset, true, v.Reads
		if v.Leave != nil && v.Leave.Leave != nil {
			q.KAnon = v.Leave.Leave.K
		}
	case err != nil && !errors.Is(err, sandbox.NotFound):
		return use, d, err
	}
	use.facts, use.scenario, err = n.facts(ctx, c, query.Spec{Scenario: u.Scenario, Inputs: []query.Input{{Alias: "d", Dataset: q.Dataset}}}, at)
	if err != nil {
		return use, d, err
	}
	use.facts.Engine = sandbox.Opaque
	if use.scenario != nil && use.scenario.Grant != nil {
		if q.Carried, err = n.store.Counter(ctx, carriedOf(use.scenario.Grant.ID)); err != nil {
			return use, d, err
		}
	}
	if d, use.terms = policy.DecideOpaque(use.facts, q); !d.Allow {
		return use, d, nil
	}
	use.set = use.facts.Datasets[q.Dataset]
	use.columns, use.source = use.set.Columns, sandbox.InputVersion{Dataset: use.set.ID, Version: use.set.Version}
	if v := use.view; v != nil {
		use.columns, use.source = v.Columns, v.Source
		switch {
		case !v.Erased.IsZero() || v.Key == "":
			no(codeOpaqueView, string(bound), "the view was erased with its use", listArticle, "have the unit make it again: the same plan over the same version gives the same rows")
		case v.Consent != "" || v.Scenario != u.Scenario || len(v.Digest) == 0:
			no(codeOpaqueView, string(bound), "the view was made for this scenario, by a plan over everybody's rows", listArticle, "have the unit make one for scenario "+string(u.Scenario))
		}
	}
	for _, col := range m.Opaque.Columns {
		i := slices.IndexFunc(use.columns, func(x catalog.Column) bool { return x.Name == col.Name })
		if i < 0 || string(use.columns[i].Type) != col.Type || col.Type == "number" && use.columns[i].Scale != col.Scale || use.view == nil && col.Name == use.set.Subject {
			no(codeOpaqueInput, string(bound)+"."+col.Name, fmt.Sprintf("the input has the column %s of type %s, which does not say who somebody is", col.Name, col.Type), articleAlgorithm,
				"bind another dataset, or have the unit make a view with such a column")
		}
	}
	if m.Opaque.Model != nil && use.set.Holding != "" { // the domain's own trainer keeps a holding on one side
		no(codeOpaqueInput, string(use.set.ID)+"."+use.set.Holding, "foreign code trains over no dataset that names who controls its subjects", articleModel, "ask for the model through a Program")
	}
	if use.view != nil && use.terms.Form == policy.KAnon {
		if _, why := use.view.Leave.Parts(use.view.Columns); len(why) > 0 {
			d.Allow, d.Reasons = false, append(d.Reasons, why...)
		}
	}
	use.tier = jail.T1
	if use.terms.Tier == 2 {
		use.tier = jail.T2
	}
	if rule := n.lacks(use.tier); rule != "" {
		no(codeLayer, "", rule, gradeRule, "run on a machine with these layers (opdomain doctor), or ask through a Program, which no foreign code answers")
	}
	return use, d, nil
}

// lacks says why a tier cannot be had here; empty when it can.
func (n *Node) lacks(t jail.Tier) string {
	l := n.cfg.Jail
	if l == nil {
		return fmt.Sprintf("foreign code runs in tier %s, and this domain was opened without a jail", t)
	}
	if m := l.Probe().Missing(t); len(m) > 0 {
		return fmt.Sprintf("foreign code runs in tier %s here, and the machine lacks its layer %s: %s", t, m[0].Name, m[0].Detail)
	}
	if err := l.Halted(); err != nil {
		return "an attack from inside the jail worked: no plug-in starts until the machine is repaired"
	}
	return ""
}

// question is the use as a question.
func (u *opaqueUse) question(c api.Caller, id sandbox.AlgorithmID, a api.AlgorithmUse, d sandbox.Decision, at time.Time) questionRecord {
	digest := u.m.Digest()
	q := questionRecord{Asker: c.Identity.ID, Party: c.Party.ID, Spec: query.Spec{Scenario: a.Scenario, Purpose: a.Purpose}, Decision: d, Asked: at, State: stateRefused,
		Opaque: &opaqueRecord{Algorithm: id, Manifest: digest[:], View: u.viewID, Bits: carries(u.m)}}
	if u.view != nil {
		q.Opaque.Plan = u.view.Digest
	}
	if u.source.Dataset != "" {
		q.Inputs = []sandbox.InputVersion{u.source}
	}
	return q
}

// explainOpaque says what an Opaque algorithm would see and might give, before any key opens and without charge.
func (n *Node) explainOpaque(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, rec algorithmRecord, m *manifest.Manifest, u api.AlgorithmUse) (api.AlgorithmExplanation, error) {
	use, d, err := n.decideOpaque(ctx, c, rec, m, u, false, n.now())
	if err != nil {
		return api.AlgorithmExplanation{}, err
	}
	var text strings.Builder
	var sees []string
	for _, col := range m.Opaque.Columns {
		sees = append(sees, col.Name+" "+col.Type)
	}
	form := string(use.terms.Form)
	if use.view != nil {
		form += " " + string(use.viewID)
	}
	if use.source.Dataset != "" {
		fmt.Fprintf(&text, "  sees 可见: %s of %s as %s, several subjects at once, in tier %s\n", strings.Join(sees, ", "), use.source.Dataset, form, use.tier)
	}
	fmt.Fprintf(&text, "  gives 输出: class %s, at most %d bits 比特, charged before it runs; two reviewers of two organisations judge it always\n", d.Class, carries(m))
	if ch := m.Opaque.Chart; ch != nil {
		for _, l := range ch.Labels {
			fmt.Fprintf(&text, "    %s: %d registered labels 登记标签\n", l.Name, len(l.Of))
		}
		for _, v := range ch.Values {
			fmt.Fprintf(&text, "    %s %s: from %d to %d in steps of %d, scale %d\n", v.Name, v.Unit, v.Min, v.Max, v.Step, v.Scale)
		}
	}
	return api.AlgorithmExplanation{Algorithm: id, Decision: d, Questions: []api.Explanation{{Decision: d, Text: text.String()}}}, nil
}

// askOpaque is one use from decision to review: decide → charge → view → jail, twice → gate → review. It reads the algorithm itself, in its turn: it may have
// been withdrawn while other questions ran.
func (n *Node) askOpaque(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, u api.AlgorithmUse) (api.AlgorithmAnswer, error) {
	out := api.AlgorithmAnswer{Algorithm: id, Questions: []api.Question{}}
	if err := n.endLapsed(ctx); err != nil {
		return out, err
	}
	n.asking.Lock()
	defer n.asking.Unlock()
	rec, m, err := n.opaqueOf(ctx, id)
	if err != nil {
		return out, err
	}
	if rec == nil {
		return out, &sandbox.Error{Op: "algorithm", Kind: sandbox.NotFound, Object: string(id), Detail: "an approved Opaque algorithm"}
	}
	at := n.now()
	use, d, err := n.decideOpaque(ctx, c, *rec, m, u, false, at)
	if err != nil {
		return out, err
	}
	out.Decision = d
	q := use.question(c, id, u, d, at)
	if !d.Allow {
		_, err := n.refuse(ctx, c, q)
		return out, err
	}
	if use.source.Version == 0 {
		return out, &sandbox.Error{Op: "query", Kind: sandbox.Conflict, Object: string(use.source.Dataset), Detail: "the dataset has no such version yet", Hint: "ask again after its unit has pushed"}
	}
	prior, err := n.identify(ctx, &q, at)
	if err != nil {
		return out, err
	}
	if prior != nil {
		if prior.State != stateComputing {
			out.Questions = append(out.Questions, n.seen(*prior, at))
			return out, nil
		}
		of := q.Opaque // its view, which lives
		q = *prior
		q.Opaque = of
	} else if err := n.standing(ctx, q.Inputs); err != nil {
		return out, err
	} else if err := n.accept(ctx, c, use.scenario, query.Derivation{}, use.facts.Datasets, &q); err != nil {
		return out, err
	}
	if err := n.submitOpaque(ctx, c, &q, use, nil); err != nil {
		return out, err
	}
	out.Questions = append(out.Questions, n.seen(q, at))
	body := attest.AlgorithmAskedBody{Name: rec.Approval.Name, Version: rec.Approval.Version, Scenario: u.Scenario, Questions: []sandbox.QuestionID{q.ID}}
	return out, n.change(ctx, c.Identity.ID, func(_ context.Context, tx *change) error {
		tx.record(attest.AlgorithmAsked, "algorithm/"+string(id), body, agency, toParty(c.Party.ID), unitsOf(u.Scenario))
		return nil
	})
}

// resubmitOpaque decides, runs and checks a returned output anew, over the view it was of or a new one by the same plan.
func (n *Node) resubmitOpaque(ctx context.Context, c api.Caller, q *questionRecord, st attest.Statement, at time.Time) error {
	no := func(rule string) error {
		return &sandbox.Error{Op: "resubmit", Kind: sandbox.Denied, Object: string(q.ID), Detail: "the question is no longer admitted: " + rule, Hint: "ask it again; the refusal says what would pass"}
	}
	rec, m, err := n.opaqueOf(ctx, q.Opaque.Algorithm)
	if err != nil {
		return err
	}
	if rec == nil {
		return no(codeNotApproved)
	}
	bound := q.Inputs[0].Dataset
	if len(q.Opaque.Plan) > 0 {
		if bound, err = n.viewAgain(ctx, c, q); err != nil {
			return err
		}
	}
	u := api.AlgorithmUse{Scenario: q.Spec.Scenario, Purpose: q.Spec.Purpose, Bind: []api.AlgorithmBinding{{Input: m.Opaque.Input, Dataset: bound}}}
	use, d, err := n.decideOpaque(ctx, c, *rec, m, u, true, at)
	if err != nil {
		return err
	}
	if !d.Allow {
		return no(first(reasonCodes(d), "policy"))
	}
	use.source = q.Inputs[0]
	q.Opaque.View = use.viewID
	return n.submitOpaque(ctx, c, q, use, &st)
}

// viewAgain finds the view of a question, or another by the same plan over the same version.
func (n *Node) viewAgain(ctx context.Context, c api.Caller, q *questionRecord) (sandbox.DatasetID, error) {
	rows, err := n.docs.views.List(ctx, listState(viewSealed))
	if err != nil {
		return "", err
	}
	for _, r := range rows {
		if v := r.Value; v.Partner == c.Party.ID && v.Scenario == q.Spec.Scenario && v.Source == q.Inputs[0] && bytes.Equal(v.Digest, q.Opaque.Plan) {
			return sandbox.DatasetID(r.ID), nil
		}
	}
	return q.Opaque.View, nil // which is erased: the decision says so
}

// quasiOf are the quasi-identifiers of a k-anonymous view.
func quasiOf(p *desensitize.Plan) []string {
	if p == nil || p.Leave == nil {
		return nil
	}
	return p.Leave.Quasi
}
