package attest

import (
	"bytes"
	"maps"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Steps of a scenario's approval (审核步骤), in their order.
const (
	stepOperator = "operator"
	stepAgency   = "agency"
	stepUnit     = "unit"
)

var stepOrder = []string{stepOperator, stepAgency, stepUnit}

type scenarioTrail struct {
	filed    ScenarioFiledBody
	approved map[DueStep]bool // keyed by step and party
	refused  bool
	signed   map[sandbox.PartyID]bool
	grant    *GrantIssuedBody
}

// through says whether every due decision of the steps before rank is an approval.
func (s *scenarioTrail) through(rank int) bool {
	for _, d := range s.filed.Due {
		if slices.Index(stepOrder, d.Step) < rank && !s.approved[DueStep{Step: d.Step, Party: d.Party}] {
			return false
		}
	}
	return true
}

type questionTrail struct {
	decided  QuestionDecidedBody
	computed bool
	inputs   []sandbox.InputVersion
	sum      *sumTrail   // of one that is answered over ciphertexts
	joint    *jointTrail // of a run of a partner's model
	checked  *EgressCheckedBody
	votes    []vote // of the round
	review   reviewTrail
	shares   *sharesTrail // of one that is computed over shares
}

type vote struct {
	Vote
	step  int
	party sandbox.Party
	by    sandbox.IdentityID
	body  []byte // as signed
}

type consentTrail struct {
	receipt Receipt
	revoked bool
	uses    int
}

// releaseTrail joins what left about one person with the use of the consent it left under.
type releaseTrail struct {
	sent     *ReleaseSentBody
	answered *ClaimAnsweredBody
}

func (c *checker) filed(e Event, b ScenarioFiledBody) error {
	if c.scenarios[b.Scenario] != nil {
		return &broken{"scenario", "filed once"}
	}
	s := &scenarioTrail{filed: b, approved: map[DueStep]bool{}, signed: map[sandbox.PartyID]bool{}}
	c.scenarios[b.Scenario] = s
	seen := map[string]int{}
	twice := map[DueStep]bool{}
	for _, d := range b.Due {
		key := DueStep{Step: d.Step, Party: d.Party}
		if !slices.Contains(stepOrder, d.Step) || twice[key] || !slices.Contains(b.Signers, d.Party) {
			return &broken{"scenario", "operator, agency and units decide once each, and whoever decides signs"}
		}
		twice[key] = true
		seen[d.Step]++
		p, ok := c.parties[d.Party]
		if !ok {
			if err := c.shown(false, "scenario", "decided by enrolled parties"); err != nil {
				return err
			}
			continue
		}
		if err := c.want(string(p.Role) == d.Step, "scenario", "each step belongs to a party in its role"); err != nil {
			return err
		}
	}
	return all(
		c.want(seen[stepOperator] == 1 && seen[stepAgency] == 1 && seen[stepUnit] > 0, "scenario", "one operator, one agency and at least one unit decide"),
		c.want(len(b.ListDigest) == sm.Size && len(b.AgreementDigest) == sm.Size, "scenario", "with the digests of list and agreement"),
		c.actorOf(e.Actor, b.Applicant, "scenario"))
}

func (c *checker) decided(e Event, b ScenarioDecidedBody) error {
	var d ScenarioDecision
	who, ok, err := c.statement(e, b.Statement, ContextDecision, &d)
	if err != nil || !ok {
		return err
	}
	s := c.scenarios[d.Scenario]
	if s == nil {
		return c.shown(false, "approvals", "of a filed scenario")
	}
	key := DueStep{Step: d.Step, Party: d.Party}
	due := slices.ContainsFunc(s.filed.Due, func(x DueStep) bool { return x.Step == d.Step && x.Party == d.Party })
	if err := all(
		c.want(due && who.Party == d.Party && who.Duty == sandbox.Officer, "approvals", "by an officer of a party that is due to decide this step"),
		c.want(bytes.Equal(d.ListDigest, s.filed.ListDigest), "approvals", "over the filed data list"),
		c.want(!s.approved[key] && !s.refused, "approvals", "decided once, and not after a refusal"),
		c.shown(s.through(slices.Index(stepOrder, d.Step)), "approvals", "operator, agency and units decide in this order"),
		c.dated(d.At, e),
	); err != nil {
		return err
	}
	if d.Approve {
		s.approved[key] = true
	} else {
		s.refused = true
	}
	return nil
}

func (c *checker) agreed(e Event, b AgreementSignedBody) error {
	var a AgreementSignature
	who, ok, err := c.statement(e, b.Statement, ContextAgreement, &a)
	if err != nil || !ok {
		return err
	}
	s := c.scenarios[a.Scenario]
	if s == nil {
		return c.shown(false, "agreement", "of a filed scenario")
	}
	if err := all(
		c.want(slices.Contains(s.filed.Signers, a.Party) && who.Party == a.Party && who.Duty == sandbox.Officer, "agreement", "by an officer of one of its parties"),
		c.want(bytes.Equal(a.Digest, s.filed.AgreementDigest), "agreement", "over the filed agreement"),
		c.want(!s.signed[a.Party] && !s.refused, "agreement", "signed once, and never after a refusal"),
		c.shown(s.through(len(stepOrder)), "agreement", "after every approval"),
		c.dated(a.At, e),
	); err != nil {
		return err
	}
	s.signed[a.Party] = true
	return nil
}

func (c *checker) granted(b GrantIssuedBody) error {
	s := c.scenarios[b.Scenario]
	if s == nil {
		return c.shown(false, "grant", "of a filed scenario")
	}
	if err := c.want(s.grant == nil && !s.refused, "grant", "issued once, and never after a refusal"); err != nil {
		return err
	}
	s.grant = &b
	signed := !slices.ContainsFunc(s.filed.Signers, func(p sandbox.PartyID) bool { return !s.signed[p] })
	return all(
		c.want(bytes.Equal(b.ListDigest, s.filed.ListDigest) && b.NotBefore.Before(b.NotAfter), "grant", "for the filed list and a term"),
		c.shown(s.through(len(stepOrder)), "grant", "after the approval of operator, agency and every unit"),
		c.shown(signed, "grant", "after every party's signature"))
}

func (c *checker) asked(e Event, b QuestionDecidedBody) error {
	if c.questions[b.Question] != nil {
		return &broken{"question", "decided once"}
	}
	c.questions[b.Question] = &questionTrail{decided: b}
	if !b.Allow {
		return c.want(len(b.Codes) > 0, "question", "a refusal gives its reasons")
	}
	s := c.scenarios[b.Scenario]
	if s == nil || s.grant == nil {
		return c.shown(false, "question", "allowed under a grant only")
	}
	return c.want(!e.At.Before(s.grant.NotBefore) && e.At.Before(s.grant.NotAfter), "question", "allowed within its grant's term")
}

func (c *checker) computed(b RunComputedBody) error {
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, "run", "of a decided question")
	}
	q.computed, q.inputs = true, b.Inputs
	if q.decided.Engine == sandbox.MPC {
		if err := c.shown(q.shares != nil && q.shares.ended, sharesCheck, "a run over shares ended before its answer is recorded"); err != nil {
			return err
		}
	}
	for _, in := range b.Inputs {
		d := c.datasets[in.Dataset]
		unpushed := q.decided.Engine == sandbox.HE && in.Version == 0 // rows that only the units have
		if err := c.shown(d != nil && (d.versions[in.Version] || unpushed), "run", "over versions that were committed before"); err != nil {
			return err
		}
	}
	return all(c.want(q.decided.Allow, "run", "only an allowed question opens keys"), c.sumBefore(q, false))
}

