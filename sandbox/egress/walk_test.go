package egress

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// walker plays a review by random hands and keeps, apart from the review, what it knows of who decided what.
type walker struct {
	tb       testing.TB
	r        Review
	now      time.Time
	policy   string
	template *Template
	used     int  // uses of the template
	stopped  bool // it was stopped, or its term is over
	fine     bool // nothing suppressed
	bytes    []byte
	shut     map[sandbox.IdentityID]bool
	votes    map[sandbox.IdentityID]bool // of the round, standing: true approves
	by       []sandbox.Party             // in order
	seen     []attest.Vote               // every vote ever cast
	acts     []attest.ReviewAct
	approval Approval
	auto     bool
	vetoed   bool
	ruled    bool // the lead approved
	split    bool
	past     map[sandbox.IdentityID]bool
	appealed bool
}

var walkParties = []sandbox.Party{agency, unit, operator, {ID: "unit-b", Role: sandbox.Unit}, {ID: "friend", Role: sandbox.Partner, Affiliates: []sandbox.PartyID{"operator"}},
	{ID: "insurer", Role: sandbox.Insurer}, {ID: "person", Role: sandbox.Subject}, {ID: "auditor", Role: sandbox.Auditor}}

func (w *walker) person(t *rapid.T) (sandbox.Identity, sandbox.Party) {
	p := rapid.SampledFrom(walkParties).Draw(t, "party")
	duty := rapid.SampledFrom([]sandbox.Duty{sandbox.Officer, sandbox.Reviewer}).Draw(t, "duty")
	id := sandbox.IdentityID(fmt.Sprintf("id-%s-%s-%d", p.ID, duty, rapid.IntRange(0, 1).Draw(t, "who")))
	if p.ID == operator.ID && duty == sandbox.Officer {
		id = asker.ID
	}
	return sandbox.Identity{ID: id, Party: p.ID, Duty: duty}, p
}

func (w *walker) submit(t *rapid.T, of *Review) {
	groups := slices.Concat(people(0, 12, "a"), people(40, 11, "c"))
	if !w.fine {
		groups = slices.Concat(groups, people(20, 3, "b"))
	}
	c := claims(w.tb, groups).check("q-1")
	tpl := w.template
	w.r = Submit(Submission{Question: "q-1", Author: asker.ID, Recipient: asker.ID, Datasets: []sandbox.DatasetID{"claims"}, Policy: w.policy, Now: w.now,
		Expires: w.now.AddDate(0, 0, 5), Appeal: 48 * time.Hour, Template: tpl, Asked: TemplateUse{Scenario: "sc", Spec: Digest([]byte("q"))}, Of: of}, c)
	w.bytes, w.votes, w.by, w.ruled, w.split = bytes.Clone(c.Result), map[sandbox.IdentityID]bool{}, nil, false, false
	w.auto = w.r.State == AutoApproved
	if w.auto {
		w.used++
		tpl.Used++
		if !w.fine || w.stopped || w.used > tpl.Budget {
			t.Fatal("a template releases what it must not")
		}
	}
}

func (w *walker) vote(t *rapid.T) {
	who, party := w.person(t)
	if rapid.IntRange(0, 2).Draw(t, "due") > 0 { // who is due, mostly
		party = unit
		if w.r.Step() == 1 {
			party = agency
		}
		who = sandbox.Identity{ID: sandbox.IdentityID(fmt.Sprintf("id-%s-reviewer-%d", party.ID, rapid.IntRange(0, 1).Draw(t, "which"))), Party: party.ID, Duty: sandbox.Reviewer}
	}
	v := vote(w.r, rapid.IntRange(0, 3).Draw(t, "approve") > 0)
	v.At = w.now
	if len(w.seen) > 0 && rapid.IntRange(0, 5).Draw(t, "replayed") == 0 {
		v = rapid.SampledFrom(w.seen).Draw(t, "old")
	}
	e := Electorate{Voter: who, VoterParty: party, Author: operator, Recipient: operator}
	next, err := w.r.Cast(v, e, w.now)
	if err != nil {
		return
	}
	if who.Duty != sandbox.Reviewer || sandbox.Affiliated(party, operator) || v.Round != w.r.Round {
		t.Fatalf("%s of %s voted", who.ID, party.ID)
	}
	if w.appealed && w.past[who.ID] {
		t.Fatal("an appeal before the same reviewer")
	}
	w.r, w.seen = next, append(w.seen, v)
	w.votes[who.ID], w.by = v.Approve, append(w.by, party)
	w.split = len(w.by) == 2 && next.State == Conflicted
}

