package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/algo/reduce"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
)

// AlgorithmLimits (算法运行上限) bound the runs of foreign code, of Maps and of Opaque algorithms. Zeros are the defaults.
type AlgorithmLimits struct {
	Seconds int // the longest run that a manifest may ask for, with one question at a time everybody waits for it: 600
	Memory  int // MiB that it may ask for: 2048
	Repeat  int // percent of a Map's runs that are computed a second time and compared: 10; -1: none. An Opaque algorithm runs twice always
}

func (l AlgorithmLimits) orDefaults() AlgorithmLimits {
	l.Seconds, l.Memory, l.Repeat = cmp.Or(l.Seconds, 600), cmp.Or(l.Memory, 2048), cmp.Or(l.Repeat, 10)
	return l
}

// over says which limit a manifest asks more than; empty when none.
func (l AlgorithmLimits) over(asked manifest.Limits) string {
	l = l.orDefaults()
	if asked.Seconds > l.Seconds || asked.MemoryMiB > l.Memory {
		return fmt.Sprintf("this domain runs an algorithm for at most %d seconds in %d MiB", l.Seconds, l.Memory)
	}
	return ""
}

// mapStart is the time for a module to be compiled and to answer; the manifest's seconds begin after it.
const mapStart = time.Minute

// startedMap is a Map's module that runs in the jail and has not seen data.
type startedMap interface {
	run.Code
	Declares(ctx context.Context) ([]byte, error)
	Posture() jail.Posture
	Kill(jail.Reason)
	Close() error
}

// mapRecord is which approved Map a question runs, and over what.
type mapRecord struct {
	Algorithm sandbox.AlgorithmID
	Manifest  []byte // SM3
	Dataset   sandbox.DatasetID
}

// canonicalMap is what makes two uses of a Map by an asker over the same versions the same.
func canonicalMap(s query.Spec, m mapRecord) []byte {
	return sm.Frame([]byte("opdomain/map/v1"), []byte(s.Scenario), []byte(s.Purpose), []byte(m.Algorithm), m.Manifest, []byte(m.Dataset))
}

// tiers says of the tier that Maps run in what this machine lacks of it, as policy is told.
func (n *Node) tiers() map[string]string {
	if n.startMap != nil { // a test's own
		return map[string]string{string(jail.W): ""}
	}
	return map[string]string{string(jail.W): n.lacks(jail.W)}
}

