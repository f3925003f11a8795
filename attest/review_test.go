package attest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

func withoutMoves(s []step) []step {
	return slices.DeleteFunc(s, func(x step) bool { return x.kind == ReviewMoved || x.kind == ReviewOpened })
}

// A log whose reviews left no moves is held to votes alone; one that has any is held to the machine throughout.
func TestLogsFromBeforeMovesVerify(t *testing.T) {
	c := newCast(t)
	if _, err := verify(bundle(t, c.play(t, withoutMoves(c.story())), everything)); err != nil {
		t.Error(err)
	}
}

// act is a party's act on the story's review, by moves that follow from it.
func act(name, who, act, state string, round int, moves ...ReviewStep) step {
	after := round
	if resets(moves) {
		after++
	}
	result := digest("result")
	if act == "resubmit" || act == "appeal" || act == "withdraw" {
		result = nil
	}
	return step{name: name, kind: ReviewMoved, actor: sandbox.IdentityID(who), context: ContextReviewAct,
		body:  &ReviewAct{Question: "q-1", Round: round, Act: act, State: state, Result: result, Reason: "because", At: start},
		moved: &ReviewMovedBody{Question: "q-1", Round: after, From: state, Moves: moves}}
}

// into puts steps in the place of those from one name to another, both included, and counts the minutes anew.
func into(t testing.TB, s []step, from, to string, with ...step) []step {
	t.Helper()
	s = slices.Replace(s, find(t, s, from), find(t, s, to)+1, with...)
	for i := range s {
		s[i].minute = i
	}
	return s
}