func (w *walker) act(t *rapid.T) {
	who, party := w.person(t)
	on := rapid.SampledFrom(everyMove[:10]).Draw(t, "act")
	switch state := w.r.At(w.now).State; {
	case rapid.Bool().Draw(t, "anybody"):
	case state == Returned:
		who, party, on = asker, operator, Resubmit
	case state == Rejected:
		who, party, on = asker, operator, Appeal
	case state == Conflicted:
		who, party, on = lead, agency, rapid.SampledFrom([]Move{Return, Reject, Approve}).Draw(t, "ruling")
		for _, v := range w.r.Votes {
			if !v.yes() && rapid.Bool().Draw(t, "lifts") {
				who, on = sandbox.Identity{ID: v.By, Party: v.Party, Duty: sandbox.Reviewer}, Lift
				party = walkParties[slices.IndexFunc(walkParties, func(p sandbox.Party) bool { return p.ID == v.Party })]
			}
		}
	}
	a := attest.ReviewAct{Question: "q-1", Round: w.r.Round, Act: string(on), State: string(w.r.At(w.now).State), Result: w.r.named(on), Reason: "because", At: w.now}
	if len(w.acts) > 0 && rapid.IntRange(0, 5).Draw(t, "replayed") == 0 {
		a = rapid.SampledFrom(w.acts).Draw(t, "old")
	}
	next, err := w.r.Do(a, Electorate{Voter: who, VoterParty: party, Author: operator, Recipient: operator, Owners: []sandbox.PartyID{unit.ID}}, w.now)
	if err != nil {
		return
	}
	w.r, w.acts = next, append(w.acts, a)
	switch Move(a.Act) {
	case Lift:
		w.votes[who.ID] = true
	case Approve:
		w.ruled = true
	case Veto:
		if party.ID != unit.ID {
			t.Fatal("a veto of who owns nothing")
		}
		w.vetoed = true
	case Appeal:
		if w.appealed || w.vetoed {
			t.Fatal("appealed twice, or against a veto")
		}
		w.appealed = true
		for _, v := range w.r.Past { // all that was cast before
			w.past[v.By] = true
		}
		w.renew()
	case Resubmit:
		w.renew()
		w.submit(t, &next)
	}
}

func (w *walker) renew() {
	w.votes, w.by, w.ruled, w.split, w.auto = map[sandbox.IdentityID]bool{}, nil, false, false, false
}

// release tries to send, now and then with bytes swapped, and holds what leaves to the walker's own book.
func (w *walker) release(t *rapid.T) (left bool) {
	r := w.r
	if rapid.IntRange(0, 9).Draw(t, "swap") == 0 {
		r.Result = append(bytes.Clone(r.Result), ' ')
		if rapid.Bool().Draw(t, "digest too") {
			r.Digest = Digest(r.Result)
		}
	}
	if w.approval.Covers(append(bytes.Clone(w.bytes), ' '), w.now) {
		t.Fatal("an approval covers other bytes")
	}
	next, a, err := r.Release(w.now, Present{Policy: w.policy, Revoked: func(id sandbox.IdentityID) bool { return w.shut[id] }, Template: w.template})
	if err != nil {
		if rapid.IntRange(0, 3).Draw(t, "lapse") == 0 {
			if next, err := w.r.Lapse("policy"); err == nil {
				if w.auto {
					w.auto = false
				}
				w.r = next
			}
		}
		return false
	}
	if !w.authorised() || !a.Covers(w.bytes, w.now) || !w.now.Before(w.r.Expires) {
		t.Fatalf("left without authority: %+v", w.r.Votes)
	}
	if next, err = next.Sent(); err != nil {
		t.Fatal(err)
	}
	w.r, w.approval = next, a
	return true
}

