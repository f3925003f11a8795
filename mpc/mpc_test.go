package mpc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
	"github.com/opdomain/opdomain/sandbox"
)

// trio is three parties and their owners.
type trio struct {
	keys, owners []*sm.SigningKey
	plan         Plan
}

var roles = []string{"agency", "operator", "custodian"}

func newTrio(t testing.TB, adversary share.Adversary, now time.Time) *trio {
	t.Helper()
	q := sm.Sum([]byte("a question"))
	g := &trio{plan: Plan{Version: 1, Job: "run-1", Question: hex.EncodeToString(q[:]), Adversary: adversary, Generator: share.AESGenerator,
		Inputs:    []Input{{"wages", "party-0", 1 << 10}, {"grants", "party-1", 1 << 10}},
		Operators: []share.Op{share.OpInput, share.OpMul, share.OpDot},
		Outputs:   []Output{{Name: "sums", Rows: 2}, {Name: "product", Rows: 1}}, Expires: now.Add(time.Hour).UTC().Truncate(time.Second), Seconds: 60}}
	for i, role := range roles {
		for _, ks := range []*[]*sm.SigningKey{&g.keys, &g.owners} {
			k, err := sm.NewSigningKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			*ks = append(*ks, k)
		}
		g.plan.Parties = append(g.plan.Parties, Party{ID: sandbox.PartyID(fmt.Sprintf("party-%d", i)), Role: role, Organisation: sandbox.PartyID("org-" + role),
			Key: g.keys[i].Public().Bytes(), Owner: sandbox.IdentityID("owner-" + role), OwnerKey: g.owners[i].Public().Bytes()})
	}
	if err := g.plan.Check(); err != nil {
		t.Fatal(err)
	}
	return g
}

func (g *trio) approval(t testing.TB, p Plan, i int, expires time.Time) attest.Statement {
	return g.issued(t, p, i, expires.Add(-2*time.Hour), expires)
}

