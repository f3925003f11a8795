package attest

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts of what is signed about a review beside votes.
const (
	ContextReviewAct    = "opdomain/review-act/v1"
	ContextTemplate     = "opdomain/template/v1"
	ContextTemplateStop = "opdomain/template-stop/v1"
)

// ReviewAct (审核处置) is what a party does to one review beside voting: return, veto, appeal, revoke and so on. It names the state
// and round it was done in and the bytes it is about, so that it moves nothing else and nothing twice.
type ReviewAct struct {
	Question sandbox.QuestionID `json:"question"`
	Round    int                `json:"round,omitempty"`
	Act      string             `json:"act"`
	State    string             `json:"state"`
	Result   []byte             `json:"result,omitempty"` // SM3 of the outgoing bytes
	Reason   string             `json:"reason,omitempty"` // of a return the comment its author reads
	At       time.Time          `json:"at"`
}

// StandingTemplate (常设模板) is the agency's standing authority for answers to one question: Spec is the SM3 of its canonical form,
// Measures, where given, all that may be asked for; one of the two is. An answer of class A that passed every check with nothing
// suppressed leaves without a vote at the next multiple of Slot, at most Budget of them, before Expires.
type StandingTemplate struct {
	ID        sandbox.TemplateID `json:"id"`
	Scenario  sandbox.ScenarioID `json:"scenario"`
	Spec      []byte             `json:"spec,omitempty"`
	Measures  []string           `json:"measures,omitempty"` // func(column)
	Recipient sandbox.IdentityID `json:"recipient"`
	Budget    int                `json:"budget"`
	Sample    int                `json:"sample"` // percent of releases that are reviewed afterwards
	Slot      int                `json:"slot"`   // seconds
	Policy    string             `json:"policy"`
	Expires   time.Time          `json:"expires"`
	At        time.Time          `json:"at"`
}

// SpecSalt is the length in bytes of the salt of a SpecCommitment.
const SpecSalt = 32

// SpecCommitment (查询承诺) is what the evidence holds of a question: HMAC-SM3 under a salt of its own over the SM3 of the canonical question, which
// a standing template names in the open.
func SpecCommitment(salt, spec []byte) []byte {
	d := sm.HMAC(salt, spec)
	return d[:]
}

// TemplateStop (模板停用) ends a standing template at once.
type TemplateStop struct {
	Template sandbox.TemplateID `json:"template"`
	Reason   string             `json:"reason"`
	At       time.Time          `json:"at"`
}

// Bodies of the events of a review.
type (
	// ReviewStep (流转步骤) is one move of the review's state machine.
	ReviewStep struct {
		On string       `json:"on"`
		To string       `json:"to"`
		By sandbox.Role `json:"by"`
	}
	// ReviewMovedBody (审核流转): the moves of one change, in order, from the state the review was in. Statement is the act that caused
	// the first of them, where a party's act did; Template and Use say under which standing template, and as its how-manieth use.
	ReviewMovedBody struct {
		Question  sandbox.QuestionID `json:"question"`
		Round     int                `json:"round,omitempty"` // after the moves
		From      string             `json:"from"`
		Moves     []ReviewStep       `json:"moves"`
		Expires   time.Time          `json:"expires,omitzero"` // of the round
		Statement *Statement         `json:"statement,omitempty"`
		Template  sandbox.TemplateID `json:"template,omitempty"`
		Use       int                `json:"use,omitempty"`
		Sampled   bool               `json:"sampled,omitempty"`
		Salt      []byte             `json:"salt,omitempty"` // of the question's digest, where its template names one question: a verifier compares the two
	}
	// ReviewOpenedBody (开票): the first vote, shown to all when the second is in.
	ReviewOpenedBody struct {
		Question  sandbox.QuestionID `json:"question"`
		Statement Statement          `json:"statement"`
	}
	// TemplateSignedBody (常设模板签署).
	TemplateSignedBody struct {
		Statement Statement `json:"statement"`
	}
	// TemplateStoppedBody (常设模板停用).
	TemplateStoppedBody struct {
		Statement Statement `json:"statement"`
	}
)

