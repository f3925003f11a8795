package attest

import (
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestSumsInBundles: a question over ciphertexts whose plan, shares and opening are on record as they should be holds; each other order is found.
func TestSumsInBundles(t *testing.T) {
	c := newCast(t)
	event := func(k Kind, body any) step { return step{kind: k, actor: DomainActor, body: body} }
	decided := step{kind: QuestionDecided, actor: "op-officer", body: &QuestionDecidedBody{Question: "q-s", Scenario: "sc-1", Asker: "op-officer", Spec: digest("s"), Allow: true, Engine: sandbox.HE, Class: sandbox.ClassA, Policy: "p", Request: digest("r")}}
	planned := func(epoch uint64, change func(*SumPlannedBody)) step {
		b := &SumPlannedBody{Question: "q-s", Plan: digest(string(rune('0' + epoch))), Epoch: epoch, Set: "sum-13", Units: []sandbox.PartyID{"a", "b", "c"}, Openers: []sandbox.PartyID{"a", "c"}, Engine: digest("e")}
		if change != nil {
			change(b)
		}
		return event(SumPlanned, b)
	}
	shared := func(epoch uint64, unit sandbox.PartyID, sum string) step {
		return event(SumShared, &SumSharedBody{Question: "q-s", Plan: digest(string(rune('0' + epoch))), Unit: unit, Sum: digest(sum), Message: digest("m")})
	}
	opened := func(epoch uint64, sum string) step {
		return event(SumOpened, &SumOpenedBody{Question: "q-s", Plan: digest(string(rune('0' + epoch))), Sum: digest(sum)})
	}
	aborted := func(epoch uint64) step {
		return event(SumAborted, &SumAbortedBody{Question: "q-s", Plan: digest(string(rune('0' + epoch))), Stage: "share", Member: "c", Kind: sandbox.Unavailable, Rule: "r"})
	}
	computed := event(RunComputed, &RunComputedBody{Question: "q-s", Run: "r"})
	over := func(q sandbox.QuestionID, d sandbox.DatasetID, version uint64) step {
		return event(RunComputed, &RunComputedBody{Question: q, Run: "r", Inputs: []sandbox.InputVersion{{Dataset: d, Version: version}}})
	}
	passed := event(EgressChecked, &EgressCheckedBody{Question: "q-s", Verdict: "pass", Result: digest("result"), Policy: "p"})
	withheld := event(EgressChecked, &EgressCheckedBody{Question: "q-s", Verdict: "withheld", Policy: "p"})
	first := planned(1, nil)
	joined := func(change func(*SumPlannedBody, *JoinedBody)) step {
		return planned(1, func(b *SumPlannedBody) {
			b.Units, b.Openers, b.Joined = []sandbox.PartyID{"a", "c"}, []sandbox.PartyID{"a", "c"}, &JoinedBody{Holders: []sandbox.PartyID{"c", "a"}, List: digest("l"), People: 9}
			if change != nil {
				change(b, b.Joined)
			}
		})
	}
	for name, x := range map[string]struct {
		steps []step
		want  string
	}{
		"opened":                  {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "s"), opened(1, "s"), computed, passed}, ""},
		"aborted":                 {[]step{decided, first, shared(1, "a", "s"), aborted(1), computed, withheld}, ""},
		"again after an abort":    {[]step{decided, first, shared(1, "a", "s"), aborted(1), planned(2, nil), shared(2, "a", "t"), shared(2, "c", "t"), opened(2, "t"), computed, passed}, ""},
		"of rows nobody pushed":   {[]step{decided, first, aborted(1), over("q-s", "claims", 0), withheld}, ""},
		"of a version not there":  {[]step{decided, first, aborted(1), over("q-s", "claims", 9)}, "committed before"},
		"of a dataset not there":  {[]step{decided, first, aborted(1), over("q-s", "ds-x", 0)}, "committed before"},
		"in plain over no rows":   {[]step{over("q-1", "claims", 0)}, "committed before"},
		"planned, not opened":     {[]step{decided, first, computed}, "ended before its answer"},
		"not planned":             {[]step{decided, computed}, "ended before its answer"},
		"passed after an abort":   {[]step{decided, first, aborted(1), computed, passed}, "by all openers"},
		"planned beside another":  {[]step{decided, first, planned(2, nil)}, "after one that was aborted"},
		"the same epoch again":    {[]step{decided, first, aborted(1), planned(1, nil)}, "after one that was aborted"},
		"the same plan again":     {[]step{decided, first, aborted(1), planned(2, func(b *SumPlannedBody) { b.Plan = digest("1") })}, "a plan of its own"},
		"planned after it opened": {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "s"), opened(1, "s"), planned(2, nil)}, "after one that was aborted"},
		"two joined units":        {[]step{decided, joined(nil), shared(1, "a", "s"), shared(1, "c", "s"), opened(1, "s"), computed, passed}, ""},
		"one joined unit opens":   {[]step{decided, joined(func(b *SumPlannedBody, _ *JoinedBody) { b.Openers = b.Openers[:1] })}, "more than half"},
		"joined with itself":      {[]step{decided, joined(func(_ *SumPlannedBody, j *JoinedBody) { j.Holders[1] = "c" })}, "over a list"},
		"joined with a stranger":  {[]step{decided, joined(func(_ *SumPlannedBody, j *JoinedBody) { j.Holders[1] = "x" })}, "over a list"},
		"joined over no list":     {[]step{decided, joined(func(_ *SumPlannedBody, j *JoinedBody) { j.List = nil })}, "over a list"},
		"joined over nobody":      {[]step{decided, joined(func(_ *SumPlannedBody, j *JoinedBody) { j.People = 0 })}, "over a list"},
		"two units":               {[]step{decided, planned(1, func(b *SumPlannedBody) { b.Units = b.Units[:2] })}, "three units"},
		"one opens":               {[]step{decided, planned(1, func(b *SumPlannedBody) { b.Openers = b.Openers[:1] })}, "three units"},
		"a stranger opens":        {[]step{decided, planned(1, func(b *SumPlannedBody) { b.Openers = []sandbox.PartyID{"a", "x"} })}, "three units"},
		"a second share":          {[]step{decided, first, shared(1, "a", "s"), shared(1, "a", "s")}, "no second"},
		"a share by no opener":    {[]step{decided, first, shared(1, "b", "s")}, "no second"},
		"shares of two sums":      {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "t")}, "of one sum"},
		"a share after an abort":  {[]step{decided, first, aborted(1), shared(1, "a", "s")}, "before it ends"},
		"a share of another plan": {[]step{decided, first, shared(2, "a", "s")}, "before it ends"},
		"opened with one share":   {[]step{decided, first, shared(1, "a", "s"), opened(1, "s")}, "of all openers"},
		"opened by another plan":  {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "s"), opened(2, "s")}, "by the plan on record"},
		"opened to another sum":   {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "s"), opened(1, "t")}, "of all openers"},
		"opened after an abort":   {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "s"), aborted(1), opened(1, "s")}, "opened once"},
		"aborted after it opened": {[]step{decided, first, shared(1, "a", "s"), shared(1, "c", "s"), opened(1, "s"), aborted(1)}, "aborted once"},
		"without a plan":          {[]step{decided, shared(1, "a", "s")}, "of a plan on record"},
		"opened without a plan":   {[]step{decided, opened(1, "s")}, "of a plan on record"},
		"aborted without a plan":  {[]step{decided, aborted(1)}, "of a plan on record"},
		"of a question in plain":  {[]step{planned(1, func(b *SumPlannedBody) { b.Question = "q-1" })}, "over ciphertexts"},
		"of a question not there": {[]step{planned(1, func(b *SumPlannedBody) { b.Question = "q-x" })}, "of a decided question"},
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