func (c *checker) checked(b EgressCheckedBody) error {
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, "egress", "of a decided question")
	}
	if err := all(
		c.want(q.checked == nil && q.decided.Allow, "egress", "an allowed question, checked once"),
		c.want(b.Verdict == "pass" && len(b.Result) == sm.Size || b.Verdict == "withheld" && len(b.Result) == 0, "egress", "passed with the digest of the outgoing bytes, or withheld"),
		c.shown(q.computed, "egress", "of a computed answer"),
		c.shown(q.decided.Engine != sandbox.MPC || b.Verdict == "withheld" || q.shares != nil && q.shares.done, sharesCheck, "what passes was computed over shares under a certificate"),
	); err != nil {
		return err
	}
	q.checked = &b
	return c.sumBefore(q, b.Verdict == "pass")
}

// passed holds a result's digest to the one the gate let pass.
func (c *checker) passed(q *questionTrail, result []byte, check string) error {
	if q.checked == nil {
		return c.shown(false, check, "over a checked result")
	}
	return c.want(q.checked.Verdict == "pass" && bytes.Equal(q.checked.Result, result), check, "over exactly the result that passed the gate")
}

// of says whether a vote is on an output of a class. Votes from before they named it are on class A, which alone was voted on.
func (v Vote) of(c sandbox.Class) bool {
	return v.Class == c || v.Class == "" && c == sandbox.ClassA
}

