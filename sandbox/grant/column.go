package grant

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// validateRule checks one column's rule: that it is sound, that the column can be used so, and that its grade bears it.
func (a *Application) validateRule(at string, r sandbox.ColumnRule, d *catalog.Dataset, c *catalog.Column, in map[sandbox.DatasetID]catalog.Dataset, outside bool) error {
	if c.Effective() == sandbox.Grade4 {
		if !outside {
			return bad(at, "a column of grade 4 leaves no engine in plain and cannot be listed")
		}
		for _, u := range r.Uses {
			if u != sandbox.UseJoin && u != sandbox.UseGroup && u != sandbox.UseAggregate {
				return bad(at, "a column of grade 4 that stays with its party is listed for join, group and aggregate, which shares answer")
			}
		}
	}
	if err := a.validateUses(at, r, d, c); err != nil {
		return err
	}
	if err := validateFuncs(at, r, d, c); err != nil {
		return err
	}
	if err := a.validateLimits(at, r, in); err != nil {
		return err
	}
	// Asked as agreed and as the grade leaves it: what differs would be refused to every question.
	g := c.Effective()
	left := r.Within(g)
	for _, u := range r.Uses {
		if !slices.Contains(left.Uses, u) {
			return bad(at, fmt.Sprintf("a column of grade %d is not listed for %s", g, u))
		}
	}
	if r.Structural && !left.Structural {
		return bad(at, fmt.Sprintf("a column of grade %d has no structural extremes", g))
	}
	if r.Compares > left.Compares {
		return bad(at, fmt.Sprintf("at grade %d one question holds a value to at most %d groupings under this rule", g, left.Compares))
	}
	return nil
}

func (a *Application) validateUses(at string, r sandbox.ColumnRule, d *catalog.Dataset, c *catalog.Column) error {
	if len(r.Uses) == 0 {
		return bad(at, "a rule names at least one use")
	}
	binned := slices.ContainsFunc(d.Bins, func(b catalog.Bin) bool { return b.Column == c.Name })
	for i, u := range r.Uses {
		if slices.Contains(r.Uses[:i], u) {
			return bad(at, "a use stands once")
		}
		switch u {
		case sandbox.UseNone:
			if len(r.Uses) > 1 {
				return bad(at, "none stands alone")
			}
		case sandbox.UseJoin, sandbox.UseReveal:
			if !c.JoinKey && c.Name != d.Subject {
				return bad(at, "join needs a declared join key or the protected subject")
			}
			if u == sandbox.UseReveal && (!c.Public || c.Name == d.Subject) {
				return bad(at, "a key is revealed after the join if its values are public and it does not identify the protected subject")
			}
		case sandbox.UseGroup, sandbox.UseFilter:
			if !c.Public && !binned {
				return bad(at, "group and filter need a registered bin or a public column")
			}
		case sandbox.UseAggregate:
			if len(r.Funcs) == 0 {
				return bad(at, "aggregate lists its functions")
			}
		case sandbox.UseCompare:
			if (!binned || !r.Allows(sandbox.UseGroup) && !r.Allows(sandbox.UseFilter)) && !r.Allows(sandbox.UseMap) {
				return bad(at, "compare needs a registered bin and stands beside group or filter, or beside map")
			}
		case sandbox.UseMap:
			if c.Name == d.Subject {
				return bad(at, "who a subject is is not a Map's to see")
			}
		case sandbox.UseMapRaw:
			if c.Name == d.Subject {
				return bad(at, "who a subject is is not a Map's to see")
			}
			if c.Effective() < sandbox.Grade3 && !c.Personal {
				return bad(at, "map-raw is for columns of grade 3 and personal ones; of others map says it all")
			}
		case sandbox.UsePlain:
			if c.Name == d.Subject {
				return bad(at, "the column that identifies the protected subject is never plain")
			}
		case sandbox.UseConsent:
			if !slices.Contains(a.Classes, sandbox.ClassB) {
				return bad(at, "consent needs class B in the application")
			}
		default:
			words := make([]string, len(sandbox.Uses))
			for i, u := range sandbox.Uses {
				words[i] = string(u)
			}
			return bad(at, "a use is one of "+strings.Join(words, ", "))
		}
	}
	return nil
}

