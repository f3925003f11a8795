package node

import (
	"context"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/release"
	"github.com/opdomain/opdomain/sandbox/store"
)

// releaseRecord is a release with its sealed envelope.
type releaseRecord struct {
	Info     api.ReleaseInfo
	Party    sandbox.PartyID // of the recipient
	Inputs   []sandbox.InputVersion
	Envelope []byte

	First   time.Time `json:",omitzero"` // download
	Fetched int       `json:",omitempty"`
}

func listState(state string) store.Filter { return store.Filter{State: state} }

// Reviews lists the results the caller may review or look into, oldest first.
func (n *Node) Reviews(ctx context.Context, c api.Caller) ([]api.Review, error) {
	rows, err := n.docs.questions.List(ctx, listState(stateReview))
	if err != nil {
		return nil, err
	}
	n.queueAge(rows)
	out := []api.Review{}
	for _, r := range rows {
		v, ok, err := n.view(ctx, c, r.Value)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, v)
		}
	}
	return out, nil
}

// queueAge measures how long the oldest undecided result waits.
func (n *Node) queueAge(rows []store.Document[questionRecord]) {
	now, waiting := n.now(), time.Duration(0)
	for _, r := range rows {
		if at := r.Value.Review.At(now); at.State.Open() {
			waiting = max(waiting, now.Sub(at.Submitted))
		}
	}
	n.cfg.Metrics.QueueAge(waiting)
}

// Review gives one result the caller may review or look into.
func (n *Node) Review(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Review, error) {
	q, err := n.reviewed(ctx, id)
	if err != nil {
		return api.Review{}, err
	}
	earlier, err := n.earlier(ctx, q)
	if err != nil {
		return api.Review{}, err
	}
	v, ok, err := n.view(ctx, c, q, earlier...)
	if err == nil && !ok {
		err = &sandbox.Error{Op: "review", Kind: sandbox.NotFound, Object: string(id)}
	}
	return v, err
}

// earlier gives the reviews of the answers before one, for what changed.
func (n *Node) earlier(ctx context.Context, q questionRecord) ([]egress.Review, error) {
	rows, err := n.docs.questions.List(ctx, listState(stateReview))
	if err != nil {
		return nil, err
	}
	var out []egress.Review
	for _, r := range rows {
		if r.Value.Review.Submitted.Before(q.Review.Submitted) {
			out = append(out, *r.Value.Review)
		}
	}
	return out, nil
}

func (n *Node) reviewed(ctx context.Context, id sandbox.QuestionID) (questionRecord, error) {
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err == nil && q.Review == nil {
		err = &sandbox.Error{Op: "review", Kind: sandbox.NotFound, Object: string(id)}
	}
	return q, err
}

// view shows a review to a caller. The agency, and a unit that owns every dataset behind it, see the numbers; a unit that
// owns some sees why an answer was withheld but no numbers of others' data; other reviewers see the outgoing bytes and rule
// names while they may still vote, and only if they are affiliated with nobody who asked or receives. Nobody else sees
// anything. A withheld answer has no outgoing bytes.
func (n *Node) view(ctx context.Context, c api.Caller, q questionRecord, earlier ...egress.Review) (api.Review, bool, error) {
	some, all, err := n.owns(ctx, c.Party, q.Inputs)
	if err != nil {
		return api.Review{}, false, err
	}
	r := q.Review.At(n.now())
	full := c.Party.Role == sandbox.Agency || all
	if !full && !some {
		mine := slices.ContainsFunc(r.Votes, func(v egress.Vote) bool { return v.By == c.Identity.ID })
		if c.Identity.Duty != sandbox.Reviewer || !r.State.Open() && !(mine && r.State == egress.Conflicted) {
			return api.Review{}, false, nil
		}
		for _, id := range []sandbox.IdentityID{r.Author, r.Recipient} {
			_, p, err := n.Identity(ctx, id)
			if err != nil || sandbox.Affiliated(c.Party, p) {
				return api.Review{}, false, err
			}
		}
	}
	v := api.Review{ID: r.Question, Class: r.Class, State: string(r.State), Round: r.Round, Votes: len(r.Votes), Author: r.Author, Recipient: r.Recipient, Expires: r.Expires, Result: r.Result,
		Digest: r.Digest, Policy: r.Policy, Rules: r.Rules, Comment: r.Comment, Template: r.Template, Slot: r.Slot, Sampled: r.Sampled}
	if full || some {
		if !full {
			r.Cells, r.Hidden = nil, nil
		}
		if v.Pack, err = r.Pack(earlier...); err != nil {
			return api.Review{}, false, err
		}
	}
	return v, true, nil
}

// Vote counts a signed vote; the second approval releases the result in the same change.
func (n *Node) Vote(ctx context.Context, c api.Caller, id sandbox.QuestionID, st attest.Statement) (api.Review, error) {
	var v attest.Vote
	if err := signed(c, st, attest.ContextVote, &v); err != nil {
		return api.Review{}, err
	}
	var q questionRecord
	released := false
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		var err error
		if q, err = n.reviewed(ctx, id); err != nil {
			return err
		}
		if _, ok, err := n.view(ctx, c, q); err != nil || !ok {
			return &sandbox.Error{Op: "review", Kind: sandbox.NotFound, Object: string(id), Err: err}
		}
		_, author, err := n.Identity(ctx, q.Review.Author)
		if err != nil {
			return err
		}
		to, recipient, err := n.Identity(ctx, q.Review.Recipient)
		if err != nil {
			return err
		}
		next, err := q.Review.Cast(v, egress.Electorate{Voter: c.Identity, VoterParty: c.Party, Author: author, Recipient: recipient}, tx.at)
		if err != nil {
			return err
		}
		q.Review = &next
		n.voted(tx, c, &q, st)
		if next.State == egress.Approved {
			if released, err = n.deliver(ctx, tx, &q, to, nil); err != nil {
				return err
			}
		} else {
			n.moved(tx, &q, nil, q.audiences()...)
		}
		return n.saveQuestion(ctx, q)
	})
	if err != nil {
		return api.Review{}, err
	}
	if released {
		n.cfg.Metrics.Released(q.Review.Class)
	}
	if rows, err := n.docs.questions.List(ctx, listState(stateReview)); err == nil {
		n.queueAge(rows)
	}
	out, _, err := n.view(ctx, c, q)
	return out, err
}

