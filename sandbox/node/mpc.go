package node

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
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

// Beyond (域外数据) is a dataset that a zone holds, or of which a unit that is no party pushes shares to all three, anew for each question.
type Beyond struct {
	Zone    sandbox.PartyID // its party's id; "": pushed
	Unit    []byte          // of pushed rows: the SM2 point that their unit's pushes verify under
	Version uint64          // from 1, as its owner counts
	Rows    int             // its registered size
}

// sharedRecord is what a question over shares is computed by.
type sharedRecord struct {
	Plan     []byte
	Question []byte
	Digest   []byte        // of the plan
	Plans    int           // how many there were, this one included
	Pushed   *pushedRecord `json:",omitempty"`
	Unread   bool          `json:",omitempty"` // it ended before a row was read, for a cause that follows from no row
}

// Codes of refusals of a question over shares, before any key opens.
const (
	codeSharesForm = "shares.form" // 多方计算形式不符
	codeSharesJoin = "shares.join" // 主体标识不得关联
	codeSharesSize = "shares.size" // 超出多方计算规模

	codeSharesErased = "shares.erased" // 历次多方计算不可比对
	codeSharesBeside = "shares.beside" // 与历次多方计算交叉

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
	p := mpc.Plan{Version: 1, Job: attest.SharesJob(q.ID, plans), Adversary: cfg.Adversary, Generator: cfg.Generator, Parties: append([]mpc.Party{self}, cfg.Zones[:]...),
		Expires: n.now().Add(cfg.Valid).UTC().Truncate(time.Second), Seconds: cfg.Seconds}
	form.fill(&p, self.ID)
	if err := p.Check(); err != nil {
		return err
	}
	digest := p.Digest()
	next := *q
	next.Shared = &sharedRecord{Plan: p.Encode(), Question: form.encode(), Digest: digest[:], Plans: plans}
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

// unreadShares is abortedShares for a cause that was known before a row was read, of a run that nobody joined.
func (n *Node) unreadShares(q *questionRecord, kind sandbox.Kind, rule string) gated {
	out := n.abortedShares(q, attest.SharesBeforeOpening, string(kind), rule)
	record := out.record
	out.record = func(tx *change) {
		ended := *q.Shared
		ended.Unread, ended.Pushed = true, nil
		q.Shared = &ended
		record(tx)
	}
	return out
}

// sharedRows are the domain's own rows of a run, of either form.
type sharedRows struct {
	join   []join.Row
	line   agg.Own
	pushed agg.Pushed
}

// sharedCells are what opened of a run, of either form.
type sharedCells struct {
	join []join.Cell
	line []agg.Cell
}

// runShared takes part and gives what opened, with the certificate; opening says whether outputs may have opened anywhere, whatever the error.
func (n *Node) runShared(ctx context.Context, form *sharedForm, p mpc.Plan, approval attest.Statement, rows sharedRows) (cells sharedCells, cert []byte, opening bool, err error) {
	defer func() { // of a message that nobody foresaw: the run ends, and not the domain
		if recover() != nil {
			cells, cert, opening, err = sharedCells{}, nil, true, &sandbox.Error{Op: "shares", Kind: sandbox.Internal, Object: string(p.Job), Detail: "a step of the protocol broke off"}
		}
	}()
	t, end, err := n.cfg.Shares.Reach()
	if err != nil {
		return cells, nil, false, err
	}
	defer func() { _ = end() }()
	s, err := mpc.Join(ctx, mpc.Config{Plan: p, Self: p.Parties[0].ID, Key: n.keys.SigningKey(), Approvals: []attest.Statement{approval}, Transport: t, Once: once{}, Rand: n.cfg.Rand, Now: n.now,
		Clock: n.cfg.Shares.Clock})
	if err != nil {
		return cells, nil, false, err
	}
	defer func() { _ = s.Close() }()
	var columns map[string]share.Vec
	if form.line != nil {
		columns, err = form.line.Run(s.Engine(), s.Place(), rows.line, rows.pushed)
	} else {
		columns, err = join.Run(s.Engine(), form.question, s.Place(), rows.join)
	}
	if err != nil {
		return cells, nil, false, err
	}
	res, err := s.Reveal(columns)
	if err != nil {
		return cells, nil, s.Opening(), err
	}
	if form.line != nil {
		cells.line, err = form.line.Read(res.Outputs)
	} else {
		cells.join, err = form.question.Read(res.Outputs)
	}
	if err != nil {
		return sharedCells{}, nil, s.Opening(), err
	}
	cert, err = json.Marshal(res.Certificate)
	if err != nil {
		return sharedCells{}, nil, s.Opening(), err
	}
	if _, err := attest.CheckShares(cert, n.now()); err != nil {
		return sharedCells{}, nil, s.Opening(), err
	}
	return cells, cert, true, nil
}

// once lets a run be joined that ComputeShared has counted.
type once struct{}

func (once) Take(sandbox.RunID, [sm.Size]byte) error { return nil }

// ownRows reads the domain's tables, and gives the rule by which the question may not be run: an earlier one was over others of nearly the same
// rows, or over some that can no longer be compared.
func (n *Node) ownRows(ctx context.Context, form *sharedForm, q *questionRecord, p mpc.Plan, min int) (rows sharedRows, rule string, err error) {
	inputs := n.mine(form, q.Inputs)
	if len(inputs) == 0 {
		return rows, "", nil
	}
	owners, err := n.cfg.Shares.SubjectKey(n.beyond(q))
	if err != nil {
		return rows, "", err
	}
	key, err := join.SubjectKey(owners, p.Digest())
	if err != nil {
		return rows, "", err
	}
	if form.line != nil {
		rows.line, err = n.lineRows(ctx, form, inputs, key)
	} else {
		own := form.own
		own.Key, own.Input = key, n.inside(q.Inputs)[0]
		if rows.join, err = own.Read(ctx, n.mem, n.vault); err == nil {
			err = form.question.Fits(0, rows.join)
		}
	}
	if err != nil {
		return rows, "", err
	}
	rule, err = n.ownRepeats(ctx, form, q, inputs, key, min)
	return rows, rule, err
}

// beyond is the dataset of a question that is outside; where there are several, their key is one.
func (n *Node) beyond(q *questionRecord) sandbox.DatasetID {
	for _, in := range q.Inputs {
		if n.outside(in.Dataset) {
			return in.Dataset
		}
	}
	return ""
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
