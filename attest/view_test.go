package attest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// planSignature signs a plan of a name, as an identity, with a key.
func (c *cast) planSignature(t testing.TB, plan string, version int, signer, key sandbox.IdentityID, at time.Time) json.RawMessage {
	t.Helper()
	s := PlanSignature{Plan: plan, Version: version, Digest: digest(plan), Signer: signer, At: at}
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if s.Signature, err = c.keys[key].Sign(rand.Reader, ContextPlan, b); err != nil {
		t.Fatal(err)
	}
	if b, err = json.Marshal(s); err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRulesOfViews: what the verifier says to a view, to a masking and to an answer under one; "" for accepted.
func TestRulesOfViews(t *testing.T) {
	c := newCast(t)
	view := func(change func(*ViewSealedBody)) []step {
		b := &ViewSealedBody{View: "view-1", Use: "use-1", Source: sandbox.InputVersion{Dataset: "claims", Version: 1}, Route: "desensitised", Plan: "p", PlanVersion: 1, PlanDigest: digest("p"),
			Signer: "med-officer", PlanSignature: c.planSignature(t, "p", 1, "med-officer", "med-officer", start), Rows: 3, Manifest: digest("m"), Key: "v-1", KeyCommitment: digest("k")}
		change(b)
		return []step{{kind: ViewSealed, actor: DomainActor, body: b}}
	}
	signed := func(signer, key sandbox.IdentityID, at time.Time) func(*ViewSealedBody) {
		return func(b *ViewSealedBody) {
			b.Signer, b.PlanSignature = signer, c.planSignature(t, "p", 1, signer, key, at)
		}
	}
	masking := func(version int, change func(*MaskingSetBody)) []step {
		b := &MaskingSetBody{Dataset: "claims", Plan: "m", PlanVersion: version, PlanDigest: digest("m"), Signer: "med-officer",
			PlanSignature: c.planSignature(t, "m", version, "med-officer", "med-officer", start), Roles: []sandbox.Role{sandbox.Insurer}}
		change(b)
		return []step{{kind: MaskingSet, actor: "med-officer", body: b}}
	}
	plain := func(*MaskingSetBody) {}
	answered := func(digest []byte) func(testing.TB, []step) {
		return func(t testing.TB, s []step) { body[ClaimAnsweredBody](t, s, "answer").Masking = digest }
	}
	consented := func(b *ViewSealedBody) { b.Route, b.Consent = "authorised", "c-1" }
	revoked := step{kind: IdentityRevoked, actor: "agency-officer", body: &IdentityRevokedBody{Identity: "med-officer", Reason: "left"}}
	for _, x := range []struct {
		name   string
		behind string // step of the story
		steps  []step
		then   func(t testing.TB, s []step) // a change of later steps
		want   string
	}{
		{"view", "export", view(func(*ViewSealedBody) {}), nil, ""},
		{"view on authorisation", "answer", view(consented), nil, ""},
		{"view on a revoked consent", "export", view(consented), nil, "consent not revoked"},
		{"view on a consent nobody gave", "ask", view(consented), nil, "view: on a consent that was given before"},
		{"view on a consent for other data", "answer", view(consented), func(t testing.TB, s []step) { body[Receipt](t, s, "consent").Dataset = "persons" }, "view: on a consent for its dataset"},
		{"view of no version", "export", view(func(b *ViewSealedBody) { b.Source.Version = 99 }), nil, "view: of a version that was committed"},
		{"view of no dataset", "export", view(func(b *ViewSealedBody) { b.Source.Dataset = "x" }), nil, "view: of a version that was committed"},
		{"view without plan", "export", view(func(b *ViewSealedBody) { b.PlanDigest = nil }), nil, "view: desensitised by a plan"},
		{"view on no route", "export", view(func(b *ViewSealedBody) { b.Route = "trusted" }), nil, "view: desensitised by a plan"},
		{"view authorised by nobody", "export", view(func(b *ViewSealedBody) { b.Route = "authorised" }), nil, "view: desensitised by a plan"},
		{"view without manifest", "export", view(func(b *ViewSealedBody) { b.Manifest = nil }), nil, "view: with the digests"},
		{"view by another plan", "export", view(func(b *ViewSealedBody) { b.PlanDigest = digest("q") }), nil, "view: with its owner's signature"},
		{"view by another version", "export", view(func(b *ViewSealedBody) { b.PlanVersion = 2 }), nil, "view: with its owner's signature"},
		{"view by a plan nobody signed", "export", view(func(b *ViewSealedBody) { b.PlanSignature = json.RawMessage("{}") }), nil, "view: with its owner's signature"},
		{"signed with another key", "export", view(signed("med-officer", "op-officer", start)), nil, "view: with its owner's signature"},
		{"signed by an operator", "export", view(signed("op-officer", "op-officer", start)), nil, "view: signed by an officer of the dataset's unit"},
		{"signed by a reviewer", "export", view(signed("med-reviewer", "med-reviewer", start)), nil, "view: signed by an officer of the dataset's unit"},
		{"signed by a stranger", "export", view(signed("stranger", "op-officer", start)), nil, "view: signed by an identity enrolled before"},
		{"signed later", "export", view(signed("med-officer", "med-officer", start.Add(1000*time.Hour))), nil, "time: a statement is not dated after"},
		{"signed by one shut out", "export", slices.Concat([]step{revoked}, view(func(*ViewSealedBody) {})), nil, "view: signed by an identity that was not revoked"},
		{"masking", "export", slices.Concat(masking(1, plain), masking(2, plain)), nil, ""},
		{"masking put back", "export", slices.Concat(masking(2, plain), masking(1, plain)), nil, "masking: versions of a plan rise"},
		{"masking of no dataset", "export", masking(1, func(b *MaskingSetBody) { b.Dataset = "x" }), nil, "masking: of a registered dataset"},
		{"masking for nobody", "export", masking(1, func(b *MaskingSetBody) { b.Roles = nil }), nil, "masking: by a plan for roles"},
		{"masking by another plan", "export", masking(1, func(b *MaskingSetBody) { b.PlanDigest = digest("q") }), nil, "masking: with its owner's signature"},
		{"masking set by the operator", "export", func() []step { s := masking(1, plain); s[0].actor = "op-officer"; return s }(), nil, "masking: by an identity of its party"},
		{"a record shown by it", "claim ask", masking(1, plain), answered(digest("m")), ""},
		{"a record shown past it", "claim ask", masking(1, plain), nil, "masking: a record is shown by the plan in force"},
		{"a record shown by another", "claim ask", masking(1, plain), answered(digest("q")), "masking: a record is shown by the plan in force"},
		{"a record shown by none", "claim ask", nil, answered(digest("m")), "masking: a record is shown by the plan in force"},
	} {
		t.Run(x.name, func(t *testing.T) {
			if c.keys["stranger"] == nil {
				c.keys["stranger"] = c.keys["op-officer"]
			}
			s := c.story()
			at := find(t, s, x.behind)
			for i := range x.steps {
				x.steps[i].minute = s[at].minute
			}
			if x.then != nil {
				x.then(t, s)
			}
			s = slices.Concat(s[:at+1], x.steps, slices.Clone(s[at+1:]))
			rep, err := verify(bundle(t, c.play(t, s), everything))
			if x.want == "" && (err != nil || len(rep.NotChecked) > 0) {
				t.Errorf("%v, not checked: %v", err, rep.NotChecked)
			}
			if x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
	// A party that does not see the enrolment and the consent is told what it could not check.
	s := c.story()
	at := find(t, s, "answer")
	steps := view(consented)
	steps[0].minute = s[at].minute
	s = slices.Concat(s[:at+1], steps, slices.Clone(s[at+1:]))
	rep, err := verify(bundle(t, c.play(t, s), func(e Event) bool { return e.Kind != PartyEnrolled && e.Kind != ConsentGiven }))
	if err != nil || rep.NotChecked["view"] != 2 {
		t.Errorf("%v, %v", rep.NotChecked, err)
	}
}
