package egress

import (
	"errors"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

var everyRole = []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Insurer, sandbox.Unit, sandbox.Subject, sandbox.Auditor, workflow.System, ""}

var everyMove = []Move{Withdraw, Return, Lift, Approve, Reject, Veto, Appeal, Resubmit, Revoke, Sample, Endorse, seal, scanned, hit, clears, withhold, queue, auto, fails, first, second, agree, split,
	refuse, release, sent, lapse, expire, spend, ""}

// stateTable is the gate's state table, written for people: who leads from where to where. Roles: a agency, s system, u unit, w who asks
// (operator, partner), f first reviewers (unit, operator, partner, auditor).
const stateTable = `
draft          seal         w   sealed
draft          withdraw     w   withdrawn
sealed         scan         s   scanning
scanning       hit          s   quarantined
scanning       clear        s   checked
scanning       withhold     s   withheld
checked        withhold     s   withheld
checked        queue        s   in-review
checked        template     s   auto-approved
checked        fail         s   returned
quarantined    return       a   returned
quarantined    reject       a   rejected
quarantined    veto         u   rejected
quarantined    expire       s   expired
in-review      first-vote   f   partial
in-review      return       f   returned
in-review      veto         u   rejected
in-review      expire       s   expired
partial        second-vote  a   consolidating
partial        return       a   returned
in-review      endorse      u   in-review
partial        endorse      u   partial
appeal         endorse      u   appeal
partial        veto         u   rejected
partial        expire       s   expired
consolidating  agree        s   approved
consolidating  split        s   conflicted
consolidating  refuse       s   rejected
consolidating  fail         s   returned
conflicted     lift         fa  conflicted
conflicted     approve      a   approved
conflicted     reject       a   rejected
conflicted     return       a   returned
conflicted     veto         u   rejected
conflicted     expire       s   expired
approved       release      s   releasing
approved       lapse        s   returned
approved       revoke       a   revoked
approved       veto         u   rejected
approved       expire       s   expired
auto-approved  release      s   releasing
auto-approved  lapse        s   in-review
auto-approved  revoke       a   revoked
auto-approved  veto         u   rejected
auto-approved  expire       s   expired
releasing      sent         s   released
releasing      lapse        s   returned
releasing      expire       s   expired
released       sample       a   released
released       revoke       a   revoked
released       expire       s   expired
released       spend        s   expired
returned       resubmit     w   sealed
returned       withdraw     w   withdrawn
returned       veto         u   rejected
returned       expire       s   expired
rejected       appeal       w   appeal
appeal         first-vote   f   appeal
appeal         second-vote  a   consolidating
appeal         veto         u   rejected
appeal         expire       s   rejected
`

func rows(t testing.TB) map[[3]string][]sandbox.Role {
	t.Helper()
	who := map[byte][]sandbox.Role{'a': {sandbox.Agency}, 's': {workflow.System}, 'u': {sandbox.Unit}, 'w': {sandbox.Operator, sandbox.Partner},
		'f': {sandbox.Unit, sandbox.Operator, sandbox.Partner, sandbox.Auditor}}
	out := map[[3]string][]sandbox.Role{}
	for _, line := range lines(stateTable) {
		if len(line) != 4 {
			t.Fatalf("row %v", line)
		}
		for _, c := range []byte(line[2]) {
			key := [3]string{line[0], line[1], line[3]}
			out[key] = append(out[key], who[c]...)
		}
	}
	return out
}