// voted records a vote. The first is its own party's to see until the second is in; then both are opened to those who follow the
// review, and to its asker when the result leaves: the digest of a small result that does not is guessed.
func (n *Node) voted(tx *change, c api.Caller, q *questionRecord, st attest.Statement) {
	object := "question/" + string(q.ID)
	if q.Review.Step() == 1 {
		q.First = &st
		tx.record(attest.ReviewVoted, object, attest.ReviewVotedBody{Statement: st, Step: 1}, toParty(c.Party.ID))
		return
	}
	to := []audienceName{agency, unitsOf(q.Spec.Scenario)}
	if q.Review.State == egress.Approved {
		to = q.audiences()
	}
	if q.First != nil {
		tx.record(attest.ReviewOpened, object, attest.ReviewOpenedBody{Question: q.ID, Statement: *q.First}, to...)
	}
	q.First = nil
	tx.record(attest.ReviewVoted, object, attest.ReviewVotedBody{Statement: st, Step: q.Review.Step()}, to...)
}

// moved records the moves a review has made since it was last recorded. st is the act that caused the first.
func (n *Node) moved(tx *change, q *questionRecord, st *attest.Statement, to ...audienceName) {
	body, settled, some := q.Review.Moved()
	if !some {
		return
	}
	body.Statement = st
	tx.record(attest.ReviewMoved, "question/"+string(q.ID), body, to...)
	q.Review = &settled
}

// deliver sends an approved result: authority → release → evidence. When the policy has changed since it was checked it goes back
// to its author instead; released says which.
func (n *Node) deliver(ctx context.Context, tx *change, q *questionRecord, to sandbox.Identity, st *attest.Statement) (released bool, err error) {
	present, err := n.present(ctx, q)
	if err != nil {
		return false, err
	}
	if present.Policy != q.Review.Policy {
		return false, n.lapse(tx, q, st)
	}
	if stands, err := n.standsOn(ctx, q, tx.at); err != nil {
		return false, err
	} else if !stands {
		return false, n.lapsed(tx, q, st, sourceGone)
	}
	next, approval, err := q.Review.Release(tx.at, present)
	if err != nil {
		return false, err
	}
	q.Review = &next
	n.moved(tx, q, st, q.audiences()...)
	id, err := n.send(ctx, tx, approval, q.Review.Result, to, q.Inputs, q.audiences())
	if err != nil {
		return false, err
	}
	sent, err := q.Review.Sent()
	if err != nil {
		return false, err
	}
	q.Review, q.Release = &sent, id
	n.moved(tx, q, nil, q.audiences()...)
	return true, nil
}

// send makes, keeps and records one release.
func (n *Node) send(ctx context.Context, tx *change, a egress.Approval, result []byte, to sandbox.Identity, inputs []sandbox.InputVersion, sealed []audienceName) (sandbox.ReleaseID, error) {
	key, err := sm.ParseEncryptKey(to.EncryptKey)
	if err != nil {
		return "", err
	}
	s, err := n.newID("x")
	if err != nil {
		return "", err
	}
	id := sandbox.ReleaseID(s)
	sender := release.Sender{Domain: n.desc.Domain, Key: n.keys.SigningKey(), Rand: n.cfg.Rand}
	env, err := sender.Send(a, id, result, key, tx.at)
	if err != nil {
		return "", err
	}
	b, err := env.Encode()
	if err != nil {
		return "", err
	}
	rec := releaseRecord{Info: api.ReleaseInfo{ID: id, Question: a.Question(), Class: a.Class(), Recipient: a.Recipient(), Expires: env.Expires}, Party: to.Party, Inputs: inputs, Envelope: b}
	if err := n.docs.releases.Insert(ctx, s, string(to.Party), string(a.Class()), rec); err != nil {
		return "", err
	}
	digest := sm.Sum(b)
	tx.record(attest.ReleaseSent, "release/"+s, attest.ReleaseSentBody{Release: id, Question: a.Question(), Class: a.Class(), Recipient: a.Recipient(),
		Result: env.Result, Envelope: digest[:], Expires: env.Expires, Consent: a.Consent()}, sealed...)
	return id, nil
}

// Releases lists the releases to the caller's party; the agency, auditors and owning units see what concerns them.
func (n *Node) Releases(ctx context.Context, c api.Caller) ([]api.ReleaseInfo, error) {
	rows, err := n.docs.releases.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []api.ReleaseInfo{}
	for _, r := range rows {
		owner, _, err := n.owns(ctx, c.Party, r.Value.Inputs)
		if err != nil {
			return nil, err
		}
		if owner || r.Value.Party == c.Party.ID || slices.Contains([]sandbox.Role{sandbox.Agency, sandbox.Auditor}, c.Party.Role) {
			out = append(out, r.Value.Info)
		}
	}
	return out, nil
}
