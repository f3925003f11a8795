package egress

import (
	"bytes"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Template (常设模板) is a standing template the agency signed, and what became of it.
type Template struct {
	attest.StandingTemplate
	By      sandbox.IdentityID `json:"by"`
	Used    int                `json:"used"`
	Stopped time.Time          `json:"stopped,omitzero"`
	Reason  string             `json:"reason,omitempty"` // of the stop
}

// TemplateUse (模板适用) is what was asked, as a template is held to it: Spec is the SM3 of the canonical question, measures are
// func(column).
type TemplateUse struct {
	Scenario sandbox.ScenarioID
	Spec     []byte
	Measures []string
}

// Bounds of a standing template.
const (
	MaxTemplateBudget = 10_000
	maxTemplateSlot   = 7 * 24 * 60 * 60
)

// NewTemplate takes a template that an officer of the agency signed, under the policy in force.
func NewTemplate(t attest.StandingTemplate, who sandbox.Identity, party sandbox.Party, policy string, now time.Time) (Template, error) {
	fail := func(k sandbox.Kind, rule string) (Template, error) {
		return Template{}, &sandbox.Error{Op: "template: sign", Kind: k, Object: "template", Detail: rule}
	}
	if err := sandbox.CheckID("template", string(t.ID)); err != nil {
		return Template{}, err
	}
	if err := sandbox.CheckID("scenario", string(t.Scenario)); err != nil {
		return Template{}, err
	}
	switch {
	case party.Role != sandbox.Agency || who.Duty != sandbox.Officer || who.ID == "" || who.Party != party.ID:
		return fail(sandbox.Denied, "an officer of the agency signs it")
	case (len(t.Spec) == 0) == (len(t.Measures) == 0) || len(t.Spec) != 0 && len(t.Spec) != sm.Size || len(t.Measures) > 64:
		return fail(sandbox.Invalid, "it names the digest of one question, or the measures that may be asked for")
	case t.Recipient == "":
		return fail(sandbox.Invalid, "it names its recipient")
	case t.Budget < 1 || t.Budget > MaxTemplateBudget:
		return fail(sandbox.Invalid, "a budget of 1 to 10000 releases")
	case t.Sample < 0 || t.Sample > 100:
		return fail(sandbox.Invalid, "a sample of 0 to 100 percent")
	case t.Slot < 1 || t.Slot > maxTemplateSlot:
		return fail(sandbox.Invalid, "a slot of a second to a week")
	case t.Policy != policy:
		return fail(sandbox.Conflict, "it is signed under the policy in force")
	case !now.Before(t.Expires) || t.Expires.After(now.AddDate(1, 0, 1)):
		return fail(sandbox.Invalid, "it expires within a year")
	case t.At.After(now.Add(time.Minute)) || t.At.Before(now.Add(-time.Hour)):
		return fail(sandbox.Invalid, "it was signed within the last hour")
	}
	return Template{StandingTemplate: t, By: who.ID}, nil
}

// Stop ends a template at once; an officer of the agency does.
func (t Template) Stop(s attest.TemplateStop, who sandbox.Identity, party sandbox.Party, now time.Time) (Template, error) {
	fail := func(k sandbox.Kind, rule string) (Template, error) {
		return t, &sandbox.Error{Op: "template: stop", Kind: k, Object: string(t.ID), Detail: rule}
	}
	switch {
	case party.Role != sandbox.Agency || who.Duty != sandbox.Officer || who.Party != party.ID:
		return fail(sandbox.Denied, "an officer of the agency stops it")
	case s.Template != t.ID:
		return fail(sandbox.Conflict, "the statement is about another template")
	case s.Reason == "" || len(s.Reason) > 4096:
		return fail(sandbox.Invalid, "it gives its reason, in at most 4096 bytes")
	case !t.Stopped.IsZero():
		return fail(sandbox.Conflict, "it was stopped before")
	}
	t.Stopped, t.Reason = now, s.Reason
	return t, nil
}

// Admits says why a template releases nothing more, or not this; nil when it does.
func (t Template) Admits(u TemplateUse, r Review, now time.Time) error {
	fail := func(k sandbox.Kind, rule string) error {
		return &sandbox.Error{Op: "template", Kind: k, Object: string(t.ID), Detail: rule}
	}
	list, err := ChecklistOf(r.Class)
	switch {
	case err != nil:
		return err
	case !slices.Contains(list.Authority, ByTemplate):
		return fail(sandbox.Denied, "a template releases class A only")
	case t.Scenario != u.Scenario || t.Recipient != r.Recipient:
		return fail(sandbox.Denied, "of another scenario or for another recipient")
	case len(t.Spec) > 0 && !bytes.Equal(t.Spec, u.Spec):
		return fail(sandbox.Denied, "of another question")
	case len(t.Measures) > 0 && (len(u.Measures) == 0 || slices.ContainsFunc(u.Measures, func(m string) bool { return !slices.Contains(t.Measures, m) })):
		return fail(sandbox.Denied, "a measure it does not name")
	case t.Used >= t.Budget:
		return fail(sandbox.Denied, "its budget is used up")
	}
	return t.live(r.Policy, now)
}

// live says why a template no longer holds at release.
func (t Template) live(policy string, now time.Time) error {
	fail := func(k sandbox.Kind, rule string) error {
		return &sandbox.Error{Op: "template", Kind: k, Object: string(t.ID), Detail: rule}
	}
	switch {
	case t.ID == "":
		return fail(sandbox.Denied, "no such template")
	case !t.Stopped.IsZero():
		return fail(sandbox.Denied, "it was stopped")
	case !now.Before(t.Expires):
		return fail(sandbox.Expired, "it has expired")
	case t.Policy != policy:
		return fail(sandbox.Conflict, "the policy has changed since it was signed")
	}
	return nil
}

// next is the next multiple of the template's slot: when a release leaves tells nothing about how long it was computed.
func (t Template) next(now time.Time) time.Time {
	slot := int64(t.Slot)
	return time.Unix((now.Unix()/slot+1)*slot, 0).UTC()
}
