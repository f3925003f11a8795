package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Shares (多方计算配置) says with whom the domain computes over shares. The domain is the first of three parties, in the agency's zone, under
// the domain's own key; each other zone runs a party's program with keys and approvals of its own.
type Shares struct {
	Self      mpc.Party                    // the domain's party but for its keys: its own, and that of its owner, an officer of the agency's as enrolled
	Zones     [2]mpc.Party                 // the others, of other organisations
	Outside   map[sandbox.DatasetID]Beyond // registered datasets whose rows never come here
	Adversary share.Adversary              // the model of every plan; nobody falls back to another
	Generator share.Generator
	Seconds   int           // a run's deadline; one is made at a time
	Valid     time.Duration // how long a plan may be approved and joined

	// Reach opens the domain's links to the zones, in the order of the plan, for one run; its second result ends them.
	Reach func() (wire.Transport, func() error, error)
	// SubjectKey is the key of the pseudonyms that the domain has with the party that holds a dataset outside.
	SubjectKey func(sandbox.DatasetID) ([]byte, error)
	// Clock is the host's, by which links end; nil: the domain's.
	Clock func() time.Time
}

// Beyond (域外数据) is a dataset that a zone holds.
type Beyond struct {
	Zone    sandbox.PartyID // its party's id
	Version uint64          // from 1, as its owner counts
	Rows    int             // its registered size
}

// sharedRecord is what a question over shares is computed by.
type sharedRecord struct {
	Plan     []byte
	Question []byte
	Digest   []byte // of the plan
	Plans    int    // how many there were, this one included
}

// Codes of refusals of a question over shares, before any key opens.
const (
	codeSharesForm = "shares.form" // 多方计算形式不符
	codeSharesJoin = "shares.join" // 主体标识不得关联
	codeSharesSize = "shares.size" // 超出多方计算规模

	codeSharesErased = "shares.erased" // 历次多方计算不可比对

	articleShares = "JR/T 0196-2020 多方安全计算金融应用技术规范; 龙华区实施方案 九(一) 原始数据不出域、数据可用不可见"
)

// outside says whether a dataset's rows are a zone's.
func (n *Node) outside(d sandbox.DatasetID) bool {
	if n.cfg.Shares == nil {
		return false
	}
	_, ok := n.cfg.Shares.Outside[d]
	return ok
}

// over puts into a decision's facts what follows from where rows are: a question with rows outside is computed over shares.
func (n *Node) over(f *policy.Facts, s query.Spec) {
	for _, in := range s.Inputs {
		if !n.outside(in.Dataset) {
			continue
		}
		f.Engine = sandbox.MPC
		if d, ok := f.Datasets[in.Dataset]; ok {
			d.Version, d.Rows = n.cfg.Shares.Outside[in.Dataset].Version, int64(n.cfg.Shares.Outside[in.Dataset].Rows)
			f.Datasets[in.Dataset] = d
		}
	}
}

// inside leaves the versions that the vault has.
func (n *Node) inside(all []sandbox.InputVersion) []sandbox.InputVersion {
	return slices.DeleteFunc(slices.Clone(all), func(in sandbox.InputVersion) bool { return n.outside(in.Dataset) })
}

// expiredShared says whether a question's plan expired before the domain joined it: the question is planned anew.
func (n *Node) expiredShared(ctx context.Context, q *questionRecord) (bool, error) {
	p, err := mpc.ParsePlan(q.Shared.Plan)
	if err != nil || n.now().Before(p.Expires) {
		return false, err
	}
	used, err := n.store.Counter(ctx, joinedOf(p.Job))
	return used == 0, err
}