func (g *trio) issued(t testing.TB, p Plan, i int, issued, expires time.Time) attest.Statement {
	t.Helper()
	s, err := Approve(rand.Reader, g.owners[i], p, p.Parties[i].ID, issued, expires)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// memoryOnce is Once for parties that live as long as a test.
type memoryOnce struct{ jobs map[sandbox.RunID]bool }

func (m *memoryOnce) Take(job sandbox.RunID, _ [sm.Size]byte) error {
	if m.jobs[job] {
		return &sandbox.Error{Op: "test", Kind: sandbox.Conflict}
	}
	m.jobs = map[sandbox.RunID]bool{job: true}
	return nil
}

func (g *trio) config(t testing.TB, p Plan, i int, tr wire.Transport, now func() time.Time) Config {
	return Config{Plan: p, Self: p.Parties[i].ID, Key: g.keys[i], Approvals: []attest.Statement{g.approval(t, p, i, now().Add(time.Hour))},
		Transport: tr, Once: &memoryOnce{}, Rand: rand.Reader, Now: now}
}

var wages, grants = []uint64{5, 7, 11, ^uint64(0)}, []uint64{2, 3, 4, 10}

// program is what all three run: sums of two parties' padded columns and their inner product.
func program(s *Session) (*Result, error) {
	e := s.Engine()
	var cols [2]share.Vec
	for owner, v := range [][]uint64{wages, grants} {
		padded, _, err := Pad(v, nil, 1<<10)
		if err != nil {
			return nil, err
		}
		if s.Place() != owner {
			padded = nil
		}
		cols[owner] = e.Input(owner, padded, 1<<10)
	}
	return s.Reveal(map[string]share.Vec{"sums": share.Concat(e.Sum(cols[0]), e.Sum(cols[1])), "product": e.Dot(cols[0], cols[1], 1<<10)})
}

// play joins all three, each with its configuration, and runs their programs.
func play(cs []Config, programs ...func(*Session) (*Result, error)) ([3]*Result, [3]error) {
	var res [3]*Result
	var errs [3]error
	var wg sync.WaitGroup
	for i, c := range cs {
		wg.Go(func() {
			s, err := Join(context.Background(), c)
			if err != nil {
				errs[i] = err
				return
			}
			p := programs[min(i, len(programs)-1)]
			res[i], errs[i] = p(s)
			_ = s.Close()
		})
	}
	wg.Wait()
	return res, errs
}

func aborted(t *testing.T, what string, res [3]*Result, errs [3]error) {
	t.Helper()
	for i := range 3 {
		if a := (*wire.Abort)(nil); !errors.As(errs[i], &a) || res[i] != nil {
			t.Errorf("%s: party %d: %v, outputs %t; want an abort and none", what, i, errs[i], res[i] != nil)
		}
	}
}

// TestRun: three parties get the plan's outputs, equal ones, with the model printed on them and a certificate that verifies offline.
func TestRun(t *testing.T) {
	for _, m := range []share.Adversary{share.SemiHonest, share.MaliciousAbort} {
		synctest.Test(t, func(t *testing.T) {
			g := newTrio(t, m, time.Now())
			var cs []Config
			for i, tr := range wire.NewMemory(3) {
				cs = append(cs, g.config(t, g.plan, i, tr, time.Now))
			}
			res, errs := play(cs, program)
			for i := range 3 {
				if errs[i] != nil {
					t.Fatalf("party %d: %v", i, errs[i])
				}
				if !slices.Equal(res[i].Outputs["sums"], []uint64{22, 19}) || !slices.Equal(res[i].Outputs["product"], []uint64{10 + 21 + 44 - 10}) {
					t.Errorf("party %d: other outputs than the plain twin", i)
				}
				if res[i].Adversary != m || !strings.Contains(res[i].Collusion, string(m)) || !strings.Contains(res[i].Collusion, "Any two of org-agency (agency), org-operator (operator), org-custodian (custodian)") {
					t.Errorf("the result does not say its model: %s", res[i].Collusion)
				}
				if len(res[i].Leakage) != 3 {
					t.Errorf("%d operators' leakage on the result, want 3", len(res[i].Leakage))
				}
				if err := res[i].Certificate.Verify(time.Now()); err != nil {
					t.Errorf("party %d: %v", i, err)
				}
				text, err := json.Marshal(res[i].Certificate)
				if other, err2 := json.Marshal(res[0].Certificate); err != nil || err2 != nil || string(text) != string(other) {
					t.Error("the parties' certificates differ")
				}
			}
			tampering(t, res[0].Certificate)
		})
	}
}

// TestRecipient: an output with a recipient is its alone, under either model; the others agree on what opened, under a mask, and the certificate verifies.
func TestRecipient(t *testing.T) {
	for _, m := range []share.Adversary{share.SemiHonest, share.MaliciousAbort} {
		synctest.Test(t, func(t *testing.T) {
			g := newTrio(t, m, time.Now())
			g.plan.Outputs[0].Recipient = g.plan.Parties[2].ID
			var cs []Config
			for i, tr := range wire.NewMemory(3) {
				cs = append(cs, g.config(t, g.plan, i, tr, time.Now))
			}
			res, errs := play(cs, program)
			if err := errors.Join(errs[:]...); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				sums, has := res[i].Outputs["sums"]
				if has != (i == 2) || has && !slices.Equal(sums, []uint64{22, 19}) || len(res[i].Outputs["product"]) != 1 {
					t.Errorf("party %d: its outputs are %d, one of them the recipient's: %t", i, len(res[i].Outputs), has)
				}
				if err := res[i].Certificate.Verify(time.Now()); err != nil {
					t.Error(err)
				}
				mac := func(sums []uint64) string {
					var flat []byte
					for _, x := range append(slices.Clone(sums), res[i].Outputs["product"]...) {
						flat = binary.BigEndian.AppendUint64(flat, x)
					}
					d := sm.HMAC(res[i].Salt, flat)
					return hex.EncodeToString(d[:])
				}
				var r Receipt
				if err := json.Unmarshal(res[i].Certificate.Receipts[i].Body, &r); err != nil || r.Outputs == mac([]uint64{22, 19}) {
					t.Errorf("party %d: what opened to all is not under a mask: %v", i, err)
				}
			}
			if text, err := json.Marshal(res[0].Certificate); err != nil || offline(text) != nil {
				t.Error("it does not verify offline")
			}
		})
	}
	g := newTrio(t, share.SemiHonest, time.Now())
	all := g.plan.Collusion()
	for i := range g.plan.Outputs {
		g.plan.Outputs[i].Recipient = g.plan.Parties[2].ID
	}
	if at := g.plan.Recipient(); at != 2 || g.plan.Check() != nil || g.plan.Collusion() == all {
		t.Errorf("the recipient is %d", at)
	}
	g.plan.Outputs[0].Recipient = "nobody"
	if err := g.plan.Check(); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a recipient who is no party: %v", err)
	}
}