func (c *checker) voted(e Event, b ReviewVotedBody) error {
	const check = "votes"
	var v Vote
	who, ok, err := c.statement(e, b.Statement, ContextVote, &v)
	if err != nil || !ok {
		return err
	}
	q := c.questions[v.Question]
	if q == nil {
		return c.shown(false, check, "on a decided question")
	}
	mine := vote{v, b.Step, c.parties[who.Party], who.ID, b.Statement.Body}
	if err := all(
		c.want(who.Duty == sandbox.Reviewer && e.At.Before(v.Expires), check, "by a reviewer, before it expires"),
		c.want(b.Step == 1 || b.Step == 2 && mine.party.Role == sandbox.Agency, check, "a first vote, or the agency's as the second"),
		c.passed(q, v.Result, check),
		c.unaffiliated(mine.party, v.Recipient, "recipient"),
		c.unaffiliated(mine.party, q.decided.Asker, "author"),
		c.dated(v.At, e),
		c.shown(v.Round == q.review.round, check, "in the round it was signed for"),
		c.want(v.of(q.decided.Class), check, "on the class that was decided"),
		c.want(!q.review.barred[who.ID], check, "an appeal is judged by others than those who voted before"),
	); err != nil {
		return err
	}
	if q.checked != nil {
		if err := c.want(v.Policy == q.checked.Policy, check, "under the policy of the check"); err != nil {
			return err
		}
	}
	first := false
	for _, x := range q.votes {
		if err := c.want(x.party.ID != mine.party.ID && x.step != mine.step, check, "one vote of each step, by different organisations"); err != nil {
			return err
		}
		first = first || x.step == 1
	}
	if b.Step == 2 {
		if err := c.shown(first, check, "the second after the first"); err != nil {
			return err
		}
	}
	q.votes = append(q.votes, mine)
	return nil
}

func (c *checker) unaffiliated(p sandbox.Party, identity sandbox.IdentityID, what string) error {
	i, ok := c.identities[identity]
	if !ok {
		return c.shown(false, "votes", "the "+what+" is an enrolled identity")
	}
	return c.want(!sandbox.Affiliated(p, c.parties[i.Party]), "votes", "not by an affiliate of the "+what)
}

func (c *checker) released(e Event, b ReleaseSentBody) error {
	r := c.release(b.Release)
	if r.sent != nil {
		return &broken{"release", "sent once"}
	}
	r.sent = &b
	_, known := c.identities[b.Recipient]
	if err := all(
		c.want(e.At.Before(b.Expires) && len(b.Result) == sm.Size && len(b.Envelope) == sm.Size, "release", "before it expires, with the digests of result and envelope"),
		c.shown(known, "release", "to an enrolled identity"),
	); err != nil {
		return err
	}
	q := c.questions[b.Question]
	if q != nil {
		if err := c.want(q.decided.Allow && q.decided.Class == b.Class, "release", "of an allowed question and its class"); err != nil {
			return err
		}
	}
	switch b.Class {
	case sandbox.ClassB:
		return c.released1(e, b)
	case sandbox.ClassA, sandbox.ClassC, sandbox.ClassD, sandbox.ClassE, sandbox.ClassF:
	default:
		return &broken{"release", "of a known class"}
	}
	if q == nil {
		return c.shown(false, "release", "of a decided question")
	}
	return c.reviewed(b, q)
}

// reviewed checks the authority of two reviewers.
func (c *checker) reviewed(b ReleaseSentBody, q *questionTrail) error {
	const check = "release authority"
	if err := c.passed(q, b.Result, check); err != nil {
		return err
	}
	// Logs from before reviews left their moves hold none.
	if err := c.shown(q.review.state == "releasing" || !c.moves, check, "in the state releasing of its review"); err != nil {
		return err
	}
	q.review.sent = true
	if q.review.template != "" {
		return c.want(b.Class == sandbox.ClassA, check, "a standing template releases class A")
	}
	steps := map[int]bool{}
	refused := false
	for _, v := range q.votes {
		refused = refused || !v.Approve
		steps[v.step] = true
		if err := c.want(bytes.Equal(v.Result, b.Result) && v.Recipient == b.Recipient && v.of(b.Class) && !b.Expires.After(v.Expires), check,
			"each vote over this result, as of this class, for this recipient and this long"); err != nil {
			return err
		}
	}
	if q.checked != nil {
		for _, owner := range q.checked.Owners {
			if err := c.shown(slices.Contains(q.review.endorsed, owner), check, "with the signature of every owner that the check asks for"); err != nil {
				return err
			}
		}
	}
	return all(
		c.shown(steps[1] && steps[2], check, "two votes, the second the agency's"),
		c.want(!refused, check, "a refusal is a veto"))
}

