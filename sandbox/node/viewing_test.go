package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// resigned is the request with another plan, signed.
func resigned(t *testing.T, n *Node, r ViewRequest, sign func(*desensitize.Plan) (desensitize.Signature, error), text string) ViewRequest {
	t.Helper()
	p, err := desensitize.Parse("plan", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	r.Plan = p
	if r.Signature, err = sign(p); err != nil {
		t.Fatal(err)
	}
	return r
}

// values reads the first column of a view.
func values(t *testing.T, v *vault.Vault, id sandbox.DatasetID) (out []string) {
	t.Helper()
	s, err := v.Head(id)
	if err != nil {
		t.Fatal(err)
	}
	r, err := v.Scan(t.Context(), memory.DefaultAllocator, s, []string{"who"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.Next(t.Context())
		if err != nil {
			return out
		}
		for i := range int(rec.NumRows()) {
			out = append(out, strings.Clone(rec.Column(0).(*array.String).Value(i)))
		}
		rec.Release()
	}
}

// TestViewOpensNoMoreThanAnEngine: a column that no engine may open is opened for no view either, and an operator-hosted domain opens no
// personal one.
func TestViewOpensNoMoreThanAnEngine(t *testing.T) {
	n, unit, _, r := viewing(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	if _, d, err := n.SealView(t.Context(), unit, r); err != nil || !d.Allow {
		t.Fatal(d, err)
	}
	n.desc.Hosting = sandbox.P2
	r.Use = "use-2"
	_, d, err := n.SealView(t.Context(), unit, r)
	if err != nil || d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "engine.grade" || d.Reasons[0].Column != "ds-p.who" || d.Reasons[0].Change == "" {
		t.Errorf("%+v %v", d, err)
	}
	if all, err := n.Views(t.Context(), unit); err != nil || len(all) != 1 {
		t.Errorf("%d views: %v", len(all), err)
	}
}

// TestViewsAreTheirUnits: who may make, see and end one over the interface.
func TestViewsAreTheirUnits(t *testing.T) {
	ctx := context.Background()
	n, unit, key, r := viewing(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	text := "{plan: p, version: 1, dataset: ds-p, owner: unit, columns: [{column: who, op: keep, first: 1}]}"
	p, err := desensitize.Parse("plan", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Sign(rand.Reader, key, "unit", n.now())
	if err != nil {
		t.Fatal(err)
	}
	signature, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	other := api.Caller{Identity: sandbox.Identity{ID: "x", Party: "x", Duty: sandbox.Officer}, Party: sandbox.Party{ID: "x", Role: sandbox.Unit}}
	agency := api.Caller{Identity: sandbox.Identity{ID: "agency", Party: "agency", Duty: sandbox.Officer}, Party: sandbox.Party{ID: "agency", Role: sandbox.Agency}}
	ask := api.ViewRequest{Use: r.Use, Dataset: "ds-p", Plan: text, Signature: signature}
	if _, err := n.MakeView(ctx, other, ask); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("another unit: %v", err)
	}
	for what, change := range map[string]func(*api.ViewRequest){
		"not a plan":      func(a *api.ViewRequest) { a.Plan = "plan: [" },
		"not a signature": func(a *api.ViewRequest) { a.Signature = []byte(`{"plan": 3}`) },
	} {
		a := ask
		change(&a)
		if _, err := n.MakeView(ctx, unit, a); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
	out, err := n.MakeView(ctx, unit, ask)
	if err != nil || out.View == nil || out.View.Source.Version != 1 || out.View.Route != "desensitised" || out.View.Rows != 1 {
		t.Fatalf("%+v %v", out, err)
	}
	for who, c := range map[string]struct {
		caller api.Caller
		views  int
	}{"unit": {unit, 1}, "agency": {agency, 1}, "another unit": {other, 0}} {
		if all, err := n.Views(ctx, c.caller); err != nil || len(all) != c.views {
			t.Errorf("%s sees %d views: %v", who, len(all), err)
		}
	}
	if _, err := n.EndView(ctx, other, out.View.ID); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("another unit ends it: %v", err)
	}
	first, err := n.EndView(ctx, agency, out.View.ID)
	if err != nil || first.State != viewErased || len(first.Certificate) == 0 {
		t.Fatalf("%+v %v", first, err)
	}
	if again, err := n.EndView(ctx, unit, out.View.ID); err != nil || string(again.Certificate) != string(first.Certificate) {
		t.Errorf("asked again: %v", err)
	}
}

// TestDrawsOfADomainAreItsOwn: the same plan and version are drawn alike in one domain, and not in all of them.
func TestDrawsOfADomainAreItsOwn(t *testing.T) {
	plan := "{plan: p, version: 1, dataset: ds-p, owner: unit, columns: [{column: who, op: pram, categories: [somebody, a-2, a-3, a-4, a-5, a-6, a-7, a-8], stay: '0.1'}]}"
	var seen []string
	for range 6 {
		n, unit, key, r := viewing(t, filepath.Join(t.TempDir(), "d"))
		sign := func(p *desensitize.Plan) (desensitize.Signature, error) {
			return p.Sign(rand.Reader, key, "unit", n.now())
		}
		r = resigned(t, n, r, sign, plan)
		a, d, err := n.SealView(t.Context(), unit, r)
		if err != nil || !d.Allow {
			t.Fatal(d, err)
		}
		r.Use = "use-2"
		b, _, err := n.SealView(t.Context(), unit, r)
		if err != nil {
			t.Fatal(err)
		}
		x, y := values(t, n.vault, a.ID), values(t, n.vault, b.ID)
		if !slices.Equal(x, y) {
			t.Error("one domain draws the same view in two ways")
		}
		seen = append(seen, strings.Join(x, ","))
		closed(t, n)
	}
	slices.Sort(seen)
	if len(slices.Compact(seen)) == 1 {
		t.Error("six domains draw alike")
	}
}

// TestViewsEndWithTheirConsent: a view that rests on a consent or a grant is erased once that is over.
func TestViewsEndWithTheirConsent(t *testing.T) {
	ctx := context.Background()
	n, unit, _, r := viewing(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	receipt := func(id sandbox.ConsentID, until time.Time, state consent.State) {
		rec := consentRecord{Record: consent.Record{Receipt: attest.Receipt{ID: id, NotAfter: until}, State: state}}
		if err := n.docs.consents.Insert(ctx, string(id), "person", string(state), rec); err != nil {
			t.Fatal(err)
		}
	}
	receipt("live", n.now().Add(time.Hour), consent.Given)
	receipt("over", n.now().Add(-time.Second), consent.Given)
	receipt("revoked", n.now().Add(time.Hour), consent.Revoked)
	if err := n.docs.scenarios.Insert(ctx, "ended", "operator", "granted", grant.Scenario{}); err != nil {
		t.Fatal(err)
	}
	want := map[sandbox.RunID]string{"use-0": viewSealed, "use-1": viewSealed, "use-2": viewErased, "use-3": viewErased, "use-4": viewErased}
	for i, rests := range []func(*viewRecord){func(*viewRecord) {}, func(v *viewRecord) { v.Consent = "live" }, func(v *viewRecord) { v.Consent = "over" }, func(v *viewRecord) { v.Consent = "revoked" }, func(v *viewRecord) { v.Scenario = "ended" }} {
		r.Use = sandbox.RunID(fmt.Sprintf("use-%d", i))
		v, d, err := n.SealView(ctx, unit, r)
		if err != nil || !d.Allow {
			t.Fatal(d, err)
		}
		rec, rev, err := n.docs.views.Get(ctx, string(v.ID))
		if err != nil {
			t.Fatal(err)
		}
		rests(&rec)
		if _, err := n.docs.views.Update(ctx, string(v.ID), rev, "unit", viewSealed, rec); err != nil {
			t.Fatal(err)
		}
	}
	all, err := n.Views(ctx, unit)
	if err != nil || len(all) != len(want) {
		t.Fatal(len(all), err)
	}
	for _, v := range all {
		_, err := n.vault.Head(v.ID)
		if v.State != want[v.Use] || (err == nil) != (want[v.Use] == viewSealed) {
			t.Errorf("%s is %s, want %s; the vault: %v", v.Use, v.State, want[v.Use], err)
		}
	}
}