// offline is what a verifier of bundles says.
func offline(certificate []byte) error {
	_, err := attest.CheckShares(certificate, time.Now())
	return err
}

// tampering changes each part of a certificate in turn.
func tampering(t *testing.T, c Certificate) {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Certificate){
		"plan's model":        func(c *Certificate) { c.Plan.Adversary = share.SemiHonest; c.Plan.Seconds++ },
		"plan's output":       func(c *Certificate) { c.Plan.Outputs[0].Rows++ },
		"session":             func(c *Certificate) { c.Session = strings.Repeat("0", 64) },
		"nonce":               func(c *Certificate) { c.Nonces[0], c.Nonces[1] = c.Nonces[1], c.Nonces[0] },
		"approval":            func(c *Certificate) { c.Approvals[1] = c.Approvals[0] },
		"transcript":          func(c *Certificate) { c.Transcripts[2].Body[20] ^= 1 },
		"transcript dropped":  func(c *Certificate) { c.Transcripts = c.Transcripts[:2] },
		"confirmation":        func(c *Certificate) { c.Confirmations[0] = c.Confirmations[1] },
		"receipt's signature": func(c *Certificate) { c.Receipts[1].Signature[10] ^= 1 },
		"receipt of another":  func(c *Certificate) { c.Receipts[1] = c.Receipts[2] },
	} {
		var d Certificate
		if err := json.Unmarshal(text, &d); err != nil {
			t.Fatal(err)
		}
		if change(&d); d.Verify(time.Now()) == nil {
			t.Errorf("a changed %s verifies", name)
		}
		if changed, err := json.Marshal(d); err != nil || offline(changed) == nil {
			t.Errorf("a changed %s verifies offline", name)
		}
	}
	if err := offline(text); err != nil {
		t.Errorf("what Verify takes does not verify offline: %v", err)
	}
	if run, err := attest.CheckShares(text, time.Now()); err == nil && (run.Plan != c.Plan.Digest() || run.Job != c.Plan.Job || run.Session != c.Session) {
		t.Error("the offline verifier reads another plan")
	}
	if c.Verify(time.Now().Add(1000*time.Hour)) == nil {
		t.Error("a certificate verifies at a time no approval covers")
	}
}

// unreachable fails a test that makes a link.
type unreachable struct{ t *testing.T }

func (u unreachable) fail() error { u.t.Error("a link was tried"); return errors.New("no") }

// TestApproval: without its owner's unexpired approval of exactly this plan, or a second time, a party makes no link.
func TestApproval(t *testing.T) {
	now := time.Now()
	g := newTrio(t, share.SemiHonest, now)
	other := g.plan
	other.Adversary = share.MaliciousAbort
	clock := func() time.Time { return now }
	forged, err := attest.Sign(rand.Reader, g.keys[0], g.plan.Parties[0].Owner, ContextApproval, Approval{Party: "party-0", Plan: "", Expires: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	later := g.plan
	later.Expires = now.Add(-time.Hour).UTC().Truncate(time.Second)
	for name, x := range map[string]struct {
		plan Plan
		list []attest.Statement
		code string
	}{
		"none":              {g.plan, nil, "mpc.not-approved"},
		"another plan":      {g.plan, []attest.Statement{g.approval(t, other, 0, now.Add(time.Hour))}, "mpc.not-approved"},
		"another party":     {g.plan, []attest.Statement{g.approval(t, g.plan, 1, now.Add(time.Hour))}, "mpc.not-approved"},
		"expired":           {g.plan, []attest.Statement{g.approval(t, g.plan, 0, now.Add(-time.Minute))}, "mpc.not-approved"},
		"not yet":           {g.plan, []attest.Statement{g.issued(t, g.plan, 0, now.Add(10*time.Minute), now.Add(time.Hour))}, "mpc.not-approved"},
		"not by the owner":  {g.plan, []attest.Statement{forged}, "mpc.not-approved"},
		"a plan that ended": {later, []attest.Statement{g.approval(t, later, 0, now.Add(time.Hour))}, "mpc.plan-expired"},
	} {
		d, _ := Decide(x.plan, "party-0", x.list, now)
		if d.Allow || len(d.Reasons) == 0 || d.Reasons[0].Code != x.code || d.Reasons[0].Change == "" {
			t.Errorf("%s: %+v, want %s and what to change", name, d, x.code)
		}
		c := g.config(t, x.plan, 0, nil, clock)
		c.Approvals, c.Transport = x.list, fails{unreachable{t}}
		if _, err := Join(t.Context(), c); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s: %v, want denied", name, err)
		}
	}
	c := g.config(t, g.plan, 0, fails{unreachable{t}}, clock)
	if err := c.Once.Take(g.plan.Job, g.plan.Digest()); err != nil {
		t.Fatal(err)
	}
	if _, err := Join(t.Context(), c); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a second time: %v, want conflict", err)
	}
}