// Every ordered pair of states, every move, every role: what the table does not list is refused and moves nothing.
func TestReviewStatesEveryPair(t *testing.T) {
	m, err := Machine()
	if err != nil {
		t.Fatal(err)
	}
	states := append(m.States(), "")
	if len(states) != 21 {
		t.Fatalf("%d states", len(states))
	}
	want, pairs := rows(t), 0
	for _, from := range states {
		for _, on := range everyMove {
			for _, role := range everyRole {
				to, err := m.Next(from, on, role)
				if err != nil && to != from {
					t.Errorf("%s on %s by %s moves to %s and fails", from, on, role, to)
				}
				for _, x := range states {
					pairs++
					listed := slices.Contains(want[[3]string{string(from), string(on), string(x)}], role)
					if moved := err == nil && to == x; moved != listed {
						t.Errorf("%s on %s by %s to %s: %v, want %v", from, on, role, x, moved, listed)
					}
				}
			}
		}
	}
	if pairs != 21*30*9*21 {
		t.Errorf("%d pairs looked at", pairs)
	}
	for _, s := range []State{Expired, Revoked, Withdrawn, Withheld} {
		if !m.Final(s) {
			t.Errorf("%s leads on", s)
		}
	}
	// A person, an insurer and nobody cause nothing at all.
	for _, from := range states {
		for _, on := range everyMove {
			for _, role := range []sandbox.Role{sandbox.Insurer, sandbox.Subject, ""} {
				if _, err := m.Next(from, on, role); err == nil {
					t.Errorf("%s on %s by %q", from, on, role)
				}
			}
		}
	}
}

// The verifier follows its own table; it is this one.
func TestVerifierFollowsTheSameTable(t *testing.T) {
	want, seen := rows(t), 0
	for _, m := range attest.ReviewMoves() {
		who := want[[3]string{m.From, m.On, m.To}]
		if len(who) != len(m.By) || slices.ContainsFunc(m.By, func(r sandbox.Role) bool { return !slices.Contains(who, r) }) {
			t.Errorf("%s on %s to %s by %v, here by %v", m.From, m.On, m.To, m.By, who)
		}
		seen++
	}
	if seen != len(want) {
		t.Errorf("%d rows there, %d here", seen, len(want))
	}
}

// What is done to a review in any state by anybody either follows the table or leaves the review as it was.
func TestEveryActInEveryState(t *testing.T) {
	m, err := Machine()
	if err != nil {
		t.Fatal(err)
	}
	want, done := rows(t), 0
	for _, state := range m.States() {
		for on := range acts {
			for _, role := range []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Insurer, sandbox.Unit, sandbox.Subject, sandbox.Auditor} {
				for _, duty := range []sandbox.Duty{sandbox.Officer, sandbox.Reviewer} {
					r := submitted(t)
					r.State, r.steps, r.AppealUntil, r.Sampled = state, nil, now.AddDate(0, 0, 1), true
					party := sandbox.Party{ID: "party", Role: role}
					who := sandbox.Identity{ID: "id-party", Party: "party", Duty: duty}
					author := operator
					if on == Withdraw || on == Resubmit || on == Appeal {
						r.Author, author = who.ID, party
					}
					if on == Lift {
						r.Votes = []Vote{{By: who.ID, Party: "party"}}
					}
					e := Electorate{Voter: who, VoterParty: party, Author: author, Recipient: operator, Owners: []sandbox.PartyID{"party"}}
					a := attest.ReviewAct{Question: r.Question, Act: string(on), State: string(state), Result: r.named(on), Reason: "because", At: now}
					got, err := r.Do(a, e, now)
					if err != nil {
						if got.State != state || len(got.steps) != 0 || len(got.Acts) != 0 {
							t.Errorf("%s in %s by %s fails and moves to %s", on, state, role, got.State)
						}
						if !errors.Is(err, sandbox.Denied) && !errors.Is(err, sandbox.Conflict) {
							t.Errorf("%s in %s by %s: %v", on, state, role, err)
						}
						continue
					}
					done++
					if !slices.Contains(want[[3]string{string(state), string(on), string(got.State)}], role) {
						t.Errorf("%s in %s by a %s of the %s leads to %s", on, state, duty, role, got.State)
					}
					if b, _, some := got.Moved(); !some || b.From != string(state) || b.Moves[0].On != string(on) || len(got.Acts) != 1 {
						t.Errorf("%s in %s leaves no trace", on, state)
					}
				}
			}
		}
	}
	if done < 25 {
		t.Errorf("%d acts were possible", done)
	}
}