// released1 checks the authority of one person's consent.
func (c *checker) released1(e Event, b ReleaseSentBody) error {
	if err := c.want(b.Consent != "", "consent", "class B names its consent"); err != nil {
		return err
	}
	k := c.consents[b.Consent]
	if k == nil {
		return c.shown(false, "consent", "given before the answer")
	}
	to, known := c.identities[b.Recipient]
	if q := c.questions[b.Question]; q != nil {
		if err := c.want(q.decided.Scenario == k.receipt.Scenario, "consent", "for the scenario it was given for"); err != nil {
			return err
		}
	}
	if err := c.live(e, k); err != nil {
		return err
	}
	if !known {
		return c.shown(false, "consent", "to its grantee")
	}
	return c.want(to.Party == k.receipt.Grantee, "consent", "to its grantee")
}

func (c *checker) live(e Event, k *consentTrail) error {
	return all(
		c.want(!e.At.Before(k.receipt.NotBefore) && e.At.Before(k.receipt.NotAfter), "consent", "used within its term"),
		c.never(!k.revoked, "consent not revoked", "not used after its revocation"))
}

func (c *checker) answered(e Event, b ClaimAnsweredBody) error {
	r := c.release(b.Release)
	if r.answered != nil {
		return &broken{"consent uses", "one use for each release"}
	}
	r.answered = &b
	k := c.consents[b.Consent]
	if k == nil {
		return c.shown(false, "consent uses", "of a given consent")
	}
	var masking []byte
	if d := c.datasets[k.receipt.Dataset]; d != nil {
		masking = d.masking
	}
	if masking != nil || b.Masking != nil {
		if err := c.shown(bytes.Equal(masking, b.Masking), "masking", "a record is shown by the plan in force"); err != nil {
			return err
		}
	}
	next := b.Use == k.uses+1
	if err := all(
		c.want(b.Use > k.uses && b.Use <= k.receipt.MaxUses, "consent uses", "counted up to the consent's number"),
		c.shown(next, "consent uses", "counted one by one"),
		c.live(e, k),
	); err != nil {
		return err
	}
	k.uses = b.Use
	return nil
}

func (c *checker) release(id sandbox.ReleaseID) *releaseTrail {
	if c.releases[id] == nil {
		c.releases[id] = &releaseTrail{}
	}
	return c.releases[id]
}

// answers checks, at the end, that every release under a consent is one counted use of it, and every use one release.
func (c *checker) answers() error {
	for _, id := range slices.Sorted(maps.Keys(c.releases)) {
		r := c.releases[id]
		if r.answered == nil && r.sent.Class != sandbox.ClassB {
			continue
		}
		ok := r.answered != nil && r.sent != nil
		err := c.shown(ok, "consent uses", "one release for each counted use")
		if err == nil && ok {
			err = c.want(r.sent.Consent == r.answered.Consent && r.sent.Question == r.answered.Question && r.sent.Class == sandbox.ClassB,
				"consent uses", "the release and the use it is counted as agree")
		}
		if err != nil {
			return c.fault("release "+plain(string(id)), err)
		}
	}
	return nil
}

func (c *checker) consented(e Event, b ConsentGivenBody) error {
	var r Receipt
	who, ok, err := c.statement(e, b.Statement, ContextConsent, &r)
	if err != nil || !ok {
		return err
	}
	if c.consents[r.ID] != nil {
		return &broken{"consent", "given once"}
	}
	c.consents[r.ID] = &consentTrail{receipt: r}
	return all(
		c.want(who.ID == r.Subject && c.parties[who.Party].Role == sandbox.Subject, "consent", "given by the subject"),
		c.want(r.MaxUses > 0 && r.NotBefore.Before(r.NotAfter) && len(r.Fields) > 0, "consent", "for named fields, a term and a number of uses"),
		c.dated(r.At, e))
}

func (c *checker) revoked(e Event, b ConsentRevokedBody) error {
	var r Revocation
	who, ok, err := c.statement(e, b.Statement, ContextRevocation, &r)
	if err != nil || !ok {
		return err
	}
	k := c.consents[r.Consent]
	if k == nil {
		return c.shown(false, "consent", "given before it is revoked")
	}
	if err := all(c.want(!k.revoked && who.ID == k.receipt.Subject, "consent", "revoked once, by the subject"), c.dated(r.At, e)); err != nil {
		return err
	}
	k.revoked = true
	return nil
}

// plain keeps what is no identifier out of an error.
func plain(id string) string {
	if sandbox.CheckID("id", id) != nil {
		return "unnamed"
	}
	return id
}
