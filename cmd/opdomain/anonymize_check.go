package main

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// published looks at the columns that an anonymised table shows as they are.
type published struct {
	*classify.Sampler
	sensitive []string
}

func newPublished(q *anonymizing) published {
	var d catalog.Dataset
	for _, name := range slices.Concat(q.sensitive, q.keep) {
		d.Columns = append(d.Columns, catalog.Column{Name: name, Title: name, Type: catalog.Text, Nullable: true, Grade: sandbox.Grade1})
	}
	return published{classify.NewSampler(d), q.sensitive}
}

// refused lists the columns that must not be published as they are. A sensitive attribute is a person's by its nature, and is held by
// --l and --t; an identifier or address undoes the classes wherever it stands.
func (p published) refused() (out []sandbox.Reason) {
	for _, f := range p.Grade() {
		direct := desensitize.Identifies(f.Finding) || f.Finding.Of() == classify.Address
		sensitive := slices.Contains(p.sensitive, f.Column)
		r := sandbox.Reason{Code: "anonymize.identifier", Column: f.Column, Rule: fmt.Sprintf("%s %s singles out a person: no class hides whose row it is", f.Finding, f.Finding.Term()),
			Article: "龙华区实施方案 十二10: 个人信息须脱敏", Change: "take it out of --keep"}
		switch {
		case sensitive && direct:
			r.Change = "take it out of --sensitive"
		case !sensitive && direct:
		case !sensitive && f.Personal:
			r.Code, r.Rule = "anonymize.personal", fmt.Sprintf("%s %s is personal and no model holds it", f.Finding, f.Finding.Term())
			r.Change = fmt.Sprintf("--sensitive %s with --l or --t, --qi %s with a hierarchy, or take it out of --keep", f.Column, f.Column)
		default:
			continue
		}
		out = append(out, r)
	}
	return out
}

// apart says that a column is named once.
func (q *anonymizing) apart() error {
	in := map[string]string{}
	for _, list := range []struct {
		flag  string
		names []string
	}{{"--qi", q.quasi}, {"--sensitive", q.sensitive}, {"--keep", q.keep}} {
		for _, name := range list.names {
			if before, ok := in[name]; ok {
				return invalid(list.flag, fmt.Sprintf("column %s stands in %s already: a column is named once", name, before), "take it out of one of them; quasi-identifiers and sensitive columns are published anyway")
			}
			in[name] = list.flag
		}
	}
	return nil
}
