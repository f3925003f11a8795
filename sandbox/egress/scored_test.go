package egress

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// standingResult is a released result of three groups, the second suppressed, with its authority.
func standingResult(t testing.TB) (Review, Approval) {
	t.Helper()
	c := claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "b"), people(40, 12, "c"), people(60, 14, "d"))).check("q-1")
	r := Submit(Submission{Question: "q-1", Author: "id-operator", Recipient: "id-operator", Datasets: []sandbox.DatasetID{"claims"}, Policy: "policy/1", Params: c.params, Now: now, Expires: now.AddDate(0, 0, 5)}, c)
	r = released(t, cast(t, cast(t, r, unit, true), agency, true))
	a, err := r.Standing(now, Present{Policy: r.Policy, Revoked: nobody})
	if err != nil {
		t.Fatal(err)
	}
	return r, a
}

func scoresOf(t testing.TB, r Review) (out []*int64) {
	t.Helper()
	res, err := DecodeResult(r.Result)
	if err != nil {
		t.Fatal(err)
	}
	for i, row := range res.Rows {
		if v := int64(100*i + 25); !row.Suppressed {
			out = append(out, &v)
		} else {
			out = append(out, nil)
		}
	}
	return out
}

// TestStanding: a released result stands until it is revoked, it expires, its rules change, or who approved it is shut out.
func TestStanding(t *testing.T) {
	r, a := standingResult(t)
	if !a.Covers(r.Result, now) || a.Question() != "q-1" || a.Class() != sandbox.ClassA {
		t.Error("of another result")
	}
	approved := cast(t, cast(t, submitted(t), unit, true), agency, true)
	revoked := r
	revoked.State = Revoked
	altered := r
	altered.Result = []byte(strings.Replace(string(r.Result), "12", "13", 1))
	for name, x := range map[string]struct {
		r    Review
		at   time.Time
		p    Present
		kind sandbox.Kind
	}{
		"not released":   {approved, now, Present{Policy: r.Policy, Revoked: nobody}, sandbox.Denied},
		"revoked":        {revoked, now, Present{Policy: r.Policy, Revoked: nobody}, sandbox.Denied},
		"altered":        {altered, now, Present{Policy: r.Policy, Revoked: nobody}, sandbox.Denied},
		"expired":        {r, r.Expires, Present{Policy: r.Policy, Revoked: nobody}, sandbox.Expired},
		"another policy": {r, now, Present{Policy: "policy/2", Revoked: nobody}, sandbox.Conflict},
		"a voter out":    {r, now, Present{Policy: r.Policy, Revoked: func(id sandbox.IdentityID) bool { return id == "id-agency" }}, sandbox.Denied},
		"nobody looked":  {r, now, Present{Policy: r.Policy}, sandbox.Denied},
	} {
		if _, err := x.r.Standing(x.at, x.p); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestScored: scores leave in a result of their own that names what it is made of; what was suppressed stays so; people must release it.
func TestScored(t *testing.T) {
	of, a := standingResult(t)
	s := Scored{Of: of, Approval: a, Name: "risk", Decimals: 2, Span: 8, Scores: scoresOf(t, of), Evidence: map[string]string{"plan": "abcd"}}
	none := slices.IndexFunc(s.Scores, func(x *int64) bool { return x != nil })
	if s.Scores[none] = nil; none == 3 { // a group without a feature
		t.Fatal("one group is published")
	}
	p := of.Params
	c, err := CheckScored("q-2", s, now, p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := DecodeResult(c.Result)
	if err != nil || r.Of != "q-1" || r.Question != "q-2" || len(r.Rows) != 4 || len(r.Measures) != 1 || r.Measures[0] != (sandbox.Measure{Name: "risk", Func: sandbox.Score, Scale: 2}) {
		t.Fatalf("%v", err)
	}
	source, _ := DecodeResult(of.Result)
	for i, row := range r.Rows {
		if row.Suppressed != source.Rows[i].Suppressed || !slices.Equal(row.Labels, source.Rows[i].Labels) {
			t.Errorf("row %d is another group", i)
		}
	}
	if r.Rows[none].Values[0] != nil || r.Rows[none].None[0] != NoneUndefined || *r.Rows[3].Values[0] != 325 {
		t.Error("other scores")
	}
	if !c.Unaltered() || c.Flags[0].Rule != FlagScored || c.Published+c.Suppressed != 4 || c.Suppressed == 0 || c.Cells[0].People != of.Cells[0].People || c.MilliBits == 0 {
		t.Errorf("flags %v, %d published", c.Flags, c.Published)
	}
	v := Submit(Submission{Question: "q-2", Author: "o", Recipient: "o", Now: now, Expires: now.Add(time.Hour), Params: p}, c)
	if v.State != InReview || !strings.Contains(string(v.Evidence), "abcd") {
		t.Errorf("it stands at %s", v.State)
	}
	if strings.Contains(s.String()+c.String(), "325") {
		t.Error("a score prints")
	}
}

func TestScoredRefuses(t *testing.T) {
	of, a := standingResult(t)
	over := int64(801)
	hidden := slices.IndexFunc(scoresOf(t, of), func(x *int64) bool { return x == nil })
	shown := slices.IndexFunc(scoresOf(t, of), func(x *int64) bool { return x != nil })
	if hidden < 0 || shown < 0 {
		t.Fatal("nothing is suppressed")
	}
	for name, x := range map[string]struct {
		change func(s *Scored, p *Params, at *time.Time)
		kind   sandbox.Kind
	}{
		"no approval":           {func(s *Scored, _ *Params, _ *time.Time) { s.Approval = Approval{} }, sandbox.Denied},
		"another result":        {func(s *Scored, _ *Params, _ *time.Time) { s.Of.Question = "q-9" }, sandbox.Denied},
		"altered":               {func(s *Scored, _ *Params, _ *time.Time) { s.Of.Result = append(slices.Clone(s.Of.Result), ' ') }, sandbox.Denied},
		"past its expiry":       {func(s *Scored, _ *Params, at *time.Time) { *at = s.Of.Expires }, sandbox.Denied},
		"more people asked":     {func(_ *Scored, p *Params, _ *time.Time) { p.MinSubjects++ }, sandbox.Withheld},
		"a smaller share":       {func(_ *Scored, p *Params, _ *time.Time) { p.DominanceK-- }, sandbox.Withheld},
		"few bits":              {func(_ *Scored, p *Params, _ *time.Time) { p.MaxBits = 8 }, sandbox.Withheld},
		"thresholds of nothing": {func(_ *Scored, p *Params, _ *time.Time) { *p = Params{} }, sandbox.Invalid},
		"a score too few":       {func(s *Scored, _ *Params, _ *time.Time) { s.Scores = s.Scores[1:] }, sandbox.Invalid},
		"beyond the span":       {func(s *Scored, _ *Params, _ *time.Time) { s.Scores[shown] = &over }, sandbox.Invalid},
		"of a suppressed group": {func(s *Scored, _ *Params, _ *time.Time) { s.Scores[hidden] = s.Scores[shown] }, sandbox.Invalid},
		"five decimals":         {func(s *Scored, _ *Params, _ *time.Time) { s.Decimals = 5 }, sandbox.Invalid},
		"without evidence":      {func(s *Scored, _ *Params, _ *time.Time) { s.Of.Cells = nil }, sandbox.Invalid},
		"like an identifier": {func(s *Scored, _ *Params, _ *time.Time) {
			s.Name = "13800138000"
		}, sandbox.Withheld},
	} {
		s, p, at := Scored{Of: of, Approval: a, Name: "risk", Decimals: 2, Span: 8, Scores: scoresOf(t, of)}, of.Params, now
		x.change(&s, &p, &at)
		if _, err := CheckScored("q-2", s, at, p); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Scores of scores.
	s := Scored{Of: of, Approval: a, Name: "risk", Decimals: 2, Span: 8, Scores: scoresOf(t, of)}
	c, err := CheckScored("q-1", s, now, of.Params)
	if err != nil {
		t.Fatal(err)
	}
	s.Of.Result, s.Of.Digest = c.Result, Digest(c.Result)
	s.Approval.digest = string(s.Of.Digest)
	if _, err := CheckScored("q-2", s, now, of.Params); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("scores of scores: %v", err)
	}
}
