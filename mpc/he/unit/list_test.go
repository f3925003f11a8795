package unit

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

func cohortOf(t *testing.T, kind catalog.SubjectKind, ids ...string) *Cohort {
	t.Helper()
	c, err := NewCohort(rand.Reader, kind, strings.NewReader(strings.Join(ids, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestCohort: a list is what people stand on it under which secret, in whatever form and order they are written; what is none is refused by its line, and
// no identifier is in an error.
func TestCohort(t *testing.T) {
	c := cohortOf(t, "", " zhang ", "li", "", "wang\r")
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(b.String(), "\n")
	slices.Reverse(lines[3:])
	got, err := ReadCohort(strings.NewReader(strings.Join(lines, "")))
	if err != nil {
		t.Fatal(err)
	}
	terms, err := c.Agreed()
	if err != nil || terms.People != 3 || !got.Names(&terms) || got.Names(nil) {
		t.Errorf("another order is another list: %v", err)
	}
	for name, other := range map[string]*Cohort{"another secret": cohortOf(t, "", "zhang", "li", "wang"), "one less": {Kind: c.Kind, key: c.key, ids: c.ids[:2]}, "another person": {Kind: c.Kind, key: c.key, ids: append([]string{"zhao"}, c.ids[1:]...)}} {
		if other.Names(&terms) {
			t.Errorf("%s: the same list", name)
		}
	}
	list, err := c.List()
	if err != nil {
		t.Fatal(err)
	}
	places := map[int]bool{}
	for _, at := range list {
		places[at] = true
	}
	if len(list) != 3 || len(places) != 3 || !places[0] || !places[2] {
		t.Errorf("places %v", places)
	}
	if s := fmt.Sprintf("%v %+v %#v %s", c, c, c, c); strings.Contains(s, "zhang") {
		t.Error("a list prints who stands on it")
	}
	id := cohortOf(t, catalog.ResidentID, "11010119900307002x")
	if id.ids[0] != "11010119900307002X" {
		t.Errorf("an identifier stands in another form than rows have")
	}
	head := cohortHead + "\nkind opaque\nkey " + strings.Repeat("ab", sm.Size) + "\n"
	for name, x := range map[string]struct {
		text string
		kind sandbox.Kind
		at   string
	}{
		"nothing":          {"", sandbox.Invalid, "list"},
		"another form":     {"opdomain-list 2\n", sandbox.Invalid, "list"},
		"another kind":     {strings.Replace(head, "opaque", "mobile", 1), sandbox.Invalid, "list"},
		"no kind":          {strings.Replace(head, "kind opaque", "kind ", 1), sandbox.Invalid, "list"},
		"a short key":      {strings.Replace(head, "abab", "ab", 1), sandbox.Invalid, "list"},
		"nobody":           {head, sandbox.Invalid, "list"},
		"somebody twice":   {head + "secret\nb\n secret\n", sandbox.Conflict, "line 6"},
		"too long":         {head + strings.Repeat("secret", 60) + "\n", sandbox.Invalid, "line 4"},
		"a line too long":  {head + strings.Repeat("secret", 20_000) + "\n", sandbox.Invalid, "line 4"},
		"no resident's ID": {strings.Replace(head, "opaque", "resident-id", 1) + "secret\n", sandbox.Invalid, "line 4"},
	} {
		_, err := ReadCohort(strings.NewReader(x.text))
		if !errors.Is(err, x.kind) || !strings.Contains(err.Error(), x.at) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	var many strings.Builder
	for i := range he.MaxSubjects + 1 {
		fmt.Fprintln(&many, i)
	}
	if _, err := NewCohort(rand.Reader, catalog.Opaque, strings.NewReader(many.String())); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("too many: %v", err)
	}
}

func FuzzReadCohort(f *testing.F) {
	f.Add([]byte(cohortHead + "\nkind opaque\nkey " + strings.Repeat("ab", sm.Size) + "\na\nb\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ReadCohort(bytes.NewReader(b))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if err := c.Write(&out); err != nil {
			t.Fatal(err)
		}
		terms, err := c.Agreed()
		if again, rerr := ReadCohort(&out); err != nil || rerr != nil || !again.Names(&terms) {
			t.Errorf("what was read is another list when it is written: %v %v", err, rerr)
		}
	})
}

var taxes = catalog.Dataset{ID: "taxes", Unit: "b", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
	{Name: "who", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "income", Type: catalog.Money, Grade: 2, Values: "[0,1000]"}}}

// joined is a plan over units a and b, who hold a table each, and c; all open.
func (s *seats) joined(list *spec.Agreed, edit ...func(*query.Spec)) (Offer, *Compiled) {
	s.t.Helper()
	o, _ := s.offer()
	o.Keys, o.List = nil, list
	o.Spec.Dimensions, o.Spec.Inputs = nil, append(o.Spec.Inputs, query.Input{Alias: "x", Dataset: "taxes", With: "v"})
	for _, f := range edit {
		f(&o.Spec)
	}
	o.Plan.Units, o.Plan.Set, o.Plan.Threshold, o.Plan.Openers = o.Plan.Units[:3], he.ProductSet, 3, []int{0, 1, 2}
	q, why := o.Compile([]catalog.Dataset{visits, taxes})
	if len(why) > 0 {
		s.t.Fatal(why)
	}
	o.Plan.Layout, o.Plan.Run = *q.Layout(), he.RunOf("pilot", "q-1", list.Canonical(o.Spec))
	return o, q
}

// TestDecideJoined: what an owner approves of joined rows is this list, these holders and this many rows; two units are enough.
func TestDecideJoined(t *testing.T) {
	s := newSeats(t)
	names := strings.Split("abcdefghijklmnopqrst", "") // as few as a list may have
	c := cohortOf(t, "", names...)
	terms, err := c.Agreed()
	s.ok(err)
	o, q := s.joined(&terms)
	if o.Side("a") != 0 || o.Side("b") != 1 || o.Side("c") != -1 {
		t.Error("sides are those of who owns the datasets")
	}
	approval, err := Approve(rand.Reader, s.sign[0], o, q, s.self(), Terms{Least: 2, Issued: noon, Expires: noon.Add(time.Hour)})
	s.ok(err)
	for name, x := range map[string]struct {
		edit func(o *Offer)
		code string
	}{
		"as approved": {func(*Offer) {}, ""},
		"without c":   {func(o *Offer) { o.Plan.Units, o.Plan.Threshold, o.Plan.Openers = o.Plan.Units[:2], 2, []int{0, 1} }, ""},
		"fewer open":  {func(o *Offer) { o.Plan.Threshold, o.Plan.Openers = 2, []int{0, 2} }, "he.few"},
		"another list": {func(o *Offer) {
			terms, _ := cohortOf(t, "", names...).Agreed()
			*o, _ = s.joined(&terms)
		}, "he.terms"},
		"one more on it": {func(o *Offer) {
			more := terms
			more.People++
			*o, _ = s.joined(&more)
		}, "he.terms"},
		"more rows of one": {func(o *Offer) {
			more := terms
			more.Rows = 1 << 11
			*o, _ = s.joined(&more)
		}, "he.terms"},
		"another's list in the plan": {func(o *Offer) {
			x := *o.Plan.Layout.Products
			x.List = bytes.Repeat([]byte{1}, sm.Size)
			o.Plan.Layout.Products = &x
		}, "he.plan"},
		"holders exchanged": {func(o *Offer) {
			x := *o.Plan.Layout.Products
			x.Holders = [2]int{1, 0}
			o.Plan.Layout.Products = &x
		}, "he.plan"},
		"the run of a sum": {func(o *Offer) { o.Plan.Run = he.RunOf("pilot", "q-1", o.Spec.Canonical()) }, "he.plan"},
	} {
		o, q := s.joined(&terms)
		x.edit(&o)
		if o.List != &terms { // compiled anew, as a unit's program would
			var why []sandbox.Reason
			if q, why = o.Compile([]catalog.Dataset{visits, taxes}); len(why) > 0 {
				t.Fatal(why)
			}
		}
		d := Decide(o, q, s.self(), []attest.Statement{approval}, noon)
		if d.Allow != (x.code == "") || x.code != "" && !slices.ContainsFunc(d.Reasons, func(r sandbox.Reason) bool { return r.Code == x.code }) {
			t.Errorf("%s: %v %v", name, d.Allow, d.Reasons)
		}
	}
	o.Plan.Threshold, o.Plan.Openers = 2, []int{0, 2} // the owner saw that fewer open, and signs it
	if fewer, err := Approve(rand.Reader, s.sign[0], o, q, s.self(), Terms{Issued: noon, Expires: noon.Add(time.Hour)}); err != nil || !Decide(o, q, s.self(), []attest.Statement{fewer}, noon).Allow {
		t.Errorf("the plan that was approved: %v", err)
	}
	if _, err := Approve(rand.Reader, s.sign[0], o, q, s.self(), Terms{Least: 1, Issued: noon, Expires: noon.Add(time.Hour)}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("one unit: %v", err)
	}
	o.List = &spec.Agreed{Digest: []byte("x"), People: 3}
	if _, why := o.Compile([]catalog.Dataset{visits, taxes}); len(why) != 1 || why[0].Code != "he.list" {
		t.Errorf("no digest: %v", why)
	}
	o.List = &spec.Agreed{Digest: terms.Digest, People: MinDiffer - 1}
	if _, why := o.Compile([]catalog.Dataset{visits, taxes}); len(why) != 1 || why[0].Code != "he.list" {
		t.Errorf("too few on it: %v", why)
	}
	if why := c.Fits(q.Joined); len(why) > 0 {
		t.Errorf("a list of the datasets' kind: %v", why)
	}
	if why := (&Cohort{Kind: catalog.ResidentID}).Fits(q.Joined); len(why) != 2 || why[0].Code != "he.list" || why[0].Column != string(visits.ID) {
		t.Errorf("a list of another kind: %v", why)
	}
	o.List = &terms
	stranger := taxes
	stranger.Unit = "z"
	if _, why := o.Compile([]catalog.Dataset{visits, stranger}); len(why) != 1 || why[0].Code != "he.placement" {
		t.Errorf("an owner who takes no part: %v", why)
	}
}