// ReviewMove (允许的流转) is one row of the table a verifier follows.
type ReviewMove struct {
	From, On, To string
	By           []sandbox.Role
}

const bySystem sandbox.Role = "system"

// ReviewMoves gives the table by which bundles are verified. The gate keeps its own; a test holds them to each other.
func ReviewMoves() []ReviewMove {
	author := []sandbox.Role{sandbox.Operator, sandbox.Partner}
	first := []sandbox.Role{sandbox.Unit, sandbox.Operator, sandbox.Partner, sandbox.Auditor}
	agency, unit, system := []sandbox.Role{sandbox.Agency}, []sandbox.Role{sandbox.Unit}, []sandbox.Role{bySystem}
	out := []ReviewMove{
		{"draft", "seal", "sealed", author},
		{"draft", "withdraw", "withdrawn", author},
		{"sealed", "scan", "scanning", system},
		{"scanning", "hit", "quarantined", system},
		{"scanning", "clear", "checked", system},
		{"scanning", "withhold", "withheld", system},
		{"checked", "withhold", "withheld", system},
		{"checked", "queue", "in-review", system},
		{"checked", "template", "auto-approved", system},
		{"checked", "fail", "returned", system},
		{"quarantined", "return", "returned", agency},
		{"quarantined", "reject", "rejected", agency},
		{"in-review", "first-vote", "partial", first},
		{"in-review", "return", "returned", first},
		{"partial", "second-vote", "consolidating", agency},
		{"partial", "return", "returned", agency},
		{"in-review", "endorse", "in-review", unit},
		{"partial", "endorse", "partial", unit},
		{"appeal", "endorse", "appeal", unit},
		{"consolidating", "agree", "approved", system},
		{"consolidating", "split", "conflicted", system},
		{"consolidating", "refuse", "rejected", system},
		{"consolidating", "fail", "returned", system},
		{"conflicted", "lift", "conflicted", append(slices.Clone(first), sandbox.Agency)},
		{"conflicted", "approve", "approved", agency},
		{"conflicted", "reject", "rejected", agency},
		{"conflicted", "return", "returned", agency},
		{"approved", "release", "releasing", system},
		{"approved", "lapse", "returned", system},
		{"approved", "revoke", "revoked", agency},
		{"auto-approved", "release", "releasing", system},
		{"auto-approved", "lapse", "in-review", system},
		{"auto-approved", "revoke", "revoked", agency},
		{"releasing", "sent", "released", system},
		{"releasing", "lapse", "returned", system},
		{"released", "sample", "released", agency},
		{"released", "revoke", "revoked", agency},
		{"released", "expire", "expired", system},
		{"released", "spend", "expired", system},
		{"returned", "resubmit", "sealed", author},
		{"returned", "withdraw", "withdrawn", author},
		{"rejected", "appeal", "appeal", author},
		{"appeal", "first-vote", "appeal", first},
		{"appeal", "second-vote", "consolidating", agency},
		{"appeal", "expire", "rejected", system},
	}
	for _, s := range []string{"quarantined", "in-review", "partial", "conflicted", "approved", "auto-approved", "returned", "appeal"} {
		out = append(out, ReviewMove{s, "veto", "rejected", unit})
		if s != "appeal" {
			out = append(out, ReviewMove{s, "expire", "expired", system})
		}
	}
	return append(out, ReviewMove{"releasing", "expire", "expired", system})
}

// reviewTable is ReviewMoves by state and event.
var reviewTable = func() map[[2]string]ReviewMove {
	out := map[[2]string]ReviewMove{}
	for _, m := range ReviewMoves() {
		out[[2]string{m.From, m.On}] = m
	}
	return out
}()

// reviewTrail is a review as the log has shown it.
type reviewTrail struct {
	begun    bool
	state    string
	round    int
	expires  time.Time
	past     map[sandbox.IdentityID]bool // who voted in earlier rounds
	barred   map[sandbox.IdentityID]bool // and before the appeal
	appealed bool
	vetoed   bool
	template sandbox.TemplateID
	endorsed []sandbox.PartyID // owners who signed in this round
	sent     bool
}