// start starts a Map's module in the jail and has it say what its manifest says. The image is checked over the sealed object that is started.
func (n *Node) start(ctx context.Context, m *manifest.Manifest, tier jail.Tier, image []byte, cores float64) (startedMap, error) {
	lim := jail.Limits{Memory: int64(m.Limits.MemoryMiB) << 20, Start: mapStart, Wall: mapStart + time.Duration(m.Limits.Seconds)*time.Second, Cores: cores}
	starts := n.startMap
	if starts == nil {
		starts = n.startJailed
	}
	p, err := starts(ctx, tier, image, [sm.Size]byte(m.Image), lim)
	if err != nil {
		return nil, err
	}
	says, err := p.Declares(ctx)
	if err == nil {
		err = m.Says(says)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (n *Node) startJailed(ctx context.Context, tier jail.Tier, image []byte, digest [sm.Size]byte, lim jail.Limits) (startedMap, error) {
	if n.cfg.Jail == nil {
		return nil, &sandbox.Error{Op: "map", Kind: sandbox.Unavailable, Object: string(tier), Detail: "this domain starts no plug-in"}
	}
	img, err := jail.NewImage(bytes.NewReader(image), digest)
	if err != nil {
		return nil, err
	}
	p, err := n.cfg.Jail.Start(ctx, jail.Job{Tier: tier, Module: img, Limits: lim})
	if cerr := img.Close(); err == nil && cerr != nil {
		err = errors.Join(cerr, p.Close())
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// admissibleMap checks a Map that was sent for approval: it is started in the jail, without data, and says what its manifest says.
func (n *Node) admissibleMap(ctx context.Context, s attest.AlgorithmApproval, r api.AlgorithmRequest, m *manifest.Manifest) (algorithmRecord, *inadmissible) {
	no := func(rule string, kind sandbox.Kind, detail string, err error) (algorithmRecord, *inadmissible) {
		return algorithmRecord{}, &inadmissible{rule, &sandbox.Error{Op: "algorithm: approve", Kind: kind, Object: m.Name, Detail: detail, Err: err}}
	}
	over := n.cfg.Algorithms.over(m.Limits)
	switch lacks := n.tiers()[string(jail.W)]; {
	case len(s.Graph) > 0:
		return no("approval.other", sandbox.Invalid, "a Map records no graph", nil)
	case over != "":
		return no("manifest.limits", sandbox.TooLarge, over, nil)
	case lacks != "":
		return no("jail.layer", sandbox.Unavailable, lacks, nil)
	}
	p, err := n.start(ctx, m, jail.W, r.Image, 0)
	if err != nil {
		rule := "image.module"
		switch e := (*sandbox.Error)(nil); {
		case jail.ReasonOf(err) != "":
			rule = "image." + string(jail.ReasonOf(err))
		case errors.As(err, &e) && e.Object == "map":
			rule = "image.declaration"
		}
		switch kind := sandbox.KindOf(err); kind {
		case sandbox.Unavailable, sandbox.Tampered, sandbox.TooLarge:
			return no(rule, kind, "", err)
		}
		return no(rule, sandbox.Invalid, "a module started without data says what its manifest says, in time", err)
	}
	if err := p.Close(); err != nil {
		return no("image.closed", sandbox.Unavailable, "", err)
	}
	return algorithmRecord{Approval: s, Manifest: r.Manifest}, nil
}

// approved gives an algorithm that may be used, or the reasons why it may not.
func (n *Node) approved(ctx context.Context, id sandbox.AlgorithmID) (algorithmRecord, []sandbox.Reason, error) {
	no := func(code, rule, change string) []sandbox.Reason {
		return []sandbox.Reason{{Code: code, Rule: rule, Article: articleAlgorithm, Change: change}}
	}
	rec, _, err := n.docs.algorithms.Get(ctx, string(id))
	switch {
	case errors.Is(err, sandbox.NotFound):
		return rec, no(codeNotApproved, "an algorithm runs once the agency has approved its image", "have the agency approve it, or name one that opdomain algo list shows"), nil
	case err != nil:
		return rec, nil, err
	case !rec.Withdrawn.IsZero():
		return rec, no(codeWithdrawn, "an algorithm that the agency has withdrawn does not run", "use a later version"), nil
	}
	return rec, nil, nil
}

// described reads an approved manifest: it is the one whose digest the agency signed.
func (r *algorithmRecord) described() (*manifest.Manifest, error) {
	m, err := manifest.Decode(r.Manifest)
	if err == nil {
		if d := m.Digest(); !bytes.Equal(d[:], r.Approval.Manifest) || !bytes.Equal(m.Image, r.Approval.Image) {
			err = errors.New("another manifest")
		}
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "algorithm", Kind: sandbox.Tampered, Object: r.Approval.Name, Detail: "the manifest that is kept is the one that was approved", Err: err}
	}
	return m, nil
}

// isMap says whether an algorithm that may be used is a Map. Of any other id the caller's own check says what it is.
func (n *Node) isMap(ctx context.Context, id sandbox.AlgorithmID) (bool, error) {
	rec, why, err := n.approved(ctx, id)
	if err != nil || len(why) > 0 {
		return false, err
	}
	m, err := rec.described()
	return err == nil && m.Contract == manifest.Map, err
}

// mapUse is a use of a Map, resolved: what policy and reducer are told of it.
func mapUse(m *manifest.Manifest, u api.AlgorithmUse) (query.MapUse, error) {
	d := m.Map
	out := query.MapUse{Scenario: u.Scenario, Purpose: u.Purpose, Dataset: sandbox.DatasetID(d.Dataset), Cells: 1,
		Outputs: []sandbox.Measure{{Name: "subjects", Func: sandbox.Subjects}, {Name: "yields", Func: sandbox.Count}}}
	for i, b := range u.Bind {
		if b.Input != d.Dataset || i > 0 || sandbox.CheckID("dataset", string(b.Dataset)) != nil {
			return out, &sandbox.Error{Op: "algorithm: ask", Kind: sandbox.Invalid, Object: "bind", Detail: "a Map has one input, " + d.Dataset + ", which is bound once, to a dataset's identifier"}
		}
		out.Dataset = b.Dataset
	}
	for _, c := range d.Columns {
		out.Columns = append(out.Columns, catalog.Column{Name: c.Name, Type: catalog.Type(c.Type), Scale: c.Scale})
	}
	for _, g := range d.Groups {
		out.Groups, out.Cells = append(out.Groups, g.Name), out.Cells*int64(len(g.Labels))
	}
	for _, v := range d.Values {
		out.Outputs = append(out.Outputs, sandbox.Measure{Name: v.Name, Func: reduce.Func(v), Unit: v.Unit, Scale: v.Scale})
	}
	return out, nil
}

// mapFacts gathers what a decision about a Map depends on.
func (n *Node) mapFacts(ctx context.Context, c api.Caller, u query.MapUse, at time.Time) (policy.Facts, *grant.Scenario, error) {
	f, sc, err := n.facts(ctx, c, query.Spec{Scenario: u.Scenario, Purpose: u.Purpose, Inputs: []query.Input{{Alias: "map", Dataset: u.Dataset}}}, at)
	f.Lacks = n.tiers()
	return f, sc, err
}

// MapPlan (逐主体算法方案) is the plan of an explained or asked Map, as api.AlgorithmExplanation carries it.
type MapPlan struct {
	Contract    manifest.Contract  `json:"contract"`
	Tier        string             `json:"tier"` // of the jail, at least
	Declaration mapper.Declaration `json:"declaration"`
	Cells       int64              `json:"cells"`        // at most
	SubjectBits int                `json:"subject_bits"` // that one subject's yields may tell the reducer, at most
	Bits        int64              `json:"bits"`         // charged to the grant, whatever comes of it
}

func (n *Node) mapPlan(m *manifest.Manifest, u query.MapUse, t policy.MapTerms) MapPlan {
	return MapPlan{Contract: manifest.Map, Tier: t.Tier, Declaration: *m.Map, Cells: u.Cells, SubjectBits: m.Map.Bits(), Bits: n.profile.Bits.PerQuestion.Value}
}

// explainMap decides a Map and shows its derivation, before any key opens and without charge.
func (n *Node) explainMap(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, u api.AlgorithmUse) (api.AlgorithmExplanation, error) {
	out := api.AlgorithmExplanation{Algorithm: id, Questions: []api.Explanation{}}
	rec, _, err := n.docs.algorithms.Get(ctx, string(id))
	if err != nil {
		return out, err
	}
	m, err := rec.described()
	if err != nil {
		return out, err
	}
	use, err := mapUse(m, u)
	if err != nil {
		return out, err
	}
	f, _, err := n.mapFacts(ctx, c, use, n.now())
	if err != nil {
		return out, err
	}
	decision, x, terms := policy.ExplainMap(f, use)
	plan := n.mapPlan(m, use, terms)
	out.Decision = decision
	out.Questions = append(out.Questions, api.Explanation{Decision: decision, Derivation: &x, Text: plan.text(id, decision, x)})
	out.Plan, err = json.Marshal(plan)
	return out, err
}

// text says it to people.
func (p MapPlan) text(id sandbox.AlgorithmID, decision sandbox.Decision, x query.Explanation) string {
	var b bytes.Buffer
	for _, r := range decision.Reasons {
		fmt.Fprintf(&b, "refused %s %s: %s (%s)\n  smallest change: %s\n", r.Code, r.Column, r.Rule, r.Article, r.Change)
	}
	b.WriteString(x.Text())
	b.WriteString(p.Declaration.Text())
	fmt.Fprintf(&b, "map 逐主体 %s: tier %s of the jail; at most %d cells; a subject tells the reducer at most %d bits; %d bits are charged to the grant\n", id, p.Tier, p.Cells, p.SubjectBits, p.Bits)
	return b.String()
}

// askMap is one Map from decision to review, as any question is: decide → charge and meter → compute → gate → ledger → submit.
func (n *Node) askMap(ctx context.Context, c api.Caller, id sandbox.AlgorithmID, u api.AlgorithmUse) (api.AlgorithmAnswer, error) {
	out := api.AlgorithmAnswer{Algorithm: id, Questions: []api.Question{}}
	n.asking.Lock()
	defer n.asking.Unlock()
	rec, why, err := n.approved(ctx, id) // it may have been withdrawn while others asked
	if err != nil {
		return out, err
	}
	if len(why) > 0 {
		out.Decision = sandbox.Decision{Engine: sandbox.Map, Class: sandbox.ClassA, Reasons: why}
		return out, n.refuseAlgorithm(ctx, c, attest.AlgorithmRefusedBody{Name: rec.Approval.Name, Version: rec.Approval.Version, Image: rec.Approval.Image, Rule: why[0].Code})
	}
	m, err := rec.described()
	if err != nil {
		return out, err
	}
	use, err := mapUse(m, u)
	if err != nil {
		return out, err
	}
	at := n.now()
	f, sc, err := n.mapFacts(ctx, c, use, at)
	if err != nil {
		return out, err
	}
	decision, d, terms := policy.DecideMap(f, use)
	out.Decision = decision
	if !decision.Allow {
		b := attest.AlgorithmRefusedBody{Name: rec.Approval.Name, Version: rec.Approval.Version, Image: rec.Approval.Image, Rule: decision.Reasons[0].Code}
		return out, n.refuseAlgorithm(ctx, c, b)
	}
	if out.Plan, err = json.Marshal(n.mapPlan(m, use, terms)); err != nil {
		return out, err
	}
	q := questionRecord{Asker: c.Identity.ID, Party: c.Party.ID, Spec: query.Spec{Scenario: u.Scenario, Purpose: u.Purpose}, Decision: decision, Asked: at, State: stateRefused,
		Map: &mapRecord{Algorithm: id, Manifest: rec.Approval.Manifest, Dataset: use.Dataset}}
	if q.Inputs, err = versions(d, f.Datasets); err != nil {
		return out, err
	}
	prior, err := n.identify(ctx, &q, at)
	if err != nil {
		return out, err
	}
	if prior != nil && prior.State != stateComputing {
		out.Questions = append(out.Questions, n.seen(*prior, at))
		return out, nil
	}
	if prior != nil {
		q = *prior // the process ended while it was computed: compute it again, charged already
	} else if err := n.standing(ctx, q.Inputs); err != nil {
		return out, err
	} else if err := n.accept(ctx, c, sc, d, f.Datasets, &q); err != nil {
		return out, err
	}
	if err := n.computeMap(ctx, c, d, &q, rec, m, terms, nil); err != nil {
		return out, err
	}
	out.Questions = append(out.Questions, n.seen(q, at))
	body := attest.AlgorithmAskedBody{Name: rec.Approval.Name, Version: rec.Approval.Version, Scenario: u.Scenario, Questions: []sandbox.QuestionID{q.ID}}
	return out, n.change(ctx, c.Identity.ID, func(_ context.Context, tx *change) error {
		tx.record(attest.AlgorithmAsked, "algorithm/"+string(id), body, agency, toParty(c.Party.ID), unitsOf(u.Scenario))
		return nil
	})
}

// resubmitMap decides, runs and checks a returned Map anew.
func (n *Node) resubmitMap(ctx context.Context, c api.Caller, q *questionRecord, st attest.Statement, at time.Time) error {
	denied := func(why []sandbox.Reason) error {
		return &sandbox.Error{Op: "resubmit", Kind: sandbox.Denied, Object: string(q.ID), Detail: "the Map is no longer admitted: " + first(reasonCodes(sandbox.Decision{Reasons: why}), "policy"), Hint: "ask it again; the refusal says what would pass"}
	}
	rec, why, err := n.approved(ctx, q.Map.Algorithm)
	if err != nil {
		return err
	}
	if len(why) > 0 {
		return denied(why)
	}
	m, err := rec.described()
	if err != nil {
		return err
	}
	use, err := mapUse(m, api.AlgorithmUse{Scenario: q.Spec.Scenario, Purpose: q.Spec.Purpose, Bind: []api.AlgorithmBinding{{Input: m.Map.Dataset, Dataset: q.Map.Dataset}}})
	if err != nil {
		return err
	}
	f, _, err := n.mapFacts(ctx, c, use, at)
	if err != nil {
		return err
	}
	decision, d, terms := policy.DecideMap(f, use)
	if !decision.Allow {
		return denied(decision.Reasons)
	}
	return n.computeMap(ctx, c, d, q, rec, m, terms, &st)
}

func (n *Node) computeMap(ctx context.Context, c api.Caller, d query.Derivation, q *questionRecord, rec algorithmRecord, m *manifest.Manifest, t policy.MapTerms, st *attest.Statement) error {
	params := n.thresholds(d)
	return n.outgoing(ctx, c, q, st, params, func(ctx context.Context) gated { return n.gateMap(ctx, d, q, rec, m, t, params) })
}

// gateMap runs the Map, and a part of runs twice, and has its cells judged like those of any question. What goes wrong depends on data, and is the cause that
// owners and reviewers see: the asker sees the one code.
func (n *Node) gateMap(ctx context.Context, d query.Derivation, q *questionRecord, rec algorithmRecord, m *manifest.Manifest, t policy.MapTerms, params egress.Params) (out gated) {
	ran := &attest.AlgorithmRanBody{Name: m.Name, Version: m.Version, Manifest: rec.Approval.Manifest, Image: m.Image, Question: q.ID, Inputs: q.Inputs, Tier: t.Tier,
		Bits: int(n.profile.Bits.PerQuestion.Value), Repeated: n.repeats(q)}
	defer func() { out.ran = ran }()
	failed := func(err error) gated {
		ran.Fault = cmp.Or(string(jail.ReasonOf(err)), string(sandbox.KindOf(err)))
		return gated{cause: fmt.Sprintf("not computed: the Map %s: %v", ran.Fault, err)}
	}
	image, err := n.image(ctx, m.Image)
	if err != nil {
		return failed(err)
	}
	answer, faults, err := n.runMap(ctx, d, q, m, t, image, 0, ran)
	if err == nil && ran.Repeated {
		var again *sandbox.Answer
		more := 0
		if again, more, err = n.runMap(ctx, d, q, m, t, image, 1, ran); err == nil && (more != faults || answerDigest(again) != answerDigest(answer)) {
			err = &sandbox.Error{Op: "map", Kind: sandbox.Withheld, Object: m.Name, Detail: "computed a second time it gives another answer; equal seed and input give equal bits"}
		}
	}
	if err != nil {
		return failed(err)
	}
	ran.Faults = faults
	if out = n.judged(ctx, d, q, answer, params); out.checked != nil {
		out.checked.Faulty(faults)
	}
	return out
}

// runMap is one run in a process of its own. Cores 0 are all.
func (n *Node) runMap(ctx context.Context, d query.Derivation, q *questionRecord, m *manifest.Manifest, t policy.MapTerms, image []byte, cores float64, ran *attest.AlgorithmRanBody) (_ *sandbox.Answer, faults int, err error) {
	p, err := n.start(ctx, m, jail.Tier(t.Tier), image, cores)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, p.Close()) }()
	late := time.AfterFunc(time.Duration(m.Limits.Seconds)*time.Second, func() { p.Kill(jail.Deadline) })
	defer late.Stop()
	if ran.Posture == nil {
		posture := p.Posture().Digest()
		ran.Posture = posture[:]
	}
	job := reduce.Job{Algorithm: m.Name, Declaration: *m.Map, Input: q.Inputs[0]}
	return run.Map(ctx, n.mem, n.vault, run.Mapping{Job: job, Dataset: d.Inputs[0].Described, Code: p})
}

// repeats draws whether a run is computed twice, by a key of the domain: neither author nor asker tells before.
func (n *Node) repeats(q *questionRecord) bool {
	draw := sm.HMAC(n.questionKey, sm.Frame([]byte("map-repeat"), []byte(q.ID), binary.BigEndian.AppendUint64(nil, uint64(len(q.Ledger)))))
	return int(binary.BigEndian.Uint32(draw[:4])%100) < n.cfg.Algorithms.orDefaults().Repeat
}

// answerDigest is SM3 over all of an answer: who is in it, its cells and their evidence.
func answerDigest(a *sandbox.Answer) (out [sm.Size]byte) {
	h := sm.NewHash()
	var b []byte
	count := func(n int) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	flush := func() { h.Write(b); b = b[:0] }
	texts := func(list []string) {
		for _, s := range list {
			count(len(s))
			b = append(b, s...)
		}
	}
	numbers := func(list []int64) {
		count(len(list))
		for _, v := range list {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
		flush()
	}
	texts(a.Dimensions)
	count(len(a.Population))
	for _, p := range a.Population {
		b = append(b, p[:]...)
		if len(b) > 1<<16 {
			flush()
		}
	}
	count(len(a.Cells))
	for i := range a.Cells {
		c := &a.Cells[i]
		texts(c.Labels)
		count(int(c.Rows))
		numbers(c.Values)
		numbers(c.NonMissing)
		count(len(c.Contributors))
		for _, who := range c.Contributors {
			b = binary.BigEndian.AppendUint32(b, who)
		}
		for _, list := range c.Contributions {
			numbers(list)
		}
		flush()
	}
	flush()
	copy(out[:], h.Sum(nil))
	return out
}
