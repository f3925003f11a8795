package trapset

import (
	"fmt"
	"io"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// Thresholds (置信度阈值) at which a finding counts, in percent. Every finding reaches the first.
var Thresholds = []int{1, 40, 60, 80}

// Score (查准查全) counts what was found of one type.
type Score struct {
	Found, Missed, Wrong int
	Sorts                []string // of what was wrongly found
}

// Recall is the share of what is there that was found, 1 of nothing.
func (s Score) Recall() float64 {
	if s.Found+s.Missed == 0 {
		return 1
	}
	return float64(s.Found) / float64(s.Found+s.Missed)
}

// Precision is the share of what was found that is there, 1 of nothing.
func (s Score) Precision() float64 {
	if s.Found+s.Wrong == 0 {
		return 1
	}
	return float64(s.Found) / float64(s.Found+s.Wrong)
}

// Report (识别评测报告) holds the scores of each type: columns and texts at each threshold, single values as recall.
type Report struct {
	Kinds    []classify.Kind
	Columns  map[classify.Kind][]Score // by threshold
	Hinted   map[classify.Kind]Score   // of columns with a telling header, at the first threshold
	Values   map[classify.Kind]Score   // of single values; Wrong counts trap values and those of other kinds
	Texts    map[classify.Kind][]Score // by threshold
	NColumns int
	NNotes   int
}

func (r *Report) kind(k classify.Kind) {
	if !slices.Contains(r.Kinds, k) {
		r.Kinds = append(r.Kinds, k)
		r.Columns[k], r.Texts[k] = make([]Score, len(Thresholds)), make([]Score, len(Thresholds))
	}
}

// Measure runs the detectors over columns and notes.
func Measure(columns []Column, notes []Note) *Report {
	r := &Report{Columns: map[classify.Kind][]Score{}, Hinted: map[classify.Kind]Score{}, Values: map[classify.Kind]Score{}, Texts: map[classify.Kind][]Score{},
		NColumns: len(columns), NNotes: len(notes)}
	sc := classify.NewScanner()
	var kinds []classify.Kind
	for _, c := range columns {
		d := catalog.Dataset{Columns: []catalog.Column{{Name: c.Name, Title: c.Title, Type: catalog.Text, Grade: sandbox.Grade1}}}
		s := classify.NewSampler(d)
		if c.Kind != classify.None {
			r.kind(c.Kind)
		}
		for i, v := range c.Values {
			s.ObserveText(0, v)
			kinds = sc.Kinds(kinds[:0], v)
			if c.True[i] {
				x := r.Values[c.Kind]
				if slices.Contains(kinds, c.Kind) {
					x.Found++
				} else {
					x.Missed++
				}
				r.Values[c.Kind] = x
			} else if c.Kind == classify.None && len(kinds) > 0 {
				x := r.Values[kinds[0]]
				x.Wrong++
				r.Values[kinds[0]] = x
			}
		}
		got := s.Grade()[0]
		for i, at := range Thresholds {
			k := got.Finding
			if got.Confidence < at {
				k = classify.None
			}
			if c.Kind != classify.None {
				x := &r.Columns[c.Kind][i]
				if k == c.Kind {
					x.Found++
				} else {
					x.Missed++
				}
				if i == 0 && c.Name != "c1" {
					h := r.Hinted[c.Kind]
					if k == c.Kind {
						h.Found++
					} else {
						h.Missed++
						h.Sorts = append(h.Sorts, fmt.Sprintf("%s %.1f→%s", c.Name, c.Noise, k))
					}
					r.Hinted[c.Kind] = h
				}
			}
			if k != classify.None && k != c.Kind {
				r.kind(k)
				x := &r.Columns[k][i]
				x.Wrong++
				x.Sorts = append(x.Sorts, c.Sort)
			}
		}
	}
	var spans []classify.Span
	for _, n := range notes {
		spans = sc.Spans(spans[:0], n.Text)
		for _, want := range n.Spans {
			r.kind(want.Kind)
			for i, at := range Thresholds {
				if covered(want, spans, at) {
					r.Texts[want.Kind][i].Found++
				} else {
					r.Texts[want.Kind][i].Missed++
				}
			}
		}
		for _, got := range spans {
			if !slices.ContainsFunc(n.Spans, func(w classify.Span) bool { return w.Start < got.End && got.Start < w.End }) {
				r.kind(got.Kind)
				for i, at := range Thresholds {
					if got.Confidence >= at {
						r.Texts[got.Kind][i].Wrong++
					}
				}
			}
		}
	}
	return r
}

// covered says whether every byte of a true span lies in found ones of at least the given confidence: of whatever type, since
// what is taken out is taken out.
func covered(want classify.Span, found []classify.Span, at int) bool {
	from := want.Start
	for _, f := range found {
		if f.Confidence >= at && f.Start <= from && f.End > from {
			from = f.End
		}
	}
	return from >= want.End
}

// Print writes the tables.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "columns: %d drawn; recall/precision at confidence of at least %v\n", r.NColumns, Thresholds)
	line := func(k classify.Kind, s []Score) {
		fmt.Fprintf(w, "  %-18s", k)
		for _, x := range s {
			fmt.Fprintf(w, "  %6.4f/%6.4f", x.Recall(), x.Precision())
		}
		fmt.Fprintln(w)
	}
	for _, k := range r.Kinds {
		line(k, r.Columns[k])
	}
	fmt.Fprintln(w, "values: recall of single values, and how many trap values are taken for the type first")
	for _, k := range r.Kinds {
		if x := r.Values[k]; x.Found+x.Missed > 0 {
			fmt.Fprintf(w, "  %-18s  %6.4f of %d, %d\n", k, x.Recall(), x.Found+x.Missed, x.Wrong)
		}
	}
	fmt.Fprintf(w, "texts: %d notes; every byte of a find covered; recall/precision at confidence of at least %v\n", r.NNotes, Thresholds)
	for _, k := range r.Kinds {
		if x := r.Texts[k][0]; x.Found+x.Missed+x.Wrong > 0 {
			line(k, r.Texts[k])
		}
	}
}
