package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize/generalize"
	"github.com/opdomain/opdomain/sandbox"
)

// anonymizing is what opdomain anonymize was asked.
type anonymizing struct {
	in, out, population, hierarchies string
	delimiter, encoding              string
	quasi, sensitive, keep, earlier  []string
	rules                            []string
	order                            []string
	unknownStar                      bool
	diversity, distance, presence    string
	l, c, t                          float64
	timeout                          time.Duration
	goal                             generalize.Goal
	metric                           string
}

// anonymized is its answer. It names columns and levels, never a value.
type anonymized struct {
	Input        string          `json:"input,omitempty"` // SM3 of the table's bytes: --earlier tells versions by it
	Rows         int64           `json:"rows"`
	Combinations int             `json:"combinations"`
	Columns      []generalized   `json:"columns"`
	Models       []string        `json:"models"`
	Metric       string          `json:"metric"`
	LossValue    float64         `json:"loss_value"`
	Loss         generalize.Loss `json:"loss"`
	Risk         generalize.Risk `json:"risk"`
	Search       searchedFor     `json:"search"`
	Left         []int           `json:"suppressed_classes"` // by their number in the table's order
	Out          string          `json:"out,omitempty"`
	Published    []string        `json:"published_columns,omitempty"` // no other column of the table is in it
	solution     *generalize.Solution
	table        *generalize.Table
}

type searchedFor struct {
	generalize.Searched
	Milliseconds float64 `json:"milliseconds"`
}

type generalized struct {
	Name      string `json:"name"`
	Hierarchy string `json:"hierarchy"`
	Level     int    `json:"level"`
	Top       int    `json:"top"`
	Digest    string `json:"hierarchy_digest"` // of the file, or of the rule
}

func (a *app) anonymizeCommand() *cobra.Command {
	var q anonymizing
	c := verb("anonymize", "Find the generalisation of a table that is k-anonymous and loses least; needs no domain (K-匿名)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		r, err := a.anonymize(c.Context(), &q)
		if err != nil {
			return err
		}
		return a.show(r, r.print)
	})
	c.Long = c.Short + `.

The table is a text file with a header line. Each quasi-identifier of --qi needs a hierarchy: a file in the form of ARX
(value;level 1;level 2;…;*) in --hierarchies, named COLUMN.csv or ANYTHING_hierarchy_COLUMN.csv, or --rule COLUMN=RULE with
a built-in one: area, town, icd10, industry, date, age:5,10,20 or age:5,10,20,≥80.

With --out the published rows are written: the quasi-identifiers generalised, the columns of --sensitive and --keep as they
are, no other column. Suppressed rows are left out. What the detectors find to be
personal is refused in --keep, and direct identifiers and addresses in --sensitive too.

Two releases of one table are joined by whoever has both. With --earlier the search takes the answers to earlier ones (--json, kept) and
gives one that satisfies the models together with them; rows are written class by class, so that no order joins them either. Of another
version of the table, other quasi-identifiers or other hierarchies an earlier release is refused: nothing is known of both together.`
	f := c.Flags()
	f.StringVar(&q.in, "in", "", "the table")
	f.StringVar(&q.out, "out", "", "file for the published rows; must not exist without --force")
	f.StringVar(&q.hierarchies, "hierarchies", "", "folder of hierarchy files")
	f.StringSliceVar(&q.quasi, "qi", nil, "quasi-identifiers (准标识符), by comma")
	f.StringArrayVar(&q.rules, "rule", nil, "COLUMN=RULE: a built-in hierarchy; may be given several times")
	f.StringSliceVar(&q.sensitive, "sensitive", nil, "sensitive columns (敏感属性), for --l and --t")
	f.StringArrayVar(&q.earlier, "earlier", nil, "the --json answer to an earlier release of the same table: both together must satisfy the models; may be given several times")
	f.StringSliceVar(&q.keep, "keep", nil, "other columns to write as they are")
	f.IntVar(&q.goal.K, "k", 0, "rows of the smallest class (K-匿名)")
	f.Float64Var(&q.l, "l", 0, "l-diversity of every sensitive column (l-多样性)")
	f.StringVar(&q.diversity, "l-kind", string(generalize.Distinct), "distinct, entropy or recursive")
	f.Float64Var(&q.c, "c", 0, "c of recursive (c,l)-diversity")
	f.Float64Var(&q.t, "t", 0, "t-closeness of every sensitive column (t-相近), 0 to 1")
	f.StringVar(&q.distance, "t-distance", string(generalize.Equal), "equal or ordered")
	f.StringSliceVar(&q.order, "order", nil, "every sensitive value, lowest first, for ordered; numbers need none")
	f.StringVar(&q.population, "population", "", "file of the population (总体), for --k-map, --presence and the journalist's risk; the table's rows are in it")
	f.IntVar(&q.goal.KMap, "k-map", 0, "people of the smallest class in the population (K-映射)")
	f.StringVar(&q.presence, "presence", "", "MIN,MAX of δ-presence (δ-存在)")
	f.Float64Var(&q.goal.Suppression, "suppress", 0, "largest share of rows left out, 0 to 1: 0.04 is 4 %")
	f.StringVar(&q.metric, "metric", string(generalize.Discernibility), "dm (discernibility), aecs (average class size), height or entropy")
	f.BoolVar(&q.unknownStar, "unknown-star", false, "let a value its hierarchy does not hold be *, instead of refusing the table")
	f.IntVar(&q.goal.MaxNodes, "max-nodes", 0, "evaluate at most so many generalisations; the result may then not be the best, and says so")
	f.DurationVar(&q.timeout, "timeout", 0, "end the search after this time, as with --max-nodes")
	f.StringVar(&q.delimiter, "delimiter", "", "character between fields; empty: the one of , ; tab whose header line has most of the named columns")
	f.StringVar(&q.encoding, "encoding", "", "utf-8 or gb18030; empty: told from the bytes")
	must(c.MarkFlagRequired("in"))
	must(c.MarkFlagRequired("qi"))
	return c
}

