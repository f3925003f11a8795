package session

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/lookup"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/mpc/wire/wiretest"
	"github.com/opdomain/opdomain/sandbox"
)

// couple is two parties and their owners.
type couple struct {
	t         testing.TB
	plan      *Plan
	keys      [2]*sm.SigningKey
	owners    [2]*sm.SigningKey
	approvals [2]attest.Statement
}

const patience = time.Minute

// begun is where the clock of synctest's bubbles stands.
var begun = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func newCouple(t testing.TB, output psi.Output) *couple {
	c := &couple{t: t, plan: &Plan{Terms: Terms{Kind: KindPlan, Version: 1, Element: "a number", Seconds: int(patience / time.Second), Expires: begun.Add(time.Hour)},
		Job: psi.Plan{Run: "run-1", Output: output, Sizes: [2]int{10, 10}, Threshold: 3, Authority: [2]psi.Authority{{Kind: psi.Audited}, {Kind: psi.Audited}}}}}
	for i, id := range []string{"bank", "bureau"} {
		for _, k := range []*[2]*sm.SigningKey{&c.keys, &c.owners} {
			key, err := sm.NewSigningKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			k[i] = key
		}
		c.plan.Parties[i] = Party{ID: sandbox.PartyID(id), Organisation: sandbox.PartyID("org-" + id), Key: c.keys[i].Public().Bytes(), Owner: sandbox.IdentityID("owner-" + id), OwnerKey: c.owners[i].Public().Bytes()}
	}
	c.plan.complete()
	c.sign(c.plan)
	return c
}

func (c *couple) sign(a Agreement) {
	c.t.Helper()
	if err := a.Check(); err != nil {
		c.t.Fatal(err)
	}
	for i, p := range a.terms().Parties {
		var err error
		if c.approvals[i], err = Approve(rand.Reader, c.owners[i], a, p.ID, begun, begun.Add(time.Hour)); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *couple) config(i int, t wire.Transport) Config {
	return Config{Self: c.plan.Parties[i].ID, Key: c.keys[i], Approval: c.approvals[i], Transport: t, Rand: rand.Reader, Now: time.Now}
}

func numbers(from, to int) psi.Set {
	s := psi.Set{Offsets: []int32{0}}
	for i := from; i < to; i++ {
		s.Data = fmt.Appendf(s.Data, "number %d", i)
		s.Offsets = append(s.Offsets, int32(len(s.Data)))
	}
	return s
}

// run runs both parties in a bubble of fake time, which fails on any goroutine left over.
func (c *couple) run(t *testing.T, faults ...wiretest.Fault) (out [2]*Outcome, errs [2]error, fs [2]*wiretest.Faulty, took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		memory := wire.NewMemory(2)
		var wg sync.WaitGroup
		for i, set := range []psi.Set{numbers(0, 9), numbers(4, 12)} {
			fs[i] = &wiretest.Faulty{Transport: memory[i], Self: i, Faults: faults}
			secret, err := psi.NewSecret(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				out[i], errs[i] = Run(context.Background(), c.plan, c.config(i, fs[i]), psi.Config{Set: set, Secret: secret, Workers: 1})
			})
		}
		wg.Wait()
		took = time.Since(begun)
	})
	return
}

