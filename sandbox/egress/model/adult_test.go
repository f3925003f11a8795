package model

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// adultRows gives the reference table.
func adultRows(t testing.TB) (header []string, rows [][]string) {
	t.Helper()
	f, err := os.Open(filepath.Join(sandboxtest.Data(t, "adult", "models of real people were not judged"), "adult.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma = ';'
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return all[0], all[1:]
}

// adult gives two halves, of columns.
func adult(t testing.TB, columns ...string) (train, test *Data, s Schema) {
	header, rows := adultRows(t)
	s.Label = Label{Name: "salary-class", Form: Binary, Levels: []string{"<=50K", ">50K"}}
	var at []int
	for _, c := range columns {
		i := slices.Index(header, c)
		at = append(at, i)
		if c == "age" {
			s.Features = append(s.Features, Feature{Name: c, Low: 15 * one, High: 95 * one, Step: 5 * one})
			continue
		}
		levels := map[string]bool{}
		for _, r := range rows {
			levels[r[i]] = true
		}
		f := Feature{Name: c}
		for l := range levels {
			f.Levels = append(f.Levels, l)
		}
		slices.Sort(f.Levels)
		s.Features = append(s.Features, f)
	}
	var b [2]*Builder
	for i := range b {
		var err error
		if b[i], err = NewBuilder(s); err != nil {
			t.Fatal(err)
		}
	}
	values := make([]string, len(at))
	for n, r := range rows {
		for k, i := range at {
			values[k] = r[i]
		}
		if err := b[n%2].Add(fmt.Sprint(n), values, r[slices.Index(header, "salary-class")]); err != nil {
			t.Fatal(err)
		}
	}
	return b[0].Build(), b[1].Build(), s
}

// TestAdult: honest models of real people pass, the same kinds overfitted do not.
func TestAdult(t *testing.T) {
	few, many := []string{"sex", "age", "race"}, []string{"sex", "age", "race", "education", "workclass"}
	for _, c := range []struct {
		name    string
		columns []string
		form    Model
		fails   []string
	}{
		{"logistic", few, Model{Kind: Logistic}, nil},
		{"logistic with levels of few people and levels without an event", many, Model{Kind: Logistic}, []string{RuleFrequency, RuleSeparation}},
		{"tree", many, Model{Kind: Tree, Trainer: Trainer{Depth: 5, MinLeaf: 50, MinClass: 10}}, nil},
		{"boosted", many, Model{Kind: Boosted, Trainer: Trainer{Depth: 2, MinLeaf: 50, MinClass: 10, Trees: 10, Rate: 300, Ridge: one}}, nil},
		{"deep tree", many, Model{Kind: Tree, Trainer: Trainer{Depth: 25, MinLeaf: 1}}, []string{RuleFrequency, RuleClass, RuleTPR, RuleCanary, RuleDistribution, RuleLiRA}},
	} {
		train, test, s := adult(t, c.columns...)
		c.form.Format, c.form.ID, c.form.Schema = Format, "adult", s
		began := time.Now()
		m, err := Fit(&c.form, train)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Judge(m, train, test, quick(), source(1))
		if err != nil {
			t.Fatal(err)
		}
		x := r.Membership
		t.Logf("%s: %s %v; AUC %.3f %.3f %.3f, limit %.3f, canary %.2f; %v", c.name, r.Verdict, r.Broken(), x.Loss, x.Trained, x.LiRA, x.Limit, x.Exposure, time.Since(began))
		if (r.Verdict == Fail) != (c.fails != nil) {
			t.Errorf("%s: %s, %v", c.name, r.Verdict, r.Broken())
		}
		for _, rule := range c.fails {
			if !slices.Contains(r.Broken(), rule) {
				t.Errorf("%s: not found by %s", c.name, rule)
			}
		}
	}
}
