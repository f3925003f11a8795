package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/policy"
)

// sumRecord is how a question stands that is computed over ciphertexts: its newest plan on record, by whose order, and whether that epoch's end is on
// record too.
type sumRecord struct {
	Plan  attest.SumPlannedBody
	Order orderRecord
	Ended bool

	At    time.Time         `json:",omitzero"`  // of the end
	Left  []sandbox.PartyID `json:",omitempty"` // with whom it ended
	Cause string            `json:",omitempty"` // by what rule of the protocol
}

// orderRecord is a SumOrder but for its question, with what was left to the domain filled in.
type orderRecord struct {
	Units     []sandbox.IdentityID
	Threshold int
	Openers   []int
	Set       he.SetName
	Keys      spec.Keys `json:",omitempty"`
}

func orderOf(o SumOrder, p *he.Plan) orderRecord {
	return orderRecord{o.Units, p.Threshold, p.Openers, p.Set, o.Keys}
}

// over is the record of an epoch that ended.
func (s *Sum) over() *sumRecord {
	next := *s.q.Sum
	if !next.Ended {
		next.Ended, next.At, next.Left, next.Cause = true, s.n.now().UTC().Truncate(time.Millisecond), s.left, s.cause
	}
	return &next
}

// SumLimits (密态汇总限额) bound what sums over ciphertexts take. Zeros: as the comments say.
type SumLimits struct {
	Live  int           // epochs that go on at once, each with a process of its own; 0: 4
	Bytes int64         // of messages held for all of them; 0: 512 MiB
	Begin time.Duration // how long the units have to approve a plan and begin; 0: 8 hours
	Step  time.Duration // how long each further step waits for its messages, and each of a secret model's run; 0: 10 minutes
	Wait  time.Duration // how long a question waits for another epoch after one that was aborted, before it is withheld; 0: 3 days
}

func (l SumLimits) or() SumLimits {
	if l.Live == 0 {
		l.Live = 4
	}
	if l.Bytes == 0 {
		l.Bytes = 512 << 20
	}
	for _, d := range []struct {
		value *time.Duration
		zero  time.Duration
	}{{&l.Begin, 8 * time.Hour}, {&l.Step, 10 * time.Minute}, {&l.Wait, 72 * time.Hour}} {
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	return l
}

// sums are those of this process, and the one ledger of the gate's epochs.
type sums struct {
	mu   sync.Mutex
	of   *he.Ledger
	room map[sandbox.QuestionID]int64       // what the messages of an epoch take at most
	live map[sandbox.QuestionID]*carriedSum // those whose messages the domain carries

	bound func(context.Context) (context.Context, context.CancelFunc) // nil: stepTime; a test ends a step when it likes
}

// ledger opens the ledger on first use; Node.Close closes it.
func (s *sums) ledger(dir string) (l *he.Ledger, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		if l, err = he.OpenLedger(dir); err != nil {
			return nil, err
		}
		s.of = l
	}
	return s.of, nil
}

func (s *sums) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.live { // their keys end here: the next start says so on record
		x.mu.Lock()
		if x.sum != nil && !x.stepping && !x.sum.ended {
			x.sum.gate.Close()
			x.sum.stop()
		}
		x.mu.Unlock()
	}
	if s.of == nil {
		return nil
	}
	return s.of.Close()
}

// admit keeps room for an epoch's messages: TooLarge for one that no domain of these limits could hold, Unavailable while others take it.
func (s *sums) admit(q sandbox.QuestionID, peak int, limits SumLimits) error {
	limits = limits.or()
	s.mu.Lock()
	defer s.mu.Unlock()
	if int64(peak) > limits.Bytes {
		return &sandbox.Error{Op: "sum", Kind: sandbox.TooLarge, Object: string(q), Detail: fmt.Sprintf("its messages take up to %d MiB, and this domain holds %d", peak>>20, limits.Bytes>>20), Hint: "fewer units, groups or measures"}
	}
	held := int64(0)
	for _, n := range s.room {
		held += n
	}
	if len(s.room) >= limits.Live || held+int64(peak) > limits.Bytes {
		return &sandbox.Error{Op: "sum", Kind: sandbox.Unavailable, Object: string(q), Detail: "as many sums go on as this domain holds at once", Hint: "ask again when one has ended"}
	}
	if s.room == nil {
		s.room = map[sandbox.QuestionID]int64{}
	}
	s.room[q] = int64(peak)
	return nil
}

func (s *sums) release(q sandbox.QuestionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.room, q)
}

// endedSum is how the end of an epoch goes on record. Why one was aborted may follow from what a unit holds: not for who asked.
func (n *Node) endedSum(q questionRecord, k attest.Kind, body any) func(*change) {
	to := q.audiences()
	if k == attest.SumAborted {
		to = []audienceName{agency, unitsOf(q.Spec.Scenario)}
	}
	return func(tx *change) { tx.record(k, "question/"+string(q.ID), body, to...) }
}

// rights decides the question again: rules, grants, versions and who is shut out may have changed since it was asked. Denied or Expired where it
// would not be allowed now.
func (s *Sum) rights(ctx context.Context) error {
	fail := func(kind sandbox.Kind, rule string) error {
		return &sandbox.Error{Op: "sum", Kind: kind, Object: string(s.q.ID), Detail: rule}
	}
	asker, err := s.n.known(ctx, s.q.Asker)
	if err != nil {
		return err
	}
	if asker.revoked {
		return fail(sandbox.Expired, "who asked was revoked")
	}
	by := api.Caller{Identity: asker.identity, Party: asker.party, Request: s.c.Request}
	f, _, err := s.n.facts(ctx, by, s.q.Spec, s.n.now())
	if err != nil {
		return err
	}
	f.Engine = sandbox.HE
	decision, d := s.n.decide(f, s.q.Spec, sandbox.ClassA)
	// Its bits, comparisons of the day and privacy were charged when it was accepted.
	decision.Reasons = slices.DeleteFunc(decision.Reasons, func(r sandbox.Reason) bool {
		return r.Code == policy.CodeBits || r.Code == policy.CodePerDay || r.Code == policy.CodePrivacy
	})
	if len(decision.Reasons) > 0 || !d.Complete() {
		return fail(sandbox.Denied, "the question is no longer allowed: "+strings.Join(reasonCodes(decision), ", "))
	}
	if err := s.n.standing(ctx, s.q.Inputs); err != nil {
		return err
	}
	for _, id := range s.order.Units {
		k, err := s.n.known(ctx, id)
		if err != nil {
			return err
		}
		if k.revoked && !s.ended { // of the epoch that opens; the next is planned without it
			return fail(sandbox.Denied, "who acts for a unit was shut out")
		}
	}
	params := s.params.Stricter(s.n.thresholds(d)) // a threshold raised meanwhile holds
	if s.q.List != nil {
		if s.q.List.People < params.MinSubjects {
			return fail(sandbox.Denied, "the question is no longer allowed: he.list")
		}
		crossed, err := s.n.besideList(ctx, s.q.List, s.q.Spec, s.q.Party, s.q.ID)
		if err != nil {
			return err
		}
		if crossed != nil {
			return fail(sandbox.Denied, "the question is no longer allowed: "+crossed.Code)
		}
	}
	s.c, s.params = by, params
	return nil
}