// anonymize reads hierarchies, then the table, searches, and writes.
func (a *app) anonymize(ctx context.Context, q *anonymizing) (*anonymized, error) {
	cfg := generalize.Config{Sensitive: q.sensitive, Population: q.population != "", UnknownAsStar: q.unknownStar}
	if err := q.complete(); err != nil {
		return nil, err
	}
	rules, err := q.builtIn()
	if err != nil {
		return nil, err
	}
	digests := make([]string, len(q.quasi))
	for i, name := range q.quasi {
		h := rules[name]
		if h == nil {
			if h, digests[i], err = q.hierarchy(name); err != nil {
				return nil, err
			}
		} else {
			digests[i] = q.ruleDigest(name)
		}
		cfg.Quasi = append(cfg.Quasi, generalize.Quasi{Name: name, Hierarchy: h})
	}
	if err := q.apart(); err != nil {
		return nil, err
	}
	if q.out != "" {
		if err := a.writable("anonymize", q.out); err != nil {
			return nil, err
		}
	}
	input := ""
	if q.in != "-" && (q.out != "" || a.json || len(q.earlier) > 0) {
		if input, err = tableDigest(q.in); err != nil {
			return nil, err
		}
	}
	if err := a.before(q, cfg, digests, input); err != nil {
		return nil, err
	}
	table, err := generalize.NewTable(cfg)
	if err != nil {
		return nil, err
	}
	if err := table.Check(q.goal); err != nil {
		return nil, err
	}
	text, err := a.newText(ctx, q.in, q.delimiter, q.encoding, slices.Concat(q.quasi, q.sensitive, q.keep))
	if err != nil {
		return nil, err
	}
	published := newPublished(q)
	if err := text.each(ctx, func(rec arrow.Record) error {
		published.Observe(rec)
		return table.Add(rec)
	}); err != nil {
		return nil, err
	}
	if reasons := published.refused(); len(reasons) > 0 {
		return nil, &refused{sandbox.Decision{Reasons: reasons}}
	}
	if q.population != "" {
		people, err := a.newText(ctx, q.population, q.delimiter, q.encoding, q.quasi)
		if err != nil {
			return nil, err
		}
		if err := people.each(ctx, table.AddPopulation); err != nil {
			return nil, err
		}
	}
	search, cancel := ctx, context.CancelFunc(func() {})
	if q.timeout > 0 {
		search, cancel = context.WithTimeout(ctx, q.timeout)
	}
	defer cancel()
	before := a.steady()
	s, err := table.Search(search, q.goal)
	if err != nil {
		return nil, err
	}
	if s.Risk.Suppressed == table.Rows() {
		return nil, &sandbox.Error{Op: "anonymize", Kind: sandbox.Conflict, Object: q.in, Detail: "every row would be suppressed, and nothing published", Hint: "a smaller k or l, a larger t, or fewer quasi-identifiers"}
	}
	if err := ctx.Err(); err != nil {
		return nil, &sandbox.Error{Op: "anonymize", Kind: sandbox.Unavailable, Object: q.in, Detail: "interrupted"}
	}
	r := &anonymized{Rows: table.Rows(), Combinations: table.Combinations(), Models: q.models(), Metric: string(s.Metric), LossValue: s.Value,
		Loss: s.Loss, Risk: s.Risk, Search: searchedFor{s.Search, float64((a.steady() - before).Microseconds()) / 1e3}, Left: s.Left, Input: input, solution: s, table: table}
	for i, c := range cfg.Quasi {
		r.Columns = append(r.Columns, generalized{c.Name, c.Hierarchy.Name(), s.Levels[i], c.Hierarchy.Levels() - 1, digests[i]})
	}
	if q.out != "" {
		if err := a.writeFile("anonymize", q.out, func(w io.Writer) error { return q.write(ctx, w, r, text) }); err != nil {
			return nil, err
		}
		r.Out, r.Published = q.out, text.names()
	}
	return r, nil
}