func TestRun(t *testing.T) {
	c := newCouple(t, psi.IntersectionBoth)
	out, errs, _, _ := c.run(t)
	if errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	at := begun.Add(time.Minute)
	for i, o := range out {
		if len(o.Members) != 5 || o.Cardinality != 5 {
			t.Errorf("side %d", i)
		}
		if err := o.Certificate.Verify(at); err != nil {
			t.Error(err)
		}
		if err := o.Certificate.Verify(at.Add(2 * time.Hour)); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("at another time: %v", err)
		}
		if p, err := o.Certificate.Points(psi.Side(i)); err != nil || p != o.Points {
			t.Errorf("points: %v", err)
		}
	}
	if fmt.Sprint(out[0].Certificate) != fmt.Sprint(out[1].Certificate) {
		t.Error("both have one certificate")
	}
	text, err := json.Marshal(out[0].Certificate)
	if err != nil || bytes.Contains(text, []byte("number 5")) {
		t.Error("a certificate holds an element")
	}
	over := c.plan.Expires.Add(patience)
	if err := out[0].Certificate.Verify(over); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ends before its plan's time is over") {
		t.Errorf("of a job after its plan's time: %v", err)
	}
	again, _, _, _ := c.run(t)
	for name, change := range map[string]func(x *Certificate){
		"another plan":         func(x *Certificate) { x.Plan.Job.Run = "run-2" },
		"approvals swapped":    func(x *Certificate) { x.Approvals[0], x.Approvals[1] = x.Approvals[1], x.Approvals[0] },
		"records swapped":      func(x *Certificate) { x.Records[0], x.Records[1] = x.Records[1], x.Records[0] },
		"record of another":    func(x *Certificate) { x.Records[0] = again[0].Certificate.Records[0] },
		"both of another":      func(x *Certificate) { x.Records = again[0].Certificate.Records },
		"another nonce":        func(x *Certificate) { x.Nonces[1] = again[0].Certificate.Nonces[1] },
		"another session":      func(x *Certificate) { x.Session = again[0].Certificate.Session },
		"a changed signature":  func(x *Certificate) { x.Records[1].Signature[9] ^= 1 },
		"another kind":         func(x *Certificate) { x.Kind = "psi" },
		"another time of plan": func(x *Certificate) { x.Plan.Expires = x.Plan.Expires.Add(time.Second) },
	} {
		var x Certificate
		if err := json.Unmarshal(text, &x); err != nil {
			t.Fatal(err)
		}
		change(&x)
		if err := x.Verify(at); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRecords: each thing that two records must have in common.
func TestRecords(t *testing.T) {
	good := [2]Record{{"s", "t", "a", "b", false}, {"s", "t", "b", "a", false}}
	if rule := agree("s", good); rule != "" {
		t.Error(rule)
	}
	for says, change := range map[string]func(r *[2]Record){
		"session":    func(r *[2]Record) { r[1].Session = "x" },
		"transcript": func(r *[2]Record) { r[0].Transcript = "x" },
		"points":     func(r *[2]Record) { r[0].Sent = "x" },
		"sent":       func(r *[2]Record) { r[0].Got = "x" },
		"verdict":    func(r *[2]Record) { r[1].Withheld = true },
	} {
		r := good
		change(&r)
		if rule := agree("s", r); !strings.Contains(rule, says) {
			t.Errorf("%s: %q", says, rule)
		}
	}
}

// TestApprovals: who is not approved makes no link, and who comes with another's approval is named by the peer.
func TestApprovals(t *testing.T) {
	c := newCouple(t, psi.Cardinality)
	if _, err := Approve(rand.Reader, c.owners[1], c.plan, "bank", begun, begun.Add(time.Hour)); !errors.Is(err, sandbox.Denied) {
		t.Errorf("another owner signs: %v", err)
	}
	other := *c.plan
	other.Job.Threshold = 4
	for name, x := range map[string]struct {
		plan     *Plan
		self     sandbox.PartyID
		approval attest.Statement
		at       time.Time
		code     string
	}{
		"approved":       {c.plan, "bank", c.approvals[0], begun, ""},
		"the other's":    {c.plan, "bank", c.approvals[1], begun, "psi.not-approved"},
		"another plan":   {&other, "bank", c.approvals[0], begun, "psi.not-approved"},
		"none":           {c.plan, "bank", attest.Statement{}, begun, "psi.not-approved"},
		"not yet":        {c.plan, "bank", c.approvals[0], begun.Add(-time.Hour), "psi.not-approved"},
		"too late":       {c.plan, "bank", c.approvals[0], begun.Add(time.Hour), "psi.plan-expired"},
		"somebody":       {c.plan, "insurer", c.approvals[0], begun, "psi.not-a-party"},
		"a plan of none": {&Plan{}, "bank", c.approvals[0], begun, "psi.plan-invalid"},
	} {
		d := Decide(x.plan, x.self, x.approval, x.at)
		if d.Allow != (x.code == "") || !d.Allow && (d.Reasons[0].Code != x.code || d.Reasons[0].Change == "") {
			t.Errorf("%s: %+v", name, d)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		memory := wire.NewMemory(2)
		honest := make(chan error, 1)
		go func() {
			cfg := c.config(0, memory[0])
			_, err := meet(context.Background(), c.plan, &cfg)
			honest <- err
		}()
		peers, _ := c.plan.peers()
		mesh, err := wire.Open(context.Background(), memory[1], wire.Config{Self: 1, Peers: peers, Key: c.keys[1], Job: Digest(c.plan), Rand: rand.Reader, Deadline: time.Now().Add(patience)})
		if err != nil {
			t.Fatal(err)
		}
		defer mesh.Close()
		text, _ := json.Marshal(c.approvals[0])
		rogue := &pair{a: c.plan, me: 1, mesh: mesh}
		_, _ = rogue.exchange(tagMeet, append(make([]byte, 32), text...))
		var abort *wire.Abort
		if err := <-honest; !errors.As(err, &abort) || abort.Peer != 1 || !strings.Contains(abort.Rule, "approval") {
			t.Errorf("%v", err)
		}
	})
}

// TestFaults puts every fault on every write of both directions: no side has a result by the deadline, but for who sent the very last message.
func TestFaults(t *testing.T) {
	c := newCouple(t, psi.IntersectionBoth)
	_, errs, fs, _ := c.run(t)
	if errs[0] != nil || errs[1] != nil {
		t.Fatal(errs)
	}
	for _, kind := range []wiretest.Kind{wiretest.Drop, wiretest.Duplicate, wiretest.Reorder, wiretest.Delay, wiretest.Replay, wiretest.Close} {
		for from := range 2 {
			last := len(fs[from].Trace(1-from)) - 1
			if last < 7 {
				t.Fatalf("%d writes", last+1)
			}
			for at := range last + 1 {
				if kind == wiretest.Replay && at == 0 || kind == wiretest.Duplicate && at == last {
					continue // nothing before it; nothing reads after it
				}
				c.faulted(t, wiretest.Fault{Kind: kind, From: from, To: 1 - from, At: at, For: 2 * patience}, at == last)
			}
		}
	}
}

// TestBytes cuts and flips at bytes of both directions.
func TestBytes(t *testing.T) {
	c := newCouple(t, psi.IntersectionBoth)
	_, _, fs, _ := c.run(t)
	step := 397
	if testing.Short() {
		step = 2003
	}
	for from := range 2 {
		trace, total := fs[from].Trace(1-from), 0
		for _, n := range trace {
			total += n
		}
		// Signatures differ by a few bytes from run to run; the last message is apart as above.
		for at := from; at < total-trace[len(trace)-1]-8; at += step {
			for _, kind := range []wiretest.Kind{wiretest.Cut, wiretest.Flip} {
				c.faulted(t, wiretest.Fault{Kind: kind, From: from, To: 1 - from, At: at, Bit: uint(at)}, false)
			}
		}
	}
}

func (c *couple) faulted(t *testing.T, f wiretest.Fault, last bool) {
	t.Helper()
	what := fmt.Sprintf("%s at %d from %d", f.Kind, f.At, f.From)
	out, errs, fs, took := c.run(t, f)
	if fs[f.From].Hit() == 0 {
		t.Fatalf("%s: the fault did not strike", what)
	}
	for i := range out {
		if last && i == f.From {
			continue
		}
		if out[i] != nil || errs[i] == nil {
			t.Errorf("%s: side %d has a result", what, i)
		} else if k := sandbox.KindOf(errs[i]); !errors.Is(errs[i], sandbox.Tampered) && !errors.Is(errs[i], sandbox.Unavailable) {
			t.Errorf("%s: side %d: %s: %v", what, i, k, errs[i])
		}
	}
	if f.Kind != wiretest.Delay && took > patience { // who is late sleeps beyond
		t.Errorf("%s: took %v", what, took)
	}
}

// TestLookups: a lookup over a faulty link gives no wrong answer.
func TestLookups(t *testing.T) {
	c := newCouple(t, psi.Cardinality)
	l := &Lookup{Terms: c.plan.Terms, Run: "run-1", Suite: lookup.Ristretto255, Size: 10, Quota: 16, Days: 1}
	l.Kind = KindLookup
	c.sign(l)
	dir := t.TempDir()
	for n, at := range []int{-1, 4, 5, 6, 7} {
		synctest.Test(t, func(t *testing.T) {
			ledger, err := psi.OpenLedger(nil, fmt.Sprint(dir, "/", n), make([]byte, 16), l.Limits())
			if err != nil {
				t.Fatal(err)
			}
			h, err := lookup.NewHolder(rand.Reader, l.Suite, ledger)
			if err != nil {
				t.Fatal(err)
			}
			table, err := h.Publish(rand.Reader, numbers(0, 4), l.Size)
			if err != nil {
				t.Fatal(err)
			}
			memory := wire.NewMemory(2)
			f := &wiretest.Faulty{Transport: memory[0], Self: 0, Faults: []wiretest.Fault{{Kind: wiretest.Replay, From: 0, To: 1, At: at}}}
			served := make(chan int, 1)
			go func() {
				n, _ := l.Serve(context.Background(), c.config(0, f), h, table)
				served <- n
			}()
			found, err := l.Ask(context.Background(), c.config(1, memory[1]), [][]byte{[]byte("number 3"), []byte("number 4"), []byte("number 0")})
			for i, in := range found {
				if in != (i != 1) {
					t.Errorf("fault at %d: answer %d is %v", at, i, in)
				}
			}
			if (err == nil) != (f.Hit() == 0) || err == nil && len(found) != 3 {
				t.Errorf("fault at %d: %d answers, %v", at, len(found), err)
			}
			if n := <-served; n < len(found) {
				t.Errorf("%d answers, %d served", len(found), n)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	c := newCouple(f, psi.Intersection)
	f.Add(c.plan.Encode())
	f.Add([]byte(`{"kind":"psi-lookup"}`))
	f.Add([]byte(`{"kind":"psi","job":{"authority":[{"list":"00"}]}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := Parse(b)
		if err != nil {
			return
		}
		if !bytes.Equal(a.Encode(), b) {
			t.Error("a second encoding")
		}
		if len(a.Explain()) == 0 {
			t.Error("nothing is explained")
		}
	})
}