// planShared makes the plan of an accepted question, puts it on record and leaves the question to its parties. A plan before it has expired.
func (n *Node) planShared(ctx context.Context, c api.Caller, f policy.Facts, d query.Derivation, q *questionRecord) error {
	form, why := n.sharesForm(f, n.fixed(d, q))
	if len(why) > 0 {
		return &sandbox.Error{Op: "query", Kind: sandbox.Internal, Object: string(q.ID), Detail: "a decided question has its form"}
	}
	cfg := n.cfg.Shares
	self, err := n.sharesSelf(ctx)
	if err != nil {
		return err
	}
	plans := 1
	if q.Shared != nil {
		plans += max(q.Shared.Plans, 1)
	}
	p := mpc.Plan{Version: 1, Job: attest.SharesJob(q.ID, plans), Question: form.question.Digest(), Adversary: cfg.Adversary, Generator: cfg.Generator, Operators: join.Operators(),
		Parties: append([]mpc.Party{self}, cfg.Zones[:]...), Expires: n.now().Add(cfg.Valid).UTC().Truncate(time.Second), Seconds: cfg.Seconds}
	for _, side := range []struct {
		name string
		t    join.Table
	}{{"left", form.question.Left}, {"right", form.question.Right}} {
		p.Inputs = append(p.Inputs, mpc.Input{Name: side.name, Party: p.Parties[side.t.Owner].ID, Rows: side.t.Rows})
	}
	outputs := form.question.Outputs()
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		p.Outputs = append(p.Outputs, mpc.Output{Name: name, Rows: outputs[name], Recipient: self.ID})
	}
	if err := p.Check(); err != nil {
		return err
	}
	digest := p.Digest()
	next := *q
	next.Shared = &sharedRecord{Plan: p.Encode(), Question: form.question.Encode(), Digest: digest[:], Plans: plans}
	body := attest.SharesPlannedBody{Question: q.ID, Plan: digest[:], Model: string(p.Adversary)}
	for _, x := range p.Parties {
		body.Parties = append(body.Parties, x.ID)
	}
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if old := q.Shared; old != nil {
			tx.record(attest.SharesAborted, "question/"+string(q.ID), attest.SharesAbortedBody{Question: q.ID, Plan: old.Digest, Stage: attest.SharesBeforeOpening, Kind: string(sandbox.Expired),
				Rule: "the plan expired before the domain joined it"}, agency, unitsOf(q.Spec.Scenario))
		}
		*q = next
		tx.record(attest.SharesPlanned, "question/"+string(q.ID), body, q.audiences()...)
		return n.saveQuestion(ctx, *q)
	})
	return err
}

// planned gives a question that waits for its parties.
func (n *Node) planned(ctx context.Context, c api.Caller, id sandbox.QuestionID) (*questionRecord, error) {
	if c.Party.Role != sandbox.Agency || c.Identity.Duty != sandbox.Officer {
		return nil, &sandbox.Error{Op: "shares", Kind: sandbox.Denied, Object: string(id), Detail: "an officer of the agency, in whose zone the domain is, has it run"}
	}
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err != nil {
		return nil, err
	}
	if n.cfg.Shares == nil || q.Shared == nil || q.State != stateComputing {
		return nil, &sandbox.Error{Op: "shares", Kind: sandbox.Conflict, Object: string(id), Detail: "a question over shares that was not run yet", Hint: "opdomain query show " + string(id)}
	}
	return &q, nil
}

func joinedOf(job sandbox.RunID) string   { return "shares." + string(job) }
func sharedOf(d sandbox.DatasetID) string { return "shared." + string(d) }

// abortedShares is the end of a run without an output of the domain's; stage says whether any may have opened.
func (n *Node) abortedShares(q *questionRecord, stage, kind, rule string) gated {
	return gated{cause: "not computed over shares: " + rule, record: func(tx *change) {
		tx.record(attest.SharesAborted, "question/"+string(q.ID), attest.SharesAbortedBody{Question: q.ID, Plan: q.Shared.Digest, Stage: stage, Kind: kind, Rule: rule}, agency, unitsOf(q.Spec.Scenario))
	}}
}

// runShared takes part and gives what opened, with the certificate; opening says whether outputs may have opened anywhere, whatever the error.
func (n *Node) runShared(ctx context.Context, form *sharedForm, p mpc.Plan, approval attest.Statement, rows []join.Row) (cells []join.Cell, cert []byte, opening bool, err error) {
	defer func() { // of a message that nobody foresaw: the run ends, and not the domain
		if recover() != nil {
			cells, cert, opening, err = nil, nil, true, &sandbox.Error{Op: "shares", Kind: sandbox.Internal, Object: string(p.Job), Detail: "a step of the protocol broke off"}
		}
	}()
	t, end, err := n.cfg.Shares.Reach()
	if err != nil {
		return nil, nil, false, err
	}
	defer func() { _ = end() }()
	s, err := mpc.Join(ctx, mpc.Config{Plan: p, Self: p.Parties[0].ID, Key: n.keys.SigningKey(), Approvals: []attest.Statement{approval}, Transport: t, Once: once{}, Rand: n.cfg.Rand, Now: n.now,
		Clock: n.cfg.Shares.Clock})
	if err != nil {
		return nil, nil, false, err
	}
	defer func() { _ = s.Close() }()
	columns, err := join.Run(s.Engine(), form.question, s.Place(), rows)
	if err != nil {
		return nil, nil, false, err
	}
	res, err := s.Reveal(columns)
	if err != nil {
		return nil, nil, s.Opening(), err
	}
	cells, err = form.question.Read(res.Outputs)
	if err != nil {
		return nil, nil, s.Opening(), err
	}
	cert, err = json.Marshal(res.Certificate)
	if err != nil {
		return nil, nil, s.Opening(), err
	}
	if _, err := attest.CheckShares(cert, n.now()); err != nil {
		return nil, nil, s.Opening(), err
	}
	return cells, cert, true, nil
}