// complete turns flags into the goal.
func (q *anonymizing) complete() error {
	q.goal.Metric = generalize.Metric(q.metric)
	if (q.l != 0 || q.t != 0) && len(q.sensitive) == 0 {
		return invalid("--sensitive", "--l and --t are about sensitive columns, and none is named", "--sensitive diagnosis")
	}
	for _, s := range q.sensitive {
		if q.l != 0 {
			q.goal.Diversity = append(q.goal.Diversity, generalize.Diversity{Column: s, Kind: generalize.DiversityKind(q.diversity), L: q.l, C: q.c})
		}
		if q.t != 0 {
			q.goal.Closeness = append(q.goal.Closeness, generalize.Closeness{Column: s, T: q.t, Distance: generalize.Distance(q.distance), Order: q.order})
		}
	}
	if q.presence != "" {
		low, high, ok := strings.Cut(q.presence, ",")
		a, err := strconv.ParseFloat(low, 64)
		b, err2 := strconv.ParseFloat(high, 64)
		if !ok || err != nil || err2 != nil {
			return invalid("--presence", "two shares with a comma between", "--presence 0,0.5")
		}
		q.goal.Presence = &generalize.Presence{Min: a, Max: b}
	}
	return nil
}

func (q *anonymizing) models() []string {
	var out []string
	if q.goal.K > 1 {
		out = append(out, fmt.Sprintf("%d-anonymity", q.goal.K))
	}
	if q.goal.KMap > 1 {
		out = append(out, fmt.Sprintf("%d-map", q.goal.KMap))
	}
	for _, d := range q.goal.Diversity {
		out = append(out, d.String())
	}
	for _, c := range q.goal.Closeness {
		out = append(out, c.String())
	}
	if p := q.goal.Presence; p != nil {
		out = append(out, fmt.Sprintf("(%g,%g)-presence", p.Min, p.Max))
	}
	return out
}

// builtIn reads --rule.
func (q *anonymizing) builtIn() (map[string]*generalize.Hierarchy, error) {
	out := map[string]*generalize.Hierarchy{}
	for _, r := range q.rules {
		column, name, ok := strings.Cut(r, "=")
		if !ok || !slices.Contains(q.quasi, column) || out[column] != nil {
			return nil, invalid("--rule", "COLUMN=RULE, once for a column of --qi", "--rule area=area --rule age=age:5,10,20")
		}
		h, err := generalize.Rule(name)
		if err != nil {
			return nil, err
		}
		out[column] = h
	}
	return out, nil
}