// TestNoDowngrade: a party that runs another plan, the weaker model for one, meets nobody, and all end.
func TestNoDowngrade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTrio(t, share.MaliciousAbort, time.Now())
		weak := g.plan
		weak.Adversary = share.SemiHonest
		var cs []Config
		for i, tr := range wire.NewMemory(3) {
			p := g.plan
			if i == 2 {
				p = weak
			}
			cs = append(cs, g.config(t, p, i, tr, time.Now))
		}
		res, errs := play(cs, program)
		aborted(t, "another model", res, errs)
	})
}

// TestDeviations: a party that runs another program than the others, asks for another output, or uses an operator beyond the plan ends
// the session for all, before an output opens.
func TestDeviations(t *testing.T) {
	in := func(s *Session, owner int, v []uint64) share.Vec {
		padded, _, err := Pad(v, nil, 1<<10)
		if err != nil || s.Place() != owner {
			padded = nil
		}
		return s.Engine().Input(owner, padded, 1<<10)
	}
	for name, deviant := range map[string]func(*Session) (*Result, error){
		"another order": func(s *Session) (*Result, error) {
			y, x := in(s, 1, grants), in(s, 0, wages)
			e := s.Engine()
			return s.Reveal(map[string]share.Vec{"sums": share.Concat(e.Sum(x), e.Sum(y)), "product": e.Dot(x, y, 1<<10)})
		},
		"another output": func(s *Session) (*Result, error) {
			x, y := in(s, 0, wages), in(s, 1, grants)
			return s.Reveal(map[string]share.Vec{"sums": x.Slice(0, 2), "product": s.Engine().Dot(x, y, 1<<10).Slice(0, 1), "rows": x})
		},
		"an operator beyond the plan": func(s *Session) (*Result, error) {
			x, y := in(s, 0, wages), in(s, 1, grants)
			e := s.Engine()
			e.Scan(x, y)
			return s.Reveal(map[string]share.Vec{"sums": share.Concat(e.Sum(x), e.Sum(y)), "product": e.Dot(x, y, 1<<10)})
		},
		"leaves": func(s *Session) (*Result, error) { in(s, 0, wages); return nil, s.mesh.Abort(wire.Nobody, "leaves") },
	} {
		synctest.Test(t, func(t *testing.T) {
			g := newTrio(t, share.MaliciousAbort, time.Now())
			var cs []Config
			for i, tr := range wire.NewMemory(3) {
				cs = append(cs, g.config(t, g.plan, i, tr, time.Now))
			}
			res, errs := play(cs, program, program, deviant)
			aborted(t, name, res, errs)
		})
	}
	// All three alike, beyond the plan: nobody opens.
	synctest.Test(t, func(t *testing.T) {
		g := newTrio(t, share.SemiHonest, time.Now())
		g.plan.Operators = []share.Op{share.OpInput}
		var cs []Config
		for i, tr := range wire.NewMemory(3) {
			cs = append(cs, g.config(t, g.plan, i, tr, time.Now))
		}
		res, errs := play(cs, program)
		aborted(t, "beyond the plan together", res, errs)
	})
}