type templateTrail struct {
	StandingTemplate
	stopped bool
	used    int
}

const checkMoves = "review moves"

// moved follows the state machine of a review.
func (c *checker) moved(e Event, b ReviewMovedBody) error {
	c.moves = true
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, checkMoves, "of a decided question")
	}
	r := &q.review
	if !r.begun {
		r.begun, r.state = true, b.From
		if err := all(c.shown(b.From == "draft", checkMoves, "a review begins as a draft"), c.want(b.Round == 0 || b.From != "draft", checkMoves, "rounds are counted from the first")); err != nil {
			return err
		}
		r.round = b.Round
		if resets(b.Moves) {
			r.round--
		}
	}
	// Hidden entries may lie between; what is in sight still has to be a move of the machine.
	if err := c.shown(r.state == b.From, checkMoves, "a move starts from the state the review is in"); err != nil {
		return err
	}
	if err := c.want(len(b.Moves) > 0, checkMoves, "at least one"); err != nil {
		return err
	}
	state := b.From
	for i, m := range b.Moves {
		edge, ok := reviewTable[[2]string{state, m.On}]
		if err := c.want(ok && edge.To == m.To && slices.Contains(edge.By, m.By), checkMoves, "a transition of the review's state machine, by a role that may cause it"); err != nil {
			return err
		}
		if err := c.step(e, b, q, state, m, i == 0); err != nil {
			return err
		}
		state = m.To
	}
	r.state = state
	if !b.Expires.IsZero() {
		r.expires = b.Expires
	}
	return c.shown(b.Round == r.round, checkMoves, "rounds are counted one by one")
}

// resets says whether moves begin another round of votes.
func resets(moves []ReviewStep) bool {
	return slices.ContainsFunc(moves, func(m ReviewStep) bool { return m.On == "resubmit" || m.On == "appeal" })
}

// step holds one move to what it needs.
func (c *checker) step(e Event, b ReviewMovedBody, q *questionTrail, from string, m ReviewStep, first bool) error {
	r := &q.review
	if m.By != bySystem {
		if err := c.role(e.Actor, checkMoves, m.By); err != nil {
			return err
		}
	}
	approve, refuse := 0, 0
	for _, v := range q.votes {
		if v.Approve {
			approve++
		} else {
			refuse++
		}
	}
	switch m.On {
	case "seal":
		return c.want(e.Actor == q.decided.Asker, checkMoves, "the author submits")
	case "clear":
		return c.shown(q.checked != nil, checkMoves, "cleared after its check")
	case "queue":
		return c.want(q.checked == nil || q.checked.Verdict == "pass", checkMoves, "only what passed the check comes before reviewers")
	case "first-vote", "second-vote":
		mine := slices.ContainsFunc(q.votes, func(v vote) bool { return v.by == e.Actor })
		return c.shown(mine, checkMoves, "with the vote of who votes")
	case "agree":
		return all(c.shown(approve == 2, checkMoves, "agreed by two approving votes"), c.want(refuse == 0, checkMoves, "a refusal is a veto"))
	case "split":
		return c.shown(approve == 1 && refuse == 1, checkMoves, "a conflict is one approval and one refusal")
	case "refuse":
		return c.shown(refuse == 2, checkMoves, "refused by both")
	case "template":
		return c.auto(e, b, q)
	case "expire":
		return c.shown(!r.expires.IsZero() && !e.At.Before(r.expires), checkMoves, "expired not before its time")
	case "release":
		if err := c.shown(r.expires.IsZero() || e.At.Before(r.expires), checkMoves, "released before it expires"); err != nil {
			return err
		}
		for _, v := range q.votes {
			if err := c.want(!c.shut[v.by], checkMoves, "no reviewer's key was revoked between vote and release"); err != nil {
				return err
			}
		}
		return nil
	case "sent":
		return c.shown(r.sent, checkMoves, "sent with its release")
	case "scan", "hit", "withhold", "fail", "lapse", "spend":
		return nil
	}
	if err := c.want(first && b.Statement != nil, checkMoves, "an act of a party carries its statement"); err != nil {
		return err
	}
	return c.acted(e, b, q, from, m)
}