func validateFuncs(at string, r sandbox.ColumnRule, d *catalog.Dataset, c *catalog.Column) error {
	if len(r.Funcs) > 0 && !slices.Contains(r.Uses, sandbox.UseAggregate) {
		return bad(at, "functions belong to the use aggregate")
	}
	numeric := c.Type == catalog.Int || c.Type == catalog.Money || c.Type == catalog.Number
	binned := slices.ContainsFunc(d.Bins, func(b catalog.Bin) bool { return b.Column == c.Name })
	for i, f := range r.Funcs {
		if slices.Contains(r.Funcs[:i], f) {
			return bad(at, "a function stands once")
		}
		switch f {
		case sandbox.Count, sandbox.Subjects:
		case sandbox.Distinct:
			if !c.Public && !binned {
				return bad(at, "distinct counts the labels of a registered bin or of a public column")
			}
		case sandbox.Histogram:
			if !slices.ContainsFunc(d.Bins, func(b catalog.Bin) bool { return b.Column == c.Name && b.Kind != catalog.Year }) {
				return bad(at, "a histogram needs a registered bin that lists its labels")
			}
		case sandbox.Sum, sandbox.Mean, sandbox.Variance, sandbox.StdDev, sandbox.Min, sandbox.Max, sandbox.Quantile,
			sandbox.Covariance, sandbox.Correlation, sandbox.Ratio, sandbox.Dot, sandbox.Linear:
			if !numeric {
				return bad(at, fmt.Sprintf("%s needs a numeric column", f))
			}
		case sandbox.Logistic: // as outcome or regressor
			if !numeric && c.Type != catalog.Bool {
				return bad(at, "logistic needs a numeric or bool column")
			}
		default:
			return bad(at, "a function is one an answer may hold; raw values are never listed")
		}
	}
	return nil
}

// validateLimits checks what a rule narrows.
func (a *Application) validateLimits(at string, r sandbox.ColumnRule, in map[sandbox.DatasetID]catalog.Dataset) error {
	for _, x := range []struct {
		what      string
		v, lo, hi int
	}{{"min_subjects", r.MinSubjects, 3, sandbox.MaxMinSubjects}, {"max_share", r.MaxShare, 1, 99}, {"p_percent", r.PPercent, 1, 99},
		{"prior", r.Prior, r.PPercent + 1, 100}, {"max_bits", r.MaxBits, 1, sandbox.MaxMaxBits},
		{"compares", r.Compares, 1, sandbox.MaxCompares}, {"per_day", r.PerDay, 1, sandbox.MaxPerDay}} {
		if x.v != 0 && (x.v < x.lo || x.v > x.hi) {
			return bad(at, fmt.Sprintf("%s is %d to %d, or left out", x.what, x.lo, x.hi))
		}
	}
	if r.Noise != (sandbox.Noise{}) {
		if rule := r.Noise.Valid(); rule != "" {
			return bad(at, rule)
		}
	}
	for i, p := range r.Grantees {
		party := p == a.Operator || slices.Contains(a.Partners, p) || slices.Contains(a.Insurers, p)
		if !party || slices.Contains(r.Grantees[:i], p) {
			return bad(at, "grantees are the operator, partners and insurers of the scenario, each once")
		}
	}
	if len(r.NoFilterOn) > catalog.MaxColumns {
		return bad(at, fmt.Sprintf("no_filter_on names at most %d columns", catalog.MaxColumns))
	}
	for i, ref := range r.NoFilterOn {
		if slices.Contains(r.NoFilterOn[:i], ref) || !slices.ContainsFunc(a.List, func(x sandbox.ListItem) bool {
			name, ok := strings.CutPrefix(ref, string(x.Dataset)+".")
			d := in[x.Dataset]
			_, known := d.Column(name)
			return ok && known
		}) {
			return bad(at, "no_filter_on names columns of listed datasets as dataset.column, each once")
		}
	}
	return nil
}