// once lets a run be joined that ComputeShared has counted.
type once struct{}

func (once) Take(sandbox.RunID, [sm.Size]byte) error { return nil }

// sharedRows reads the domain's table, and gives the rule by which it may not be run: an earlier run was over nearly the same one, or over
// one that can no longer be compared.
func (n *Node) sharedRows(ctx context.Context, form *sharedForm, q *questionRecord, p mpc.Plan) ([]join.Row, string, error) {
	owners, err := n.cfg.Shares.SubjectKey(n.beyond(q))
	if err != nil {
		return nil, "", err
	}
	own := form.own
	if own.Key, err = join.SubjectKey(owners, p.Digest()); err != nil {
		return nil, "", err
	}
	own.Input = n.inside(q.Inputs)[0]
	rows, who, err := own.Read(ctx, n.mem, n.vault)
	if err != nil {
		return nil, "", err
	}
	if err := form.question.Fits(0, rows); err != nil {
		return nil, "", err
	}
	now := perPerson(rows, who)
	earlier, err := n.sharedBefore(ctx, own.Input, q.ID)
	if err != nil {
		return nil, "", err
	}
	for _, v := range earlier {
		own.Input = v
		rows, who, err := own.Read(ctx, n.mem, n.vault)
		if errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Tampered) || errors.Is(err, sandbox.Expired) {
			return nil, fmt.Sprintf("version %d of the domain's table, which an earlier run was over, can no longer be read, so that this one cannot be compared with it", v.Version), nil
		}
		if err != nil {
			return nil, "", err
		}
		if d := differ(now, perPerson(rows, who)); d > 0 && d < form.question.Rules.MinSubjects {
			return nil, "the domain's table differs from that of an earlier run in too few people", nil
		}
	}
	return rows, "", nil
}

// beyond is the dataset of a question that is outside.
func (n *Node) beyond(q *questionRecord) sandbox.DatasetID {
	for _, in := range q.Inputs {
		if n.outside(in.Dataset) {
			return in.Dataset
		}
	}
	return ""
}

// perPerson is what a person's rows come to, whatever their order.
func perPerson(rows []join.Row, who []sandbox.Pseudonym) map[sandbox.Pseudonym]string {
	all := map[sandbox.Pseudonym][]string{}
	for i, r := range rows {
		all[who[i]] = append(all[who[i]], fmt.Sprint(r.Group, r.Values))
	}
	out := make(map[sandbox.Pseudonym]string, len(all))
	for p, x := range all {
		slices.Sort(x)
		out[p] = strings.Join(x, ";")
	}
	return out
}

// differ counts the people whose rows are others.
func differ(a, b map[sandbox.Pseudonym]string) (n int) {
	for p, x := range a {
		if y, ok := b[p]; !ok || x != y {
			n++
		}
	}
	for p := range b {
		if _, ok := a[p]; !ok {
			n++
		}
	}
	return n
}

// sharedBefore lists the other versions of a dataset that runs over shares were over, those that a stop ended included.
func (n *Node) sharedBefore(ctx context.Context, in sandbox.InputVersion, but sandbox.QuestionID) (out []sandbox.InputVersion, err error) {
	for _, state := range []string{stateReview, stateComputing} {
		rows, err := n.docs.questions.List(ctx, listState(state))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if r.Value.Shared == nil || r.Value.ID == but {
				continue
			}
			if state == stateComputing {
				p, err := mpc.ParsePlan(r.Value.Shared.Plan)
				if err != nil {
					return nil, err
				}
				if used, err := n.store.Counter(ctx, joinedOf(p.Job)); err != nil {
					return nil, err
				} else if used == 0 {
					continue
				}
			}
			for _, v := range r.Value.Inputs {
				if v.Dataset == in.Dataset && v.Version != in.Version && !slices.Contains(out, v) {
					out = append(out, v)
				}
			}
		}
	}
	return out, nil
}

// leftOverShares says whether one of the datasets was in a run over shares: the ledger does not know whom what opened is of.
func (n *Node) leftOverShares(ctx context.Context, inputs []sandbox.InputVersion) (bool, error) {
	for _, in := range inputs {
		if used, err := n.store.Counter(ctx, sharedOf(in.Dataset)); err != nil || used > 0 {
			return used > 0, err
		}
	}
	return false, nil
}
