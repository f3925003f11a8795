package release

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

var (
	now     = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	expires = now.AddDate(0, 0, 5)
	params  = egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
)

// checked is an answer that counts twelve people, as it left the gate.
func checked(t testing.TB) *egress.Checked {
	t.Helper()
	cell := sandbox.Cell{Values: []int64{12}, Rows: 12, NonMissing: []int64{12}, Contributions: [][]int64{nil}}
	for i := range 12 {
		cell.Contributors, cell.Contributions[0] = append(cell.Contributors, uint32(i)), append(cell.Contributions[0], 1)
	}
	c, err := egress.Check("q-1", &sandbox.Answer{Measures: []sandbox.Measure{{Name: "人数", Func: sandbox.Subjects}}, Cells: []sandbox.Cell{cell},
		Population: make([]sandbox.Pseudonym, 12), Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 1}}}, params)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// house is a domain and two recipients.
type house struct {
	sender    Sender
	key, evil *sm.DecryptKey
}

func newHouse(t testing.TB) house {
	t.Helper()
	sign, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := house{sender: Sender{Domain: "domain-1", Key: sign, Rand: rand.Reader}}
	for _, k := range []**sm.DecryptKey{&h.key, &h.evil} {
		if *k, err = sm.NewDecryptKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// approved is class A: two votes over the bytes.
func approved(t testing.TB) (egress.Approval, []byte) {
	t.Helper()
	c := checked(t)
	return twice(t, egress.Submit(egress.Submission{Question: "q-1", Author: "id-operator", Recipient: "id-operator", Policy: "policy/1", Now: now, Expires: expires}, c)), c.Result
}

// twice gives two votes on a review, and the approval.
func twice(t testing.TB, r egress.Review) egress.Approval {
	t.Helper()
	author := sandbox.Party{ID: "operator", Role: sandbox.Operator}
	for _, p := range []sandbox.Party{{ID: "unit-a", Role: sandbox.Unit}, {ID: "agency", Role: sandbox.Agency}} {
		v := attest.Vote{Question: r.Question, Class: r.Class, Result: r.Digest, Recipient: r.Recipient, Expires: r.Expires, Policy: r.Policy, Approve: true, At: now}
		var err error
		if r, err = r.Cast(v, egress.Electorate{Voter: sandbox.Identity{ID: sandbox.IdentityID("id-" + p.ID), Party: p.ID, Duty: sandbox.Reviewer}, VoterParty: p, Author: author, Recipient: author}, now); err != nil {
			t.Fatal(err)
		}
	}
	_, a, err := r.Release(now, egress.Present{Policy: r.Policy, Revoked: func(sandbox.IdentityID) bool { return false }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// consented is class B: one person's record under that person's consent.
func consented(t testing.TB) (egress.Approval, []byte) {
	t.Helper()
	claim := bytes.Repeat([]byte{7}, consent.DigestSize)
	rec := consent.Record{State: consent.Given, Receipt: attest.Receipt{ID: "c-1", Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "settlement",
		Dataset: "claims", Fields: []string{"amount"}, Claim: claim, NotBefore: now, NotAfter: expires, MaxUses: 1}}
	check := consent.ClaimCheck{Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "settlement", Dataset: "claims", Fields: []string{"amount"}, Claim: claim, At: now}
	b, err := egress.EncodeRecord("q-9", check.Fields, []string{"12.00"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := egress.FromConsent(rec, check, "q-9", sandbox.Identity{ID: "id-insurer", Party: "insurer"}, b, expires, "policy/1")
	if err != nil {
		t.Fatal(err)
	}
	return a, b
}

func (h house) send(t testing.TB) Envelope {
	t.Helper()
	a, result := approved(t)
	e, err := h.sender.Send(a, "x-1", result, h.key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// approvedModel is class D: a model that passed its checks, and two votes over it.
func approvedModel(t testing.TB) (egress.Approval, []byte) {
	t.Helper()
	read := func(name string) []byte {
		b, err := model.Example(name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	m, err := model.Decode(read("logistic"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var data [2]*model.Data
	for i, file := range []string{"train.csv", "test.csv"} {
		b, err := model.NewBuilder(m.Schema)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(read(file))), "\n")[1:] {
			cells := strings.Split(line, ",")
			if err := b.Add(cells[0], cells[1:4], cells[4]); err != nil {
				t.Fatal(err)
			}
		}
		data[i] = b.Build()
	}
	report, err := model.Judge(m, data[0], data[1], model.Standard(), model.NewSource(1))
	if err != nil {
		t.Fatal(err)
	}
	question := sandbox.QuestionID(m.ID)
	p, err := egress.Trained(question, report)
	if err != nil {
		t.Fatal(err)
	}
	return twice(t, egress.Submit(egress.Submission{Question: question, Class: sandbox.ClassD, Author: "id-operator", Recipient: "id-operator", Policy: "policy/1", Now: now, Expires: expires}, p)), p.Result()
}

// TestModel: a model is sealed to its recipient in the gate's own bytes, and nothing else passes as one.
func TestModel(t *testing.T) {
	h := newHouse(t)
	a, result := approvedModel(t)
	e, err := h.sender.Send(a, "x-1", result, h.key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if e, err = Decode(b); err != nil || e.Class != sandbox.ClassD {
		t.Fatal(err)
	}
	got, err := e.Open(h.key, h.sender.Key.Public(), now)
	if err != nil || !bytes.Equal(got, result) {
		t.Fatalf("%v", err)
	}
	if _, err := model.DecodePayload(got); err != nil {
		t.Error(err)
	}
	if _, err := h.sender.Send(a, "x-2", append(bytes.Clone(result), ' '), h.key.Public(), now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("other bytes: %v", err)
	}
	if _, err := h.sender.Send(a, "x-2", result, h.key.Public(), expires); !errors.Is(err, sandbox.Denied) {
		t.Errorf("past its expiry: %v", err)
	}
}

func TestSendAndOpen(t *testing.T) {
	h := newHouse(t)
	e, result := h.send(t), checked(t).Result
	b, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("人数")) {
		t.Error("outgoing text stands in the envelope")
	}
	got, err := Decode(append(b, '\n'))
	if err != nil {
		t.Fatal(err)
	}
	if got.Version != 1 || got.Domain != "domain-1" || got.Release != "x-1" || got.Question != "q-1" || got.Class != sandbox.ClassA || got.Recipient != "id-operator" ||
		got.Policy != "policy/1" || got.Consent != "" || !bytes.Equal(got.Result, egress.Digest(result)) || !got.Expires.Equal(expires) || !got.Sent.Equal(now) {
		t.Errorf("head %+v", got.Head)
	}
	plain, err := got.Open(h.key, h.sender.Key.Public(), now)
	if err != nil || !bytes.Equal(plain, result) {
		t.Fatalf("%v", err)
	}
}

// A class B digest is salted: the record is short enough to be guessed.
func TestRecordDigestIsSalted(t *testing.T) {
	h := newHouse(t)
	a, b := consented(t)
	one, err := h.sender.Send(a, "x-1", b, h.key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	two, err := h.sender.Send(a, "x-2", b, h.key.Public(), now)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(one.Result, egress.Digest(b)) || bytes.Equal(one.Result, two.Result) {
		t.Error("the digest of a record can be guessed from its content")
	}
	if one.Class != sandbox.ClassB || one.Consent != "c-1" || one.Recipient != "id-insurer" {
		t.Errorf("head %+v", one.Head)
	}
	plain, err := one.Open(h.key, h.sender.Key.Public(), now)
	if err != nil || !bytes.Equal(plain, b) {
		t.Fatalf("%v", err)
	}
}

func TestSendRefuses(t *testing.T) {
	h := newHouse(t)
	a, result := approved(t)
	for name, c := range map[string]struct {
		a    egress.Approval
		id   sandbox.ReleaseID
		b    []byte
		now  time.Time
		kind sandbox.Kind
	}{
		"no approval":   {egress.Approval{}, "x-1", result, now, sandbox.Denied},
		"nothing":       {egress.Approval{}, "x-1", nil, now, sandbox.Denied},
		"other bytes":   {a, "x-1", append(slices.Clone(result), ' '), now, sandbox.Denied},
		"expired":       {a, "x-1", result, expires, sandbox.Denied},
		"no release id": {a, "", result, now, sandbox.Invalid},
	} {
		e, err := h.sender.Send(c.a, c.id, c.b, h.key.Public(), c.now)
		if sandbox.KindOf(err) != c.kind || err == nil || e.Box != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	broken := h.sender
	broken.Rand = strings.NewReader("short")
	b, rec := consented(t)
	if e, err := broken.Send(b, "x-1", rec, h.key.Public(), now); !errors.Is(err, sandbox.Unavailable) || e.Box != nil {
		t.Errorf("without randomness: %v", err)
	}
}

// What was approved is scanned at the way out: a consented field holds no code.
func TestSendScansWhatLeaves(t *testing.T) {
	h := newHouse(t)
	claim := bytes.Repeat([]byte{7}, consent.DigestSize)
	rec := consent.Record{State: consent.Given, Receipt: attest.Receipt{ID: "c-1", Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "settlement",
		Dataset: "claims", Fields: []string{"note"}, Claim: claim, NotBefore: now, NotAfter: expires, MaxUses: 1}}
	check := consent.ClaimCheck{Subject: "id-person", Grantee: "insurer", Scenario: "sc-1", Purpose: "settlement", Dataset: "claims", Fields: []string{"note"}, Claim: claim, At: now}
	for value, kind := range map[string]sandbox.Kind{"13800138000": "", "MTM4MDAxMzgwMDA=": sandbox.Withheld, "3133383030313338303030": sandbox.Withheld} {
		b, err := egress.EncodeRecord("q-9", check.Fields, []string{value})
		if err != nil {
			t.Fatal(err)
		}
		a, err := egress.FromConsent(rec, check, "q-9", sandbox.Identity{ID: "id-insurer", Party: "insurer"}, b, expires, "policy/1")
		if err != nil {
			t.Fatal(err)
		}
		e, err := h.sender.Send(a, "x-1", b, h.key.Public(), now)
		if kind == "" && err != nil || kind != "" && (!errors.Is(err, kind) || e.Box != nil || strings.Contains(err.Error(), value)) {
			t.Errorf("a field of %d characters: %v", len(value), err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	h, other := newHouse(t), newHouse(t)
	e := h.send(t)
	if _, err := e.Open(h.evil, h.sender.Key.Public(), now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("another recipient opens it: %v", err)
	}
	if _, err := e.Open(h.key, other.sender.Key.Public(), now); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another domain's key: %v", err)
	}
	if _, err := e.Open(h.key, h.sender.Key.Public(), expires); !errors.Is(err, sandbox.Expired) {
		t.Errorf("past its expiry: %v", err)
	}
	// The signature speaks first, whatever else is wrong.
	late := e
	late.Expires = expires.AddDate(1, 0, 0)
	if _, err := late.Open(h.key, h.sender.Key.Public(), now); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a later expiry: %v", err)
	}
	// A domain that signs a box under another head, or a digest that is not the content's.
	resign := func(change func(*Envelope)) error {
		x := h.send(t)
		change(&x)
		head := mustHead(t, x)
		sig, err := h.sender.Key.Sign(rand.Reader, Context, sm.Frame(head, x.Box))
		if err != nil {
			t.Fatal(err)
		}
		x.Signature = sig
		_, err = x.Open(h.key, h.sender.Key.Public(), now)
		return err
	}
	if err := resign(func(x *Envelope) { x.Recipient = "id-other" }); !errors.Is(err, sandbox.Denied) {
		t.Errorf("a box moved to another head: %v", err)
	}
	seal := func(x *Envelope, body []byte) {
		box, err := h.key.Public().SealMessage(rand.Reader, Context+string(mustHead(t, *x)), body)
		if err != nil {
			t.Fatal(err)
		}
		x.Box = box
	}
	if err := resign(func(x *Envelope) { seal(x, []byte("other content")) }); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another content: %v", err)
	}
	if err := resign(func(x *Envelope) {
		x.Class, x.Result = sandbox.ClassB, egress.Digest([]byte("short"))
		seal(x, []byte("short"))
	}); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("class B without salt: %v", err)
	}
}

func mustHead(t testing.TB, e Envelope) []byte {
	t.Helper()
	b, err := headBytes(e.Head)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Any byte of an encoded envelope that changes makes it unreadable or unsigned.
func TestEveryChangedByteIsRejected(t *testing.T) {
	h := newHouse(t)
	b, err := h.send(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		x := slices.Clone(b)
		x[i] ^= 1
		e, err := Decode(x)
		if err == nil {
			_, err = e.Open(h.key, h.sender.Key.Public(), now)
		}
		if kind := sandbox.KindOf(err); err == nil || kind != sandbox.Invalid && kind != sandbox.Tampered {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	h := newHouse(t)
	b, err := h.send(t).Encode()
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, x := range map[string]string{
		"nothing":         "",
		"another version": strings.Replace(good, `"version":1`, `"version":2`, 1),
		"another class":   strings.Replace(good, `"class":"A"`, `"class":"G"`, 1),
		"an unknown key":  strings.Replace(good, `"version"`, `"x":1,"version"`, 1),
		"white space":     strings.Replace(good, `,"domain"`, `, "domain"`, 1),
		"two lines after": good + "\n\n",
		"two envelopes":   good + good,
	} {
		if _, err := Decode([]byte(x)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := h.send(t)
	long.Box = make([]byte, MaxEnvelope)
	if b, err = long.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(b); !errors.Is(err, sandbox.Invalid) {
		t.Error("any length is read")
	}
}

func FuzzDecode(f *testing.F) {
	h := newHouse(f)
	b, err := h.send(f).Encode()
	if err != nil {
		f.Fatal(err)
	}
	seed := b
	f.Add(seed)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			return
		}
		again, err := e.Encode()
		if err != nil || !bytes.Equal(again, bytes.TrimSuffix(b, []byte("\n"))) {
			t.Fatal("two encodings of one envelope")
		}
		if _, err := e.Open(h.key, h.sender.Key.Public(), now); err == nil && !bytes.Equal(again, seed) {
			t.Fatal("an envelope nobody signed is opened")
		}
	})
}