// TestOpensOnce: a second opening is refused on this side, whatever the others do.
// TestApprovalEndsInRun: an approval whose term ends while the run goes on ends it before anything opens, at all parties.
func TestApprovalEndsInRun(t *testing.T) {
	begun := time.Now()
	g := newTrio(t, share.SemiHonest, begun)
	var late atomic.Bool
	clock := func() time.Time {
		if late.Load() {
			return begun.Add(45 * time.Minute)
		}
		return begun
	}
	var cs []Config
	for i, tr := range wire.NewMemory(3) {
		c := g.config(t, g.plan, i, tr, clock)
		c.Clock = func() time.Time { return begun } // links end by another
		c.Approvals = []attest.Statement{g.approval(t, g.plan, i, begun.Add([]time.Duration{time.Hour, 30 * time.Minute, time.Hour}[i]))}
		cs = append(cs, c)
	}
	var joined sync.WaitGroup
	joined.Add(3)
	res, errs := play(cs, func(s *Session) (*Result, error) {
		joined.Done()
		joined.Wait()
		late.Store(true)
		return program(s)
	})
	aborted(t, "an approval that ended", res, errs)
	if !strings.Contains(errs[0].Error(), "approval holds when outputs open") {
		t.Error(errs[0])
	}
}

func TestOpensOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTrio(t, share.SemiHonest, time.Now())
		var cs []Config
		for i, tr := range wire.NewMemory(3) {
			cs = append(cs, g.config(t, g.plan, i, tr, time.Now))
		}
		res, errs := play(cs, func(s *Session) (*Result, error) {
			if _, err := program(s); err != nil {
				return nil, err
			}
			e := s.Engine()
			return s.Reveal(map[string]share.Vec{"sums": e.Public([]uint64{1, 2}), "product": e.Public([]uint64{1})})
		})
		for i := range 3 {
			if res[i] != nil || !errors.Is(errs[i], sandbox.Conflict) {
				t.Errorf("party %d: %v, want conflict", i, errs[i])
			}
		}
	})
}

// TestUnapprovedPeer: a peer with the right keys and without its owner's approval is named, and the session ends.
func TestUnapprovedPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newTrio(t, share.SemiHonest, time.Now())
		ts := wire.NewMemory(3)
		var res [3]*Result
		var errs [3]error
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if i != 2 {
					_, errs[i] = Join(context.Background(), g.config(t, g.plan, i, ts[i], time.Now))
					return
				}
				peers, err := g.plan.peers()
				if err != nil {
					t.Error(err)
					return
				}
				s := &Session{plan: g.plan, me: i, key: g.keys[i], rand: rand.Reader}
				for _, p := range peers {
					s.keys = append(s.keys, p.Key)
				}
				s.mesh, err = wire.Open(context.Background(), ts[i], wire.Config{Self: i, Peers: peers, Key: g.keys[i], Job: g.plan.Digest(), Rand: rand.Reader, Deadline: time.Now().Add(time.Minute)})
				if err != nil {
					errs[i] = err
					return
				}
				errs[i] = s.meet(attest.Statement{Context: ContextApproval, Signer: "owner-custodian"}, time.Now)
				_ = s.Close()
			})
		}
		wg.Wait()
		aborted(t, "no approval", res, errs)
		for i := range 2 {
			if a := (*wire.Abort)(nil); errors.As(errs[i], &a) && a.Kind == sandbox.Tampered && a.Peer != 2 {
				t.Errorf("party %d blames %d, want 2", i, a.Peer)
			}
		}
	})
}

