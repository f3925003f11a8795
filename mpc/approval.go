package mpc

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextApproval is what an owner's approval is signed under.
const ContextApproval = "opdomain/mpc/approval/v1"

// maxSkew is how far an approval's issue may lie after a party's clock.
const maxSkew = 5 * time.Minute

// Approval (参与批准) is the body of an owner's statement: this party may take part in this plan.
type Approval struct {
	Party   sandbox.PartyID `json:"party"`
	Plan    string          `json:"plan"` // digest in hex
	Issued  time.Time       `json:"issued"`
	Expires time.Time       `json:"expires"`
}

// Approve signs an approval as the party's owner, from issued to expires in whole seconds.
func Approve(rand io.Reader, key *sm.SigningKey, p Plan, party sandbox.PartyID, issued, expires time.Time) (attest.Statement, error) {
	i := p.index(party)
	if i < 0 {
		return attest.Statement{}, invalid("party", "one of the plan's")
	}
	d := p.Digest()
	return attest.Sign(rand, key, p.Parties[i].Owner, ContextApproval, Approval{party, hex.EncodeToString(d[:]), issued.UTC().Truncate(time.Second), expires.UTC().Truncate(time.Second)})
}

// approved says whether a statement is the approval of party i for the plan, now.
func (p Plan) approved(s attest.Statement, i int, now time.Time) bool {
	k, err := sm.ParseVerifyKey(p.Parties[i].OwnerKey)
	if err != nil || s.Signer != p.Parties[i].Owner {
		return false
	}
	var a Approval
	if s.Open(k, ContextApproval, &a) != nil {
		return false
	}
	d := p.Digest()
	return a.Party == p.Parties[i].ID && a.Plan == hex.EncodeToString(d[:]) && now.Before(a.Expires) && !now.Add(maxSkew).Before(a.Issued)
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

// Joined (参与登记) is Once in a file, written whole and synced before Take returns. One process uses it.
type Joined struct {
	path string
	mu   sync.Mutex
	text []byte
	jobs map[string]bool
}

// OpenJoined reads the file; none means that no job was joined.
func OpenJoined(path string) (*Joined, error) {
	j := &Joined{path: path, jobs: map[string]bool{}}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &sandbox.Error{Op: "mpc: joined jobs", Kind: sandbox.Unavailable, Object: "file", Err: err}
	}
	j.text = b
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		job, digest, ok := bytes.Cut(lines.Bytes(), []byte(" "))
		if raw, err := hex.DecodeString(string(digest)); !ok || err != nil || len(raw) != sm.Size {
			return nil, &sandbox.Error{Op: "mpc: joined jobs", Kind: sandbox.Tampered, Object: "file", Detail: "each line is a job and its plan's digest"}
		}
		j.jobs[string(job)] = true
	}
	return j, nil
}

// Take records a job.
func (j *Joined) Take(job sandbox.RunID, plan [sm.Size]byte) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.jobs[string(job)] {
		return &sandbox.Error{Op: "mpc: join", Kind: sandbox.Conflict, Object: string(job), Detail: "a job is joined once", Hint: "a new plan under a new job, approved anew"}
	}
	text := append(bytes.Clone(j.text), string(job)+" "+hex.EncodeToString(plan[:])+"\n"...)
	if err := durable.Replace(j.path, text); err != nil {
		return &sandbox.Error{Op: "mpc: join", Kind: sandbox.Unavailable, Object: string(job), Err: err}
	}
	j.text, j.jobs[string(job)] = text, true
	return nil
}
