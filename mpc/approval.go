package mpc

import (
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextApproval is what an owner's approval is signed under.
const ContextApproval = attest.ContextSharesApproval

// Approval (参与批准) is the body of an owner's statement: this party may take part in this plan.
type Approval = attest.SharesApproval

// Approve signs an approval as the party's owner, from issued to expires in whole seconds.
func Approve(rand io.Reader, key *sm.SigningKey, p Plan, party sandbox.PartyID, issued, expires time.Time) (attest.Statement, error) {
	i := p.index(party)
	if i < 0 {
		return attest.Statement{}, invalid("party", "one of the plan's")
	}
	d := p.Digest()
	return attest.Sign(rand, key, p.Parties[i].Owner, ContextApproval, Approval{Party: party, Plan: hex.EncodeToString(d[:]), Issued: issued.UTC().Truncate(time.Second), Expires: expires.UTC().Truncate(time.Second)})
}

// approved says whether a statement is the approval of party i for the plan, now.
func (p Plan) approved(s attest.Statement, i int, now time.Time) bool {
	k, err := sm.ParseVerifyKey(p.Parties[i].OwnerKey)
	return err == nil && attest.SharesApproved(s, p.Parties[i].Owner, k, p.Parties[i].ID, p.Digest(), now)
}

// Decide says whether a party may join a plan now, by its own list of approvals, before any link is made; the approval it found comes
// with the decision. A refusal names the rule and the smallest change.
func Decide(p Plan, self sandbox.PartyID, approvals []attest.Statement, now time.Time) (sandbox.Decision, attest.Statement) {
	d := sandbox.Decision{Engine: sandbox.MPC, Class: sandbox.ClassA}
	refuse := func(code, rule, change string) {
		d.Reasons = append(d.Reasons, sandbox.Reason{Code: code, Rule: rule, Change: change})
	}
	if err := p.Check(); err != nil {
		refuse("mpc.plan-invalid", err.Error(), "correct the plan; its digest changes, so the owners approve it anew")
		return d, attest.Statement{}
	}
	i := p.index(self)
	if i < 0 {
		refuse("mpc.not-a-party", "this party is one of the plan's three", "name it in the plan")
		return d, attest.Statement{}
	}
	if !now.Before(p.Expires) {
		refuse("mpc.plan-expired", "the plan has not expired", "a new plan with a later end")
	}
	for _, s := range approvals {
		if p.approved(s, i, now) {
			d.Allow = len(d.Reasons) == 0
			return d, s
		}
	}
	refuse("mpc.not-approved", "the owner of this party signed an unexpired approval of exactly this plan", "the owner signs the plan's digest")
	return d, attest.Statement{}
}

// Once (一次性登记) remembers which jobs this party joined. A job is joined once, whatever became of it.
type Once interface {
	// Take records the job before anything else happens; Conflict if it was recorded before.
	Take(job sandbox.RunID, plan [sm.Size]byte) error
}

// Joined (参与登记) is Once as a folder with a file for each job, made durable before Take returns. Several processes may use one folder.
type Joined struct{ dir string }

// OpenJoined makes the folder where there is none.
func OpenJoined(dir string) (*Joined, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &sandbox.Error{Op: "mpc: joined jobs", Kind: sandbox.Unavailable, Object: "folder", Err: err}
	}
	return &Joined{dir}, nil
}

// Take records a job: of several that try, one succeeds.
func (j *Joined) Take(job sandbox.RunID, plan [sm.Size]byte) error {
	if err := sandbox.CheckID("job", string(job)); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(j.dir, string(job)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &sandbox.Error{Op: "mpc: join", Kind: sandbox.Conflict, Object: string(job), Detail: "a job is joined once", Hint: "a new plan under a new job, approved anew"}
	}
	if err == nil {
		_, err = f.WriteString(hex.EncodeToString(plan[:]) + "\n")
		err = errors.Join(err, f.Sync(), f.Close(), durable.SyncDir(j.dir))
	}
	if err != nil {
		return &sandbox.Error{Op: "mpc: join", Kind: sandbox.Unavailable, Object: string(job), Err: err}
	}
	return nil
}

// Free gives Conflict where a job was recorded before, and records nothing: for what comes before Take and is not to be spent on a job that is.
func (j *Joined) Free(job sandbox.RunID) error {
	if err := sandbox.CheckID("job", string(job)); err != nil {
		return err
	}
	if _, err := os.Lstat(filepath.Join(j.dir, string(job))); !errors.Is(err, fs.ErrNotExist) {
		return &sandbox.Error{Op: "mpc: join", Kind: sandbox.Conflict, Object: string(job), Detail: "a job is joined once", Hint: "a new plan under a new job, approved anew"}
	}
	return nil
}
