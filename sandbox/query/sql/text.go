package sql

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pingcap/tidb/pkg/parser"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Text prints a valid question as SQL that compiles to the same question again, scenario and purpose apart, one clause a line.
// A raw column, which no question may have, is printed bare and does not compile; nor does a score, which has no words in SQL.
func Text(s query.Spec) string {
	var b strings.Builder
	var columns, groups []string
	for _, d := range s.Dimensions {
		l := labelled(d.Column, d.Bin)
		if d.Score != nil {
			l = scored(d.Score)
		}
		columns = append(columns, l+" AS "+quoteName(d.As))
		groups = append(groups, l)
	}
	as := map[string]query.Measure{}
	for _, m := range s.Measures {
		columns = append(columns, measureText(m)+" AS "+quoteName(m.As))
		as[m.As] = m
	}
	fmt.Fprintf(&b, "SELECT %s", strings.Join(columns, ",\n       "))
	for i, in := range s.Inputs {
		table := string(in.Dataset)
		if in.Version > 0 {
			table = fmt.Sprintf("%s@%d", table, in.Version)
		}
		table = fmt.Sprintf("%s AS %s", quoteName(table), identifier(in.Alias))
		if i == 0 {
			fmt.Fprintf(&b, "\nFROM %s", table)
			continue
		}
		kind := "JOIN"
		if in.Join == query.LeftJoin {
			kind = "LEFT JOIN"
		}
		var on []string
		equal := func(l, r string) {
			on = append(on, fmt.Sprintf("%s.%s = %s.%s", identifier(in.With), l, identifier(in.Alias), r))
		}
		if in.BySubject() {
			equal(Subject, Subject)
		}
		for _, k := range in.On {
			equal(identifier(k.Left), identifier(k.Right))
		}
		fmt.Fprintf(&b, "\n%s %s ON %s", kind, table, strings.Join(on, " AND "))
	}
	for i, f := range s.Filters {
		word := "\nWHERE"
		if i > 0 {
			word = "\n  AND"
		}
		fmt.Fprintf(&b, "%s %s", word, filterText(f))
	}
	if len(groups) > 0 {
		fmt.Fprintf(&b, "\nGROUP BY %s", strings.Join(groups, ", "))
	}
	for i, h := range s.Having {
		word := "\nHAVING"
		if i > 0 {
			word = "\n   AND"
		}
		fmt.Fprintf(&b, "%s %s >= %d", word, measureText(as[h.Measure]), h.AtLeast)
	}
	if s.Top != nil {
		fmt.Fprintf(&b, "\nORDER BY %s DESC\nLIMIT %d", measureText(as[s.Top.By]), s.Top.K)
	}
	b.WriteString("\n")
	return b.String()
}

func measureText(m query.Measure) string {
	of := append([]string{reference(m.Column)}, m.With...)
	for i := 1; i < len(of); i++ {
		of[i] = reference(of[i])
	}
	all := strings.Join(of, ", ")
	switch m.Func {
	case sandbox.Count:
		return "COUNT(*)"
	case sandbox.Subjects:
		return "COUNT(DISTINCT " + Subject + ")"
	case sandbox.Distinct:
		return "COUNT(DISTINCT " + labelled(m.Column, m.Bin) + ")"
	case sandbox.Sum:
		return "SUM(" + all + ")"
	case sandbox.Mean:
		return "AVG(" + all + ")"
	case sandbox.Variance:
		return "VAR_SAMP(" + all + ")"
	case sandbox.StdDev:
		return "STDDEV_SAMP(" + all + ")"
	case sandbox.Min:
		return "MIN(" + all + ")"
	case sandbox.Max:
		return "MAX(" + all + ")"
	case sandbox.Quantile:
		return fmt.Sprintf("PERCENTILE_DISC(%s, 0.%03d)", all, m.Q)
	case sandbox.Histogram:
		return "HISTOGRAM(" + labelled(m.Column, m.Bin) + ")"
	case sandbox.Covariance:
		return "COVAR_SAMP(" + all + ")"
	case sandbox.Correlation:
		return "CORR(" + all + ")"
	case sandbox.Dot:
		return "DOT_PRODUCT(" + all + ")"
	case sandbox.Ratio:
		return "SUM(" + of[0] + ") / SUM(" + strings.Join(of[1:], ", ") + ")"
	case sandbox.Linear:
		return "LINEAR_REGRESSION(" + all + ")"
	case sandbox.Logistic:
		return "LOGISTIC_REGRESSION(" + all + ")"
	}
	return all
}

// filterText prints a filter. A missing value, which is a label of a question, is a condition of its own in SQL.
func filterText(f query.Filter) string {
	l := labelled(f.Column, f.Bin)
	var list []string
	for _, v := range f.In {
		if v != catalog.Missing {
			list = append(list, quote(v))
		}
	}
	missing := slices.Contains(f.In, catalog.Missing)
	in := l + " IN (" + strings.Join(list, ", ") + ")"
	out := l + " NOT IN (" + strings.Join(list, ", ") + ")"
	switch {
	case len(list) == 0 && f.Not:
		return l + " IS NOT NULL"
	case len(list) == 0:
		return l + " IS NULL"
	case f.Not && missing:
		return out
	case f.Not:
		return "(" + out + " OR " + l + " IS NULL)"
	case missing:
		return "(" + in + " OR " + l + " IS NULL)"
	}
	return in
}

func labelled(column string, bin sandbox.BinID) string {
	if bin == "" {
		return reference(column)
	}
	return "BIN(" + reference(column) + ", " + quote(string(bin)) + ")"
}

// reference prints alias.column.
func reference(ref string) string {
	alias, column, ok := strings.Cut(ref, ".")
	if !ok {
		return identifier(ref)
	}
	return identifier(alias) + "." + identifier(column)
}

func quote(s string) string     { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
func quoteName(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

var keywords = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, k := range parser.Keywords {
		out[strings.ToLower(k.Word)] = true
	}
	return out
})

// identifier prints a name as it is where it reads as one, else quoted.
func identifier(s string) string {
	plain := s != "" && s[0] >= 'a' && s[0] <= 'z' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" && !keywords()[s]
	if plain || s == Subject {
		return s
	}
	return quoteName(s)
}

// scored prints a score: what each label is worth, and the edges of its bands.
func scored(x *query.Score) string {
	var b strings.Builder
	b.WriteString("SCORE(")
	for i, p := range x.Parts {
		if i > 0 {
			b.WriteString(" + ")
		}
		fmt.Fprintf(&b, "%s {", labelled(p.Column, p.Bin))
		for j, y := range p.Points {
			if j > 0 {
				b.WriteString(", ")
			}
			quoted := make([]string, len(y.In))
			for k, l := range y.In {
				quoted[k] = quote(l)
			}
			fmt.Fprintf(&b, "%s: %d", strings.Join(quoted, " "), y.Value)
		}
		b.WriteString("}")
	}
	if x.Base != 0 {
		fmt.Fprintf(&b, " + %d", x.Base)
	}
	b.WriteString("; bands at")
	for _, e := range x.Edges {
		fmt.Fprintf(&b, " %d", e)
	}
	if x.Scale > 0 {
		fmt.Fprintf(&b, "; in 10^-%d", x.Scale)
	}
	return b.String() + ")"
}