// acted holds an act of a party to its statement and to who may.
func (c *checker) acted(e Event, b ReviewMovedBody, q *questionTrail, from string, m ReviewStep) error {
	r := &q.review
	var a ReviewAct
	who, ok, err := c.statement(e, *b.Statement, ContextReviewAct, &a)
	if err != nil || !ok {
		return err
	}
	if err := all(c.want(a.Question == b.Question && a.Act == m.On && a.State == from, checkMoves, "the act that was signed, in the state it was signed for"),
		c.shown(a.Round == r.round, checkMoves, "an act in the round it was signed for"), c.dated(a.At, e)); err != nil {
		return err
	}
	if len(a.Result) > 0 {
		if err := c.passed(q, a.Result, checkMoves); err != nil {
			return err
		}
	}
	reasoned := func() error { return c.want(a.Reason != "", checkMoves, "with its reason") }
	voted := func(refusal bool) int {
		return slices.IndexFunc(q.votes, func(v vote) bool { return v.by == who.ID && (!refusal || !v.Approve) })
	}
	lead := func() error {
		return c.want(who.Duty == sandbox.Officer && voted(false) < 0 && !r.past[who.ID], checkMoves, "by the agency's officer, who did not vote")
	}
	switch m.On {
	case "return":
		if from == "in-review" || from == "partial" {
			return all(reasoned(), c.want(who.Duty == sandbox.Reviewer, checkMoves, "by a reviewer"),
				c.unaffiliated(c.parties[who.Party], q.decided.Asker, "author"))
		}
		return all(reasoned(), lead())
	case "reject":
		return all(reasoned(), lead())
	case "lift":
		i := voted(true)
		if i >= 0 {
			q.votes[i].Approve = true
		}
		return c.shown(i >= 0, checkMoves, "a refusal is lifted by who gave it")
	case "approve":
		refused := slices.ContainsFunc(q.votes, func(v vote) bool { return !v.Approve })
		return all(lead(), c.want(!refused, checkMoves, "a refusal is a veto"))
	case "withdraw":
		return c.want(who.ID == q.decided.Asker, checkMoves, "by the author")
	case "resubmit", "appeal":
		if m.On == "appeal" {
			if err := all(reasoned(), c.want(!r.vetoed, checkMoves, "an owner's veto is final"), c.want(!r.appealed, checkMoves, "an appeal is made once")); err != nil {
				return err
			}
			r.appealed = true
		} else {
			q.checked = nil
		}
		if r.past == nil {
			r.past = map[sandbox.IdentityID]bool{}
		}
		for _, v := range q.votes {
			r.past[v.by] = true
		}
		if m.On == "appeal" {
			r.barred = maps.Clone(r.past)
		}
		q.votes, r.template, r.endorsed = nil, "", nil
		r.round++
		return c.want(who.ID == q.decided.Asker, checkMoves, "by the author")
	case "veto", "endorse":
		owns := slices.ContainsFunc(q.inputs, func(in sandbox.InputVersion) bool {
			d := c.datasets[in.Dataset]
			return d != nil && d.unit == who.Party
		})
		officer := c.want(who.Duty == sandbox.Officer, checkMoves, "by an officer")
		if m.On == "endorse" {
			r.endorsed = append(r.endorsed, who.Party)
			return all(officer, c.want(len(a.Result) == sm.Size, checkMoves, "an owner signs for exactly one result"), c.shown(owns, checkMoves, "an owner signs"))
		}
		r.vetoed = true
		return all(reasoned(), officer, c.shown(owns, checkMoves, "a veto is an owner's"))
	case "revoke", "sample":
		return all(reasoned(), c.want(who.Duty == sandbox.Officer || m.On == "sample", checkMoves, "by an officer"))
	}
	return &broken{checkMoves, "a known act"}
}