// hierarchy finds and reads a column's file: exactly one fits.
func (q *anonymizing) hierarchy(column string) (*generalize.Hierarchy, string, error) {
	hint := fmt.Sprintf("put %s.csv (value;level 1;…;*) there, or give --rule %s=area, town, icd10, industry, date or age:5,10,20", column, column)
	if q.hierarchies == "" {
		return nil, "", &sandbox.Error{Op: "anonymize", Kind: sandbox.NotFound, Object: "column " + column, Detail: "it has no hierarchy and --hierarchies names no folder", Hint: hint}
	}
	entries, err := os.ReadDir(q.hierarchies)
	if err != nil {
		return nil, "", &sandbox.Error{Op: "anonymize", Kind: sandbox.NotFound, Object: q.hierarchies, Detail: "not a folder of hierarchies", Hint: "--hierarchies DIR"}
	}
	var found []string
	for _, e := range entries {
		if n := e.Name(); n == column+".csv" || strings.HasSuffix(n, "_hierarchy_"+column+".csv") {
			found = append(found, n)
		}
	}
	switch len(found) {
	case 0:
		return nil, "", &sandbox.Error{Op: "anonymize", Kind: sandbox.NotFound, Object: "column " + column, Detail: "no hierarchy in " + q.hierarchies, Hint: hint}
	case 1:
	default:
		return nil, "", &sandbox.Error{Op: "anonymize", Kind: sandbox.Conflict, Object: "column " + column, Detail: "several hierarchies: " + strings.Join(found, ", "), Hint: "leave one"}
	}
	text, err := os.ReadFile(filepath.Join(q.hierarchies, found[0]))
	if err != nil {
		return nil, "", &sandbox.Error{Op: "anonymize", Kind: sandbox.Unavailable, Object: found[0], Detail: "it cannot be opened"}
	}
	hierarchy, err := generalize.ReadHierarchy(bytes.NewReader(text), found[0])
	digest := sm.Sum(text)
	return hierarchy, hex.EncodeToString(digest[:]), err
}

// write makes the published rows in a second reading.
func (q *anonymizing) write(ctx context.Context, w io.Writer, r *anonymized, text *textTable) error {
	release, err := r.table.Release(r.solution, q.keep...)
	if err != nil {
		return err
	}
	if err := text.publish(ctx, w, release); err != nil {
		return err
	}
	return release.Close()
}

func (r *anonymized) print(w io.Writer) {
	fmt.Fprintf(w, "%d rows, %d distinct combinations 取值组合; %s\n", r.Rows, r.Combinations, strings.Join(r.Models, ", "))
	fmt.Fprintln(w, "\nlevels 泛化层级")
	for _, c := range r.Columns {
		fmt.Fprintf(w, "  %-20s %d of %d  (%s)\n", c.Name, c.Level, c.Top, c.Hierarchy)
	}
	fmt.Fprintln(w, "\nloss 信息损失")
	fmt.Fprintf(w, "  discernibility 可辨识度           %.0f\n  average class size 平均等价类     %.3f\n  height 泛化高度                   %d\n  non-uniform entropy 非均匀熵      %.1f bits\n",
		r.Loss.Discernibility, r.Loss.AverageClass, r.Loss.Height, r.Loss.Entropy)
	k := r.Risk
	fmt.Fprintln(w, "\nrisk 重标识风险")
	fmt.Fprintf(w, "  classes 等价类 %d, smallest %d, largest %d; rows alone in their class %d (before: %d)\n", k.Classes, k.SmallestClass, k.LargestClass, k.Uniques, k.UniquesBefore)
	fmt.Fprintf(w, "  suppressed 抑制 %d rows, %.2f %%\n", k.Suppressed, 100*k.SuppressedShare)
	people := "no population given: as the prosecutor's"
	if k.Population {
		people = "against the population"
	}
	fmt.Fprintf(w, "  prosecutor 检察官 %.4f highest, %.4f mean; at the highest %.2f %% of rows\n  journalist 记者 %.4f highest; marketer 营销者 %.4f (%s)\n", k.Prosecutor, k.ProsecutorAverage, 100*k.AtHighest, k.Journalist, k.Marketer, people)
	proven := "the least by " + r.Metric + ", proven 已证最优"
	if !r.Search.Proven {
		proven = "NOT proven the least by " + r.Metric + ": the search was ended 未证最优"
	}
	fmt.Fprintf(w, "\nsearch 搜索: %d generalisations, %d evaluated, %d excluded as infeasible, %d by their bound; %.0f ms, %.1f MiB; %s\n",
		r.Search.Lattice, r.Search.Evaluated, r.Search.Infeasible, r.Search.Bounded, r.Search.Milliseconds, float64(r.Search.Peak)/(1<<20), proven)
	if r.Out != "" {
		fmt.Fprintf(w, "published %d rows to %s: %s; no other column\n", k.Rows-k.Suppressed, r.Out, strings.Join(r.Published, ", "))
	}
}