// authorised is the rule, said once more and otherwise: the template's, or two organisations of which the second is the agency.
func (w *walker) authorised() bool {
	if w.vetoed || w.policy != w.r.Policy {
		return false
	}
	if w.auto {
		return w.fine && !w.stopped && w.used <= w.template.Budget && !w.now.Before(w.r.Slot) && w.now.Before(w.template.Expires)
	}
	if len(w.by) != 2 || len(w.votes) != 2 || w.by[0].ID == w.by[1].ID || w.by[1].Role != sandbox.Agency || w.split && !w.ruled {
		return false
	}
	for id, yes := range w.votes {
		if !yes || w.shut[id] {
			return false
		}
	}
	return true
}

// Whatever anybody does in whatever order, nothing leaves without authority.
func TestNothingLeavesWithoutAuthority(tb *testing.T) {
	var steps, releases, byTemplate, conflicts atomic.Int64
	some := func() bool { return releases.Load() >= 10 && byTemplate.Load() > 0 && conflicts.Load() > 0 }
	sandboxtest.Until(tb, some, func(t *rapid.T) {
		w := &walker{tb: tb, now: now, policy: "policy/1", shut: map[sandbox.IdentityID]bool{}, past: map[sandbox.IdentityID]bool{}, fine: rapid.IntRange(0, 3).Draw(t, "fine") > 0}
		if rapid.Bool().Draw(t, "template") {
			w.template = &Template{StandingTemplate: attest.StandingTemplate{ID: "t-1", Scenario: "sc", Spec: Digest([]byte("q")), Recipient: asker.ID, Budget: rapid.IntRange(1, 2).Draw(t, "budget"),
				Slot: 60, Policy: "policy/1", Expires: now.AddDate(0, 0, 9)}, By: lead.ID}
		}
		w.submit(t, nil)
		if w.auto && rapid.Bool().Draw(t, "slot") {
			w.now = w.r.Slot
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			steps.Add(1)
			switch rapid.SampledFrom([]string{"vote", "vote", "vote", "act", "act", "release", "release", "clock", "policy", "shut", "stop"}).Draw(t, "what") {
			case "vote":
				w.vote(t)
			case "act":
				w.act(t)
			case "release":
				if w.release(t) {
					releases.Add(1)
					if w.auto {
						byTemplate.Add(1)
					}
				}
			case "clock": // jumps, mostly a little, sometimes far
				w.now = w.now.Add(time.Duration(rapid.SampledFrom([]int{1, 5, 30, 60, 120, 3600, 40 * 3600, 200 * 3600}).Draw(t, "jump")) * time.Second)
			case "policy":
				if rapid.IntRange(0, 5).Draw(t, "changes") == 0 {
					w.policy = rapid.SampledFrom([]string{"policy/1", "policy/2"}).Draw(t, "policy")
				}
			case "shut":
				if who, _ := w.person(t); rapid.IntRange(0, 3).Draw(t, "shuts") == 0 {
					w.shut[who.ID] = true
				}
			case "stop":
				if w.template != nil && rapid.IntRange(0, 5).Draw(t, "stops") == 0 {
					stopped, err := w.template.Stop(attest.TemplateStop{Template: "t-1", Reason: "because"}, lead, agency, w.now)
					if err == nil {
						*w.template, w.stopped = stopped, true
					}
				}
			}
			if w.r.State == Conflicted {
				conflicts.Add(1)
			}
		}
	})
	tb.Logf("%d steps, %d releases, %d of them by template, %d steps in conflict; without authority 0", steps.Load(), releases.Load(), byTemplate.Load(), conflicts.Load())
}