func TestReviewMachineIsFollowed(t *testing.T) {
	c := newCast(t)
	later := start.Add(100 * time.Hour)
	sys := func(on, to string) ReviewStep { return ReviewStep{on, to, bySystem} }
	moved := func(name, who, from string, round int, moves ...ReviewStep) step {
		return step{name: name, kind: ReviewMoved, actor: sandbox.IdentityID(who), body: &ReviewMovedBody{Question: "q-1", Round: round, From: from, Moves: moves}}
	}
	cast := func(name, who string, nth, round int, approve bool) step {
		v := &Vote{Question: "q-1", Round: round, Result: digest("result"), Recipient: "op-officer", Expires: later, Policy: "gate/1", Approve: approve, At: start}
		return step{name: name, kind: ReviewVoted, actor: sandbox.IdentityID(who), context: ContextVote, nth: nth, body: v}
	}
	base := c.story
	split := func(t testing.TB) []step {
		return into(t, base(), "first vote", "sent",
			cast("first vote", "civil-reviewer", 1, 0, false), moved("partial", "civil-reviewer", "in-review", 0, ReviewStep{"first-vote", "partial", sandbox.Unit}),
			cast("second vote", "agency-reviewer", 2, 0, true),
			moved("split", "agency-reviewer", "partial", 0, ReviewStep{"second-vote", "consolidating", sandbox.Agency}, sys("split", "conflicted")))
	}
	after := func(t testing.TB, s []step, name string, with ...step) []step {
		return into(t, s, name, name, append([]step{s[find(t, s, name)]}, with...)...)
	}
	check := step{name: "check again", kind: EgressChecked, actor: DomainActor, body: &EgressCheckedBody{Question: "q-1", Verdict: "pass", Result: digest("result"), Policy: "gate/1"}}
	template := func(budget int) step {
		return step{name: "template", kind: TemplateSigned, actor: "agency-officer", context: ContextTemplate, body: &StandingTemplate{ID: "t-1", Scenario: "sc-1", Spec: digest("q1"),
			Recipient: "op-officer", Budget: budget, Slot: 60, Policy: "gate/1", Expires: later, At: start}}
	}
	auto := func(t testing.TB, tpl step, use int) []step {
		s := after(t, base(), "grant", tpl)
		body[EgressCheckedBody](t, s, "check").Suppressed = false
		salt := digest("salt")
		body[QuestionDecidedBody](t, s, "ask").Spec = SpecCommitment(salt, digest("q1"))
		queue := step{name: "queue", kind: ReviewMoved, actor: "op-officer", body: &ReviewMovedBody{Question: "q-1", From: "draft", Expires: later, Template: "t-1", Use: use, Salt: salt,
			Moves: []ReviewStep{{"seal", "sealed", sandbox.Operator}, sys("scan", "scanning"), sys("clear", "checked"), sys("template", "auto-approved")}}}
		return into(t, s, "queue", "second vote", queue)
	}
	release := moved("agreed", "agency-reviewer", "auto-approved", 0, sys("release", "releasing"))
	for _, x := range []struct {
		name  string
		story func(t testing.TB) []step
		want  string // "" holds
	}{
		{"as it should be", func(testing.TB) []step { return base() }, ""},
		{"a conflict that the lead returns, resubmitted and released", func(t testing.TB) []step {
			return after(t, split(t), "split", act("return", "agency-officer", "return", "conflicted", 0, ReviewStep{"return", "returned", sandbox.Agency}),
				act("resubmit", "op-officer", "resubmit", "returned", 0, ReviewStep{"resubmit", "sealed", sandbox.Operator}), check,
				moved("queue again", "op-officer", "sealed", 1, sys("scan", "scanning"), sys("clear", "checked"), sys("queue", "in-review")),
				cast("v1", "civil-reviewer", 1, 1, true), moved("m1", "civil-reviewer", "in-review", 1, ReviewStep{"first-vote", "partial", sandbox.Unit}),
				cast("v2", "agency-reviewer", 2, 1, true), moved("m2", "agency-reviewer", "partial", 1, ReviewStep{"second-vote", "consolidating", sandbox.Agency}, sys("agree", "approved"), sys("release", "releasing")),
				base()[find(t, base(), "release")], moved("sent", "agency-reviewer", "releasing", 1, sys("sent", "released")))
		}, ""},
		{"votes of the round before", func(t testing.TB) []step {
			return after(t, split(t), "split", act("return", "agency-officer", "return", "conflicted", 0, ReviewStep{"return", "returned", sandbox.Agency}),
				act("resubmit", "op-officer", "resubmit", "returned", 0, ReviewStep{"resubmit", "sealed", sandbox.Operator}), check,
				moved("queue again", "op-officer", "sealed", 1, sys("scan", "scanning"), sys("clear", "checked"), sys("queue", "in-review")),
				cast("v1", "civil-reviewer", 1, 0, true))
		}, "votes: in the round"},
		{"a lead outvotes a refusal", func(t testing.TB) []step {
			return after(t, split(t), "split", act("approve", "agency-officer", "approve", "conflicted", 0, ReviewStep{"approve", "approved", sandbox.Agency}))
		}, "a refusal is a veto"},
		{"a refusal lifted by who gave it, then approved", func(t testing.TB) []step {
			return after(t, split(t), "split", act("lift", "civil-reviewer", "lift", "conflicted", 0, ReviewStep{"lift", "conflicted", sandbox.Unit}),
				act("approve", "agency-officer", "approve", "conflicted", 0, ReviewStep{"approve", "approved", sandbox.Agency}, sys("release", "releasing")),
				base()[find(t, base(), "release")], moved("sent", "agency-reviewer", "releasing", 0, sys("sent", "released")))
		}, ""},
		{"lifted by another", func(t testing.TB) []step {
			return after(t, split(t), "split", act("lift", "med-reviewer", "lift", "conflicted", 0, ReviewStep{"lift", "conflicted", sandbox.Unit}))
		}, "lifted by who gave it"},
		{"the lead voted", func(t testing.TB) []step {
			return after(t, split(t), "split", act("reject", "agency-reviewer", "reject", "conflicted", 0, ReviewStep{"reject", "rejected", sandbox.Agency}))
		}, "by the agency's officer"},
		{"appealed twice", func(t testing.TB) []step {
			return after(t, split(t), "split", act("reject", "agency-officer", "reject", "conflicted", 0, ReviewStep{"reject", "rejected", sandbox.Agency}),
				act("appeal", "op-officer", "appeal", "rejected", 0, ReviewStep{"appeal", "appeal", sandbox.Operator}),
				act("veto", "med-officer", "veto", "appeal", 1, ReviewStep{"veto", "rejected", sandbox.Unit}),
				act("again", "op-officer", "appeal", "rejected", 1, ReviewStep{"appeal", "appeal", sandbox.Operator}))
		}, "veto is final"},
		{"an appeal before the same reviewer", func(t testing.TB) []step {
			return after(t, split(t), "split", act("reject", "agency-officer", "reject", "conflicted", 0, ReviewStep{"reject", "rejected", sandbox.Agency}),
				act("appeal", "op-officer", "appeal", "rejected", 0, ReviewStep{"appeal", "appeal", sandbox.Operator}), cast("v1", "civil-reviewer", 1, 1, true))
		}, "judged by others"},
		{"a veto of who owns nothing behind it", func(t testing.TB) []step {
			return after(t, split(t), "split", act("veto", "civil-officer", "veto", "conflicted", 0, ReviewStep{"veto", "rejected", sandbox.Unit}))
		}, "a veto is an owner's"},
		{"an act signed for another state", func(t testing.TB) []step {
			a := act("veto", "med-officer", "veto", "conflicted", 0, ReviewStep{"veto", "rejected", sandbox.Unit})
			a.body.(*ReviewAct).State = "in-review"
			return after(t, split(t), "split", a)
		}, "in the state it was signed for"},
		{"an act without statement", func(t testing.TB) []step {
			return after(t, split(t), "split", moved("veto", "med-officer", "conflicted", 0, ReviewStep{"veto", "rejected", sandbox.Unit}))
		}, "carries its statement"},
		{"from draft to released", func(t testing.TB) []step {
			s := base()
			s[find(t, s, "queue")].body.(*ReviewMovedBody).Moves = []ReviewStep{sys("sent", "released")}
			return s
		}, "a transition of the review's state machine"},
		{"a move by a role that may not", func(t testing.TB) []step {
			s := base()
			s[find(t, s, "agreed")].body.(*ReviewMovedBody).Moves[0].By = sandbox.Unit
			return s
		}, "by a role that may cause it"},
		{"a move left out", func(t testing.TB) []step { return into(t, base(), "partial", "partial") }, "from the state the review is in"},
		{"released without its move", func(t testing.TB) []step {
			s := base()
			b := s[find(t, s, "agreed")].body.(*ReviewMovedBody)
			b.Moves = b.Moves[:2]
			return s
		}, "release authority: in the state releasing"},
		{"another vote is opened", func(t testing.TB) []step {
			s := base()
			s[find(t, s, "opened")].body.(*Vote).Reason = "x"
			return s
		}, "the vote that is opened"},
		{"expired before its time", func(t testing.TB) []step {
			return into(t, base(), "first vote", "sent", moved("x", "agency-reviewer", "in-review", 0, sys("expire", "expired")))
		}, "not before its time"},
		{"released under a standing template", func(t testing.TB) []step {
			s := auto(t, template(1), 1)
			return into(t, s, "agreed", "agreed", release)
		}, ""},
		{"of another question", func(t testing.TB) []step {
			s := auto(t, template(1), 1)
			body[QuestionDecidedBody](t, s, "ask").Spec = SpecCommitment(digest("salt"), digest("q2"))
			return s
		}, "is the one its template names"},
		{"without saying of which question", func(t testing.TB) []step {
			s := auto(t, template(1), 1)
			body[ReviewMovedBody](t, s, "queue").Salt = nil
			return s
		}, "is the one its template names"},
		{"beyond its budget", func(t testing.TB) []step { return auto(t, template(1), 2) }, "counted up to its budget"},
		{"a template signed by an operator", func(t testing.TB) []step {
			tpl := template(1)
			tpl.actor = "op-officer"
			return auto(t, tpl, 1)
		}, "standing template: by a party in the role agency"},
		{"a template that nobody signed", func(t testing.TB) []step {
			s := auto(t, template(1), 1)
			return into(t, s, "template", "template")
		}, "standing template: signed before"},
		{"a stopped template", func(t testing.TB) []step {
			s := auto(t, template(1), 1)
			return after(t, s, "template", step{name: "stop", kind: TemplateStopped, actor: "agency-officer", context: ContextTemplateStop, body: &TemplateStop{Template: "t-1", Reason: "r", At: start}})
		}, "neither stopped nor expired"},
		{"with something suppressed", func(t testing.TB) []step {
			s := auto(t, template(1), 1)
			body[EgressCheckedBody](t, s, "check").Suppressed = true
			return s
		}, "every check passed"},
		{"a reviewer's key revoked between vote and release", func(t testing.TB) []step {
			return after(t, base(), "opened", step{name: "shut", kind: IdentityRevoked, actor: "agency-officer", body: &IdentityRevokedBody{Identity: "civil-reviewer", Reason: "lost"}})
		}, "revoked between vote and release"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := verify(bundle(t, c.play(t, x.story(t)), everything))
			if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
}

// A bundle that hides the first vote's own entry counts the opened statement, under its signer's key.
func TestOpenedVoteStandsForAHiddenOne(t *testing.T) {
	c := newCast(t)
	hide := func(e Event) bool { return e.Kind != ReviewVoted || e.Actor != "civil-reviewer" }
	if _, err := verify(bundle(t, c.play(t, c.story()), hide)); err != nil {
		t.Error(err)
	}
	s := c.story()
	s[find(t, s, "opened")].signer = "med-reviewer"
	if _, err := verify(bundle(t, c.play(t, s), hide)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a forged vote is opened: %v", err)
	}
}
