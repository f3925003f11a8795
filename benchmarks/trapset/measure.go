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
	Values   map[classify.Kind]Score   // of single values, of which Missed were not found; Wrong counts trap values taken for the kind first
	Traps    int                       // trap values drawn
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
			if c.Kind == classify.None {
				r.Traps++
			}
			if c.Kind != c.Kind.Of() {
				continue // the kind of a text is its column's
			}
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

// Floors gives the least recall that is asked for: of single values, of columns whose header tells their kind, and of places in
// texts. A column without a telling header has no floor of its own: noise takes weak kinds under the share that sets them apart
// from traps.
func Floors(k classify.Kind) (value, hinted, text float64) {
	switch k.Of() {
	case classify.PersonName:
		return 0.99, 0.99, 0.95
	case classify.Address:
		return 0.97, 0.97, 0.97
	case classify.Disease, classify.Enterprise, classify.ICD10:
		return 0.95, 0.95, 0
	}
	return 0.999, 0.999, 0.99
}

// Print writes the tables.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "columns: %d drawn; recall/precision at confidence of at least %v, and recall of those with a telling header, which the floor is for\n", r.NColumns, Thresholds)
	line := func(k classify.Kind, s []Score) {
		fmt.Fprintf(w, "  %-26s", k)
		for _, x := range s {
			fmt.Fprintf(w, "  %6.4f/%6.4f", x.Recall(), x.Precision())
		}
	}
	for _, k := range r.Kinds {
		line(k, r.Columns[k])
		if h := r.Hinted[k]; h.Found+h.Missed > 0 {
			_, floor, _ := Floors(k)
			fmt.Fprintf(w, "  hinted %6.4f of %d, floor %.3f", h.Recall(), h.Found+h.Missed, floor)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "values: recall of single values, with its floor; precision beside %d trap values, as the set mixes them: a table has fewer traps\n", r.Traps)
	for _, k := range r.Kinds {
		if x := r.Values[k]; x.Found+x.Missed > 0 {
			floor, _, _ := Floors(k)
			fmt.Fprintf(w, "  %-26s  recall %6.4f of %d, floor %.3f; precision %6.4f, %d right and %d of the %d traps\n", k, x.Recall(), x.Found+x.Missed, floor, x.Precision(), x.Found, x.Wrong, r.Traps)
		}
	}
	fmt.Fprintf(w, "texts: %d notes; every byte of a find covered; recall/precision at confidence of at least %v; the floor is for the recall of the first\n", r.NNotes, Thresholds)
	for _, k := range r.Kinds {
		if x := r.Texts[k][0]; x.Found+x.Missed+x.Wrong > 0 {
			line(k, r.Texts[k])
			if _, _, floor := Floors(k); floor > 0 {
				fmt.Fprintf(w, "  of %d, floor %.3f", x.Found+x.Missed, floor)
			}
			fmt.Fprintln(w)
		}
	}
}
