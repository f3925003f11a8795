package main

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/desensitize/generalize"
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

// ruleDigest names a built-in hierarchy as it was asked for.
func (q *anonymizing) ruleDigest(column string) string {
	for _, r := range q.rules {
		if name, rule, ok := strings.Cut(r, "="); ok && name == column {
			d := sm.Sum([]byte("opdomain/hierarchy-rule/v1 " + rule))
			return hex.EncodeToString(d[:])
		}
	}
	return ""
}

// before reads the answers to earlier releases into the goal: of the same table, by the same quasi-identifiers and hierarchies.
func (a *app) before(q *anonymizing, cfg generalize.Config, digests []string, input string) error {
	for _, path := range q.earlier {
		var e anonymized
		if err := a.readJSON(path, &e); err != nil {
			return err
		}
		other := func(detail, hint string) error {
			return &sandbox.Error{Op: "anonymize", Kind: sandbox.Conflict, Object: path, Detail: detail, Hint: hint}
		}
		if e.Input == "" || e.Input != input {
			return other("it is of another version of the table: what both say of one person cannot be judged", "give it to nobody who has the earlier release, or release the earlier version again")
		}
		if len(e.Columns) != len(cfg.Quasi) {
			return other("it has other quasi-identifiers", "name the same in --qi")
		}
		levels := make([]int, len(cfg.Quasi))
		for i, c := range cfg.Quasi {
			at := slices.IndexFunc(e.Columns, func(g generalized) bool { return g.Name == c.Name })
			if at < 0 {
				return other("it has other quasi-identifiers", "name the same in --qi")
			}
			if e.Columns[at].Digest != digests[i] || e.Columns[at].Digest == "" {
				return other("column "+c.Name+" had another hierarchy", "give the hierarchy or rule of the earlier release")
			}
			levels[i] = e.Columns[at].Level
		}
		q.goal.Earlier = append(q.goal.Earlier, generalize.Earlier{Levels: levels, Left: e.Left})
	}
	return nil
}