// TestFaults: a fault on any write of any direction of a whole run, from the handshake to the receipts, ends it at all three by the
// deadline and opens nothing at anybody; the last message of a direction is the known exception for others than its receiver.
func TestFaults(t *testing.T) {
	kinds := []wiretest.Kind{wiretest.Drop, wiretest.Duplicate, wiretest.Reorder, wiretest.Replay, wiretest.Close}
	writes := map[[2]int]int{}
	one := func(f *wiretest.Fault) (res [3]*Result, errs [3]error, hit int, took time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			g := newTrio(t, share.SemiHonest, time.Now())
			var cs []Config
			var fs []*wiretest.Faulty
			for i, tr := range wire.NewMemory(3) {
				x := &wiretest.Faulty{Transport: tr, Self: i}
				if f != nil {
					x.Faults = []wiretest.Fault{*f}
				}
				fs = append(fs, x)
				cs = append(cs, g.config(t, g.plan, i, x, time.Now))
			}
			start := time.Now()
			res, errs = play(cs, program)
			took = time.Since(start)
			for i, x := range fs {
				hit += x.Hit()
				for p := range 3 {
					if p != i && f == nil {
						writes[[2]int{i, p}] = len(x.Trace(p))
					}
				}
			}
		})
		return res, errs, hit, took
	}
	if _, errs, _, _ := one(nil); errs[0] != nil {
		t.Fatal(errs[0])
	}
	for d, n := range writes {
		if n < 8 {
			t.Fatalf("%v: %d writes in a run", d, n)
		}
		for k, kind := range kinds {
			for at := range n {
				if kind == wiretest.Replay && at == 0 || testing.Short() && at%3 != k%3 {
					continue
				}
				what := fmt.Sprintf("%s write %d of %d from %d to %d", kind, at, n, d[0], d[1])
				res, errs, hit, took := one(&wiretest.Fault{Kind: kind, From: d[0], To: d[1], At: at})
				if hit == 0 {
					t.Fatalf("%s: did not strike", what)
				}
				if took > time.Minute {
					t.Errorf("%s: took %v", what, took)
				}
				switch {
				case at < n-1:
					aborted(t, what, res, errs)
				case kind != wiretest.Duplicate: // nothing reads after the last message, so its double harms nobody
					if res[d[1]] != nil || errs[d[1]] == nil {
						t.Errorf("%s: the receiver of no receipt has outputs", what)
					}
				}
			}
		}
	}
}

// TestJoined: a job stays joined over a restart, and of many that try at once one joins.
func TestJoined(t *testing.T) {
	path := filepath.Join(t.TempDir(), "joined")
	for k := range 3 {
		var wg sync.WaitGroup
		var took atomic.Int32
		for range 8 {
			wg.Go(func() {
				j, err := OpenJoined(path)
				if err == nil {
					err = j.Take(sandbox.RunID(fmt.Sprintf("run-%d", k)), sm.Sum(nil))
				}
				switch {
				case err == nil:
					took.Add(1)
				case !errors.Is(err, sandbox.Conflict):
					t.Error(err)
				}
			})
		}
		if wg.Wait(); took.Load() != 1 {
			t.Errorf("%d of 8 joined", took.Load())
		}
	}
	if j, err := OpenJoined(path); err != nil || !errors.Is(j.Take("../run", sm.Sum(nil)), sandbox.Invalid) {
		t.Error("a job's name leaves the folder")
	}
}

// TestPlan: what no plan may be, and its one encoding.
func TestPlan(t *testing.T) {
	g := newTrio(t, share.SemiHonest, time.Now())
	for name, change := range map[string]func(*Plan){
		"version":           func(p *Plan) { p.Version = 2 },
		"model":             func(p *Plan) { p.Adversary = "" },
		"generator":         func(p *Plan) { p.Generator = "xor" },
		"two parties":       func(p *Plan) { p.Parties = p.Parties[:2] },
		"one organisation":  func(p *Plan) { p.Parties[1].Organisation = p.Parties[0].Organisation },
		"one key":           func(p *Plan) { p.Parties[1].Key = p.Parties[0].OwnerKey },
		"size":              func(p *Plan) { p.Inputs[0].Rows = 1000 },
		"input of nobody":   func(p *Plan) { p.Inputs[0].Party = "party-9" },
		"no output":         func(p *Plan) { p.Outputs = nil },
		"output twice":      func(p *Plan) { p.Outputs[1].Name = p.Outputs[0].Name },
		"operator":          func(p *Plan) { p.Operators = append(p.Operators, "peek") },
		"unchecked":         func(p *Plan) { p.Adversary = share.MaliciousAbort; p.Operators = append(p.Operators, share.OpTrunc) },
		"question":          func(p *Plan) { p.Question = "what" },
		"deadline":          func(p *Plan) { p.Seconds = 0 },
		"end in local time": func(p *Plan) { p.Expires = p.Expires.In(time.FixedZone("x", 60)) },
	} {
		p, err := ParsePlan(g.plan.Encode())
		if err != nil {
			t.Fatal(err)
		}
		change(&p)
		if err := p.Check(); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
	for rows, want := range map[int]int{0: 1 << 10, 1024: 1 << 10, 1025: 1 << 12, 1 << 24: 1 << 24} {
		if b, err := Bucket(rows); err != nil || b != want {
			t.Errorf("%d rows in %d, want %d", rows, b, want)
		}
	}
	if _, err := Bucket(1<<24 + 1); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("beyond the largest: %v", err)
	}
	if v, there, err := Pad([]uint64{5, 6}, []bool{true, false}, 4); err != nil || !slices.Equal(v, []uint64{5, 0, 0, 0}) || !slices.Equal(there, []uint64{1, 0, 0, 0}) {
		t.Errorf("padding: %v", err)
	}
}