// auto holds a use of a standing template to the template.
func (c *checker) auto(e Event, b ReviewMovedBody, q *questionTrail) error {
	const check = "standing template"
	if err := c.want(b.Template != "" && q.decided.Class == sandbox.ClassA, check, "of class A, and named"); err != nil {
		return err
	}
	q.review.template = b.Template
	if q.checked != nil {
		if err := c.want(q.checked.Verdict == "pass" && !q.checked.Suppressed, check, "every check passed"); err != nil {
			return err
		}
	}
	t := c.templates[b.Template]
	if t == nil {
		return c.shown(false, check, "signed before")
	}
	next := b.Use == t.used+1
	if err := all(
		c.want(!t.stopped && e.At.Before(t.Expires), check, "neither stopped nor expired"),
		c.want(b.Use > t.used && b.Use <= t.Budget, check, "uses are counted up to its budget"),
		c.shown(next, check, "uses are counted one by one"),
		c.want(t.Scenario == q.decided.Scenario && t.Recipient == q.decided.Asker, check, "of its scenario, for its recipient"),
		c.want(len(t.Spec) == 0 || len(b.Salt) == SpecSalt && bytes.Equal(q.decided.Spec, SpecCommitment(b.Salt, t.Spec)), check, "the question that was asked is the one its template names"),
	); err != nil {
		return err
	}
	t.used = b.Use
	return nil
}

func (c *checker) templateSigned(e Event, b TemplateSignedBody) error {
	const check = "standing template"
	var t StandingTemplate
	who, ok, err := c.statement(e, b.Statement, ContextTemplate, &t)
	if err != nil || !ok {
		return err
	}
	_, twice := c.templates[t.ID]
	c.templates[t.ID] = &templateTrail{StandingTemplate: t}
	return all(c.role(who.ID, check, sandbox.Agency), c.want(who.Duty == sandbox.Officer, check, "by an officer"), c.want(!twice, check, "signed once"),
		c.want(t.Budget > 0 && e.At.Before(t.Expires) && t.Slot > 0 && (len(t.Spec) == sm.Size || len(t.Measures) > 0), check, "with question, budget, slot and term"), c.dated(t.At, e))
}

func (c *checker) templateStopped(e Event, b TemplateStoppedBody) error {
	const check = "standing template"
	var s TemplateStop
	who, ok, err := c.statement(e, b.Statement, ContextTemplateStop, &s)
	if err != nil || !ok {
		return err
	}
	if err := all(c.role(who.ID, check, sandbox.Agency), c.want(s.Reason != "", check, "stopped for a reason"), c.dated(s.At, e)); err != nil {
		return err
	}
	t := c.templates[s.Template]
	if t == nil {
		return c.shown(false, check, "signed before")
	}
	stopped := t.stopped
	t.stopped = true
	return c.want(!stopped, check, "stopped once")
}

// opened takes the first vote as it is shown after the second: the one in the log, where that is in sight.
func (c *checker) opened(b ReviewOpenedBody) error {
	const check = "votes"
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, check, "on a decided question")
	}
	for _, v := range q.votes {
		if v.step == 1 {
			return c.want(v.by == b.Statement.Signer && bytes.Equal(v.body, b.Statement.Body), check, "the vote that is opened is the one that was cast")
		}
	}
	return c.counted(q, b.Statement)
}

// counted takes a first vote whose own event is hidden.
func (c *checker) counted(q *questionTrail, s Statement) error {
	var v Vote
	who, ok := c.identities[s.Signer]
	if !ok {
		return c.shown(false, "votes", "by an enrolled identity")
	}
	key, err := sm.ParseVerifyKey(who.SignKey)
	if err == nil {
		err = s.Open(key, ContextVote, &v)
	}
	if err := c.want(err == nil, "statement signature", "under the key enrolled for its signer"); err != nil {
		return err
	}
	if err := c.shown(false, "votes", "the first vote's own entry"); err != nil {
		return err
	}
	q.votes = append(q.votes, vote{Vote: v, step: 1, party: c.parties[who.Party], by: who.ID, body: s.Body})
	return nil
}
