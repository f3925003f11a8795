package attest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// signedRun makes a certificate of three parties, the first under the domain's key; change is made before anything is signed.
func (c *cast) signedRun(t testing.TB, change func(*signedShares)) (plan []byte, certificate json.RawMessage) {
	t.Helper()
	key := func() *sm.SigningKey {
		k, err := sm.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	s := &signedShares{parties: [3]*sm.SigningKey{c.domain, key(), key()}, owners: [3]*sm.SigningKey{key(), key(), key()}, expires: start.Add(1000 * time.Hour), trace: [3]string{"t", "t", "t"}, job: "q-s", model: "semi-honest", zone: "zone"}
	if change != nil {
		change(s)
	}
	p := map[string]any{"version": 1, "job": s.job, "adversary": s.model}
	var parties []map[string]any
	for i := range 3 {
		parties = append(parties, map[string]any{"id": fmt.Sprint(s.zone, i), "organisation": fmt.Sprint("house", i), "key": s.parties[i].Public().Bytes(), "owner": fmt.Sprint("owner", i), "owner_key": s.owners[i].Public().Bytes()})
	}
	p["parties"] = parties
	text, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	digest := sm.Sum(text)
	sign := func(k *sm.SigningKey, who, context string, body any) Statement {
		st, err := Sign(rand.Reader, k, sandbox.IdentityID(who), context, body)
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	out := sharesCertificate{Version: 1, Plan: text}
	parts := [][]byte{[]byte("opdomain/mpc/session/v1"), text}
	for i := range 3 {
		a := sign(s.owners[i], fmt.Sprint("owner", i), ContextSharesApproval, SharesApproval{sandbox.PartyID(fmt.Sprint(s.zone, i)), hex.EncodeToString(digest[:]), start, s.expires})
		nonce := make([]byte, 32)
		nonce[0] = byte(i)
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		out.Approvals, out.Nonces = append(out.Approvals, a), append(out.Nonces, hex.EncodeToString(nonce))
		parts = append(parts, s.parties[i].Public().Bytes(), append(nonce, b...))
	}
	id := sm.Sum(sm.Frame(parts...))
	out.Session = hex.EncodeToString(id[:])
	for i := range 3 {
		tr := SharesTranscript{Session: out.Session, Trace: s.trace[i], Place: i}
		for j := range 3 {
			tr.Links = append(tr.Links, SharesChain{fmt.Sprint(i, "to", j), fmt.Sprint(j, "to", i)})
		}
		out.Transcripts = append(out.Transcripts, sign(s.parties[i], fmt.Sprint(s.zone, i), ContextSharesTranscript, tr))
	}
	for i := range 3 {
		out.Confirmations = append(out.Confirmations, sign(s.parties[i], fmt.Sprint(s.zone, i), ContextSharesConfirm, SharesConfirmation{out.Session, SharesDigest(out.Transcripts)}))
		out.Receipts = append(out.Receipts, sign(s.parties[i], fmt.Sprint(s.zone, i), ContextSharesReceipt, SharesReceipt{out.Session, "o" + s.outputs[i]}))
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return digest[:], b
}

type signedShares struct {
	parties, owners [3]*sm.SigningKey
	expires         time.Time
	trace, outputs  [3]string
	job, model      string
	zone            string
}

// TestCheckShares: a certificate verifies as it was signed, at a time its approvals cover; each other one is found.
func TestCheckShares(t *testing.T) {
	c := newCast(t)
	plan, good := c.signedRun(t, nil)
	run, err := CheckShares(good, start.Add(time.Minute))
	if err != nil || string(run.Plan[:]) != string(plan) || run.Job != "q-s" || run.Model != "semi-honest" || len(run.Parties) != 3 {
		t.Fatal(err)
	}
	if _, err := CheckShares(good, start.Add(-sharesSkew)); err != nil {
		t.Errorf("a clock that is as far back as parties let it: %v", err)
	}
	for name, at := range map[string]time.Time{"too late": start.Add(1001 * time.Hour), "too early": start.Add(-sharesSkew - time.Second)} {
		if _, err := CheckShares(good, at); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*signedShares){
		"two zones with a key":  func(s *signedShares) { s.parties[1] = s.parties[0] },
		"an owner's key a zone": func(s *signedShares) { s.owners[1] = s.parties[0] },
		"its own owner":         func(s *signedShares) { s.owners[2] = s.parties[2] },
		"other operators":       func(s *signedShares) { s.trace[1] = "u" },
		"other outputs":         func(s *signedShares) { s.outputs[2] = "p" },
	} {
		_, b := c.signedRun(t, change)
		if _, err := CheckShares(b, start.Add(time.Minute)); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 0; i < len(good); i += 7 { // no byte may be another
		b := append([]byte(nil), good...)
		b[i] ^= 1
		if _, err := CheckShares(b, start.Add(time.Minute)); err == nil {
			var same sharesCertificate // base64 has spare bits behind a value; they are nothing of it
			if json.Unmarshal(b, &same) != nil {
				t.Fatal("it verified")
			}
			if again, err := json.Marshal(same); err != nil || string(again) != string(good) {
				t.Errorf("byte %d is free", i)
			}
		}
	}
}

// TestSharesInBundles: a question over shares whose plan, run and answer are on record as they should be holds; each other order is found.
func TestSharesInBundles(t *testing.T) {
	c := newCast(t)
	plan, certificate := c.signedRun(t, nil)
	_, foreign := c.signedRun(t, func(s *signedShares) { s.parties[0] = s.owners[0]; s.owners[0] = s.owners[1]; s.owners[1] = c.domain })
	decided := step{kind: QuestionDecided, actor: "op-officer", body: &QuestionDecidedBody{Question: "q-s", Scenario: "sc-1", Asker: "op-officer", Spec: digest("s"), Allow: true, Engine: sandbox.MPC, Class: sandbox.ClassA, Policy: "p", Request: digest("r")}}
	planned := step{kind: SharesPlanned, actor: DomainActor, body: &SharesPlannedBody{Question: "q-s", Plan: plan, Model: "semi-honest", Parties: []sandbox.PartyID{"zone0", "zone1", "zone2"}}}
	ran := step{kind: SharesComputed, actor: DomainActor, body: &SharesComputedBody{Question: "q-s", Plan: plan, Certificate: certificate}}
	aborted := step{kind: SharesAborted, actor: DomainActor, body: &SharesAbortedBody{Question: "q-s", Plan: plan, Stage: SharesBeforeOpening, Kind: "unavailable", Rule: "r"}}
	late := step{kind: SharesAborted, actor: DomainActor, body: &SharesAbortedBody{Question: "q-s", Plan: plan, Stage: SharesOpening, Kind: "unavailable", Rule: "r"}}
	unstaged := step{kind: SharesAborted, actor: DomainActor, body: &SharesAbortedBody{Question: "q-s", Plan: plan, Kind: "unavailable", Rule: "r"}}
	pushed := step{kind: SharesPushed, actor: DomainActor, body: &SharesPushedBody{Question: "q-s", Plan: plan, Dataset: "ds-l", Push: digest("push")}}
	nameless := step{kind: SharesPushed, actor: DomainActor, body: &SharesPushedBody{Question: "q-s", Plan: plan, Dataset: "ds-l", Push: []byte{1}}}
	elsewhere := step{kind: SharesPushed, actor: DomainActor, body: &SharesPushedBody{Question: "q-s", Plan: digest("another"), Dataset: "ds-l", Push: digest("push")}}
	computed := step{kind: RunComputed, actor: DomainActor, body: &RunComputedBody{Question: "q-s", Run: "r"}}
	passed := step{kind: EgressChecked, actor: DomainActor, body: &EgressCheckedBody{Question: "q-s", Verdict: "pass", Result: digest("result"), Policy: "p"}}
	withheld := step{kind: EgressChecked, actor: DomainActor, body: &EgressCheckedBody{Question: "q-s", Verdict: "withheld", Policy: "p"}}
	// unlike plans and runs that fit each other in all but one.
	unlike := func(change func(*signedShares)) []step {
		plan, certificate := c.signedRun(t, change)
		p, r := *planned.body.(*SharesPlannedBody), SharesComputedBody{Question: "q-s", Plan: plan, Certificate: certificate}
		p.Plan = plan
		return []step{decided, {kind: SharesPlanned, actor: DomainActor, body: &p}, {kind: SharesComputed, actor: DomainActor, body: &r}, computed, passed}
	}
	again := unlike(func(s *signedShares) { s.job = "q-s-2" })
	other := func(s step) step {
		b := *s.body.(*SharesComputedBody)
		b.Plan = digest("another")
		s.body = &b
		return s
	}
	by := func(s step, raw json.RawMessage) step {
		b := *s.body.(*SharesComputedBody)
		b.Certificate = raw
		s.body = &b
		return s
	}
	for name, x := range map[string]struct {
		steps []step
		want  string
	}{
		"computed":               {[]step{decided, planned, ran, computed, passed}, ""},
		"pushed, and once more":  {[]step{decided, planned, pushed, pushed, ran, computed, passed}, ""},
		"pushed before the plan": {[]step{decided, pushed}, "of a plan on record"},
		"pushed after the run":   {[]step{decided, planned, ran, pushed}, "before its run has ended"},
		"pushed elsewhere":       {[]step{decided, planned, elsewhere}, "for the plan on record"},
		"pushed without a name":  {[]step{decided, planned, nameless}, "by the digest of a push"},
		"aborted":                {[]step{decided, planned, aborted, computed, withheld}, ""},
		"again after an abort":   {append([]step{decided, planned, aborted}, again[1:]...), ""},
		"again, its first job":   {[]step{decided, planned, aborted, planned, ran}, "its job is the question's"},
		"another's job":          {unlike(func(s *signedShares) { s.job = "q-1" }), "its job is the question's"},
		"another model":          {unlike(func(s *signedShares) { s.model = "malicious with abort" }), "under the model on record"},
		"other parties":          {unlike(func(s *signedShares) { s.zone = "place" }), "by the parties on record"},
		"again after opening":    {[]step{decided, planned, late, planned}, "before an output opened"},
		"no stage":               {[]step{decided, planned, unstaged}, "at a known stage"},
		"withheld while opening": {[]step{decided, planned, late, computed, withheld}, ""},
		"planned, not run":       {[]step{decided, planned, computed}, "ended before its answer"},
		"passed after an abort":  {[]step{decided, planned, aborted, computed, passed}, "under a certificate"},
		"planned twice":          {[]step{decided, planned, planned}, "planned anew"},
		"planned after it ran":   {[]step{decided, planned, ran, planned}, "planned anew"},
		"computed twice":         {[]step{decided, planned, ran, ran}, "computed once"},
		"aborted after it ran":   {[]step{decided, planned, ran, aborted}, "aborted once"},
		"without a plan":         {[]step{decided, ran}, "of a plan on record"},
		"another plan":           {[]step{decided, planned, other(ran)}, "by the plan on record"},
		"no certificate":         {[]step{decided, planned, by(ran, json.RawMessage(`{}`))}, "that verifies"},
		"not the domain's run":   {[]step{decided, planned, by(ran, foreign)}, "by the plan on record"},
		"a question in the open": {[]step{{kind: SharesPlanned, actor: DomainActor, body: &SharesPlannedBody{Question: "q-1", Plan: plan, Parties: []sandbox.PartyID{"a", "b", "c"}}}}, "over shares"},
	} {
		s := append(c.story(), x.steps...)
		for i := range s {
			s[i].minute = i
		}
		_, err := verify(bundle(t, c.play(t, s), everything))
		if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
}
