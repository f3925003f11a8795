package main

import (
	"context"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/query"
)

// policyGrants is how many scenarios a decision has before it.
const policyGrants = 1000

// asked gives what a decision depends on and the widest question that passes: two tables joined, every filter and dimension the
// columns bear, and a measure of every kind.
func asked() (policy.Facts, query.Spec, error) {
	p, err := profile.Load("longhua")
	if err != nil {
		return policy.Facts{}, query.Spec{}, err
	}
	in := map[sandbox.DatasetID]catalog.Dataset{"claims": claims(), "persons": persons()}
	list := everything(in)
	for i := range list {
		for j := range list[i].Columns {
			list[i].Columns[j].Funcs, list[i].Columns[j].MinSubjects = sandbox.MeasureFuncs, 20
		}
	}
	from := time.Date(2026, 3, 9, 9, 0, 0, 0, time.UTC)
	f := policy.Facts{Now: from.Add(time.Hour), Hosting: sandbox.P1, Profile: &p, Asker: sandbox.Party{ID: "op", Role: sandbox.Operator},
		Scenarios: map[sandbox.ScenarioID]*grant.Scenario{}, Datasets: in, Engine: sandbox.Domain}
	for i := range policyGrants {
		id := sandbox.ScenarioID(fmt.Sprintf("s-%d", i))
		f.Scenarios[id] = &grant.Scenario{Application: grant.Application{ID: id, Operator: "op", Purpose: "health", Classes: []sandbox.Class{sandbox.ClassA}, List: list},
			State: grant.Granted, Grant: &grant.Grant{ID: "g-1", Scenario: id, NotBefore: from, NotAfter: from.AddDate(1, 0, 0)}}
	}
	all := questions()
	s := all[len(all)-1].spec
	s.Scenario, s.Purpose, s.Measures = "s-777", "health", nil
	for _, m := range []query.Measure{{Func: sandbox.Count}, {Func: sandbox.Subjects}, {Func: sandbox.Sum}, {Func: sandbox.Mean}, {Func: sandbox.Variance}, {Func: sandbox.StdDev}, {Func: sandbox.Quantile, Q: 500}, {Func: sandbox.Quantile, Q: 900},
		{Func: sandbox.Min}, {Func: sandbox.Max}, {Func: sandbox.Ratio, With: []string{"c.refund"}}, {Func: sandbox.Correlation, With: []string{"c.refund"}}, {Func: sandbox.Linear, With: []string{"c.refund"}}} {
		if m.As = fmt.Sprintf("m%d", len(s.Measures)); m.Func != sandbox.Count && m.Func != sandbox.Subjects {
			m.Column = "c.amount"
		}
		s.Measures = append(s.Measures[:len(s.Measures):len(s.Measures)], m)
	}
	return f, s, nil
}

// decisions measures one decision with reasons, and one decision with everything explain says, in words.
func (s *spine) decisions(context.Context) (string, error) {
	f, spec, err := asked()
	if err != nil {
		return "", err
	}
	if d, x := policy.Explain(f, spec); !d.Allow || len(x.Outputs) < 14 {
		return "", fmt.Errorf("benchmarks: the question to explain is refused: %v", d.Reasons)
	}
	const n = 2000
	decided, err := rate(fmt.Sprintf("policy decision, two tables, %d measures, %d grants", len(spec.Measures), policyGrants), "", n, func() error {
		for range n {
			policy.Decide(f, spec)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	explained, err := rate("the same with explain, in words", "≤ 1 ms", n, func() error {
		for range n {
			_, x := policy.Explain(f, spec)
			_ = x.Text()
		}
		return nil
	})
	return decided + "\n" + explained, err
}