func FuzzPlan(f *testing.F) {
	g := newTrio(f, share.SemiHonest, time.Unix(1700000000, 0))
	f.Add(g.plan.Encode())
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := ParsePlan(b); err == nil && string(p.Encode()) != string(b) {
			t.Error("a plan has one encoding")
		}
	})
}

// fails is a transport that nobody should use.
type fails struct{ unreachable }

func (f fails) Dial(context.Context, int) (net.Conn, error) { return nil, f.fail() }
func (f fails) Accept(context.Context) (net.Conn, error)    { return nil, f.fail() }

// TestCompare: transcripts that differ in a trace, an end of a link, a place or a session do not pass.
func TestCompare(t *testing.T) {
	fresh := func() []Transcript {
		var all []Transcript
		for i := range Parties {
			x := Transcript{Session: "s", Trace: "t", Place: i}
			for p := range Parties {
				l := Chain{Out: fmt.Sprint(i, p), In: fmt.Sprint(p, i)}
				if p == i {
					l = Chain{}
				}
				x.Links = append(x.Links, l)
			}
			all = append(all, x)
		}
		return all
	}
	if _, rule := attest.SharesAgree("s", fresh()); rule != "" {
		t.Fatal(rule)
	}
	for name, change := range map[string]func(all []Transcript){
		"session": func(all []Transcript) { all[1].Session = "x" },
		"trace":   func(all []Transcript) { all[2].Trace = "x" },
		"place":   func(all []Transcript) { all[0], all[1] = all[1], all[0] },
		"out":     func(all []Transcript) { all[0].Links[1].Out = "x" },
		"in":      func(all []Transcript) { all[0].Links[2].In = "x" },
		"links":   func(all []Transcript) { all[0].Links = all[0].Links[:2] },
	} {
		all := fresh()
		change(all)
		if _, rule := attest.SharesAgree("s", all); rule == "" {
			t.Errorf("another %s passes", name)
		}
	}
}

// TestLengths: on the links too, the number and the lengths of all messages behind the handshake, whose signatures vary by a byte or two,
// are the same for other values: tables, outputs and statements alike.
func TestLengths(t *testing.T) {
	trace := func(m share.Adversary, scale uint64) (out map[[2]int][]int) {
		synctest.Test(t, func(t *testing.T) {
			g := newTrio(t, m, time.Now())
			var cs []Config
			var fs []*wiretest.Faulty
			for i, tr := range wire.NewMemory(3) {
				fs = append(fs, &wiretest.Faulty{Transport: tr, Self: i})
				cs = append(cs, g.config(t, g.plan, i, fs[i], time.Now))
			}
			_, errs := play(cs, func(s *Session) (*Result, error) {
				e := s.Engine()
				var cols [2]share.Vec
				for owner := range cols {
					var v []uint64
					if s.Place() == owner {
						v = make([]uint64, 1<<10)
						for i := range v {
							v[i] = uint64(i) * scale
						}
					}
					cols[owner] = e.Input(owner, v, 1<<10)
				}
				return s.Reveal(map[string]share.Vec{"sums": e.Mul(cols[0], cols[1]).Slice(5, 7), "product": e.Dot(cols[0], cols[1], 1<<10)})
			})
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
			out = map[[2]int][]int{}
			for i, f := range fs {
				for p := range 3 {
					if p != i {
						shaken := 2 // the dialler writes hello and secret apart, the acceptor together
						if i < p {
							shaken = 1
						}
						out[[2]int{i, p}] = f.Trace(p)[shaken:]
					}
				}
			}
		})
		return out
	}
	for _, m := range []share.Adversary{share.SemiHonest, share.MaliciousAbort} {
		a, b := trace(m, 0), trace(m, 0x9e3779b97f4a7c15)
		for d, lengths := range a {
			if !slices.Equal(lengths, b[d]) || len(lengths) < 7 {
				t.Errorf("%s, %v: messages follow the values", m, d)
			}
		}
	}
}
