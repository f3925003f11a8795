package node

import (
	"context"
	"slices"
	"strings"
	"sync"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/policy"
)

// sumRecord is how a question stands that is computed over ciphertexts: its newest plan on record, and whether that epoch's end is too.
type sumRecord struct {
	Plan  attest.SumPlannedBody
	Ended bool
}

// sums are those of this process, and the one ledger of the gate's epochs.
type sums struct {
	mu   sync.Mutex
	of   *he.Ledger
	live map[sandbox.QuestionID]bool
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
	if s.of == nil {
		return nil
	}
	return s.of.Close()
}

func (s *sums) begun(q sandbox.QuestionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live == nil {
		s.live = map[sandbox.QuestionID]bool{}
	}
	s.live[q] = true
}

func (s *sums) finished(q sandbox.QuestionID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, q)
}

// endedSum is how the end of an epoch goes on record.
func (n *Node) endedSum(q questionRecord, k attest.Kind, body any) func(*change) {
	return func(tx *change) { tx.record(k, "question/"+string(q.ID), body, q.audiences()...) }
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
	s.c, s.params = by, s.params.Stricter(s.n.thresholds(d)) // a threshold raised meanwhile holds
	return nil
}
