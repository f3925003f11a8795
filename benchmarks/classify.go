package main

import (
	"context"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/benchmarks/trapset"
	"github.com/opdomain/opdomain/desensitize/redact"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// classifyCases measure the detectors: rows are values for the first two lines and clinical notes for the others.
func classifyCases() ([]benchmark, error) {
	g := trapset.New(1)
	var values, numbers []string
	for _, c := range g.Columns(40) {
		if c.Kind != c.Kind.Of() {
			continue // texts are measured as notes
		}
		for i, v := range c.Values {
			values = append(values, v)
			if c.True[i] && strings.ContainsAny(v, "0123456789") {
				numbers = append(numbers, v)
			}
		}
	}
	size := func(list []string) (n int64) {
		for _, v := range list {
			n += int64(len(v))
		}
		return n
	}
	var notes []string
	for _, n := range g.Notes(4000) {
		notes = append(notes, n.Text)
	}
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	b.AppendValues(notes, nil)
	column := b.NewArray()
	x, err := redact.New(redact.Rule{})
	if err != nil {
		return nil, err
	}
	const times = 20
	scan := func(list []string) func(context.Context) error {
		return func(context.Context) error {
			sc := classify.NewScanner()
			for range times {
				for _, v := range list {
					sc.Detect(v)
				}
			}
			return nil
		}
	}
	return []benchmark{
		{name: "classify: values of all 19 kinds and 24 traps, written in several ways", rows: times * len(values), bytes: times * size(values), batches: times, run: scan(values)},
		{name: "classify: values with digits of the kinds alone", rows: times * len(numbers), bytes: times * size(numbers), batches: times, run: scan(numbers)},
		{name: "classify: places in clinical notes", rows: len(notes), bytes: size(notes), batches: 1, run: func(context.Context) error {
			sc := classify.NewScanner()
			var spans []classify.Span
			for _, n := range notes {
				spans = sc.Spans(spans[:0], n)
			}
			return nil
		}},
		{name: "redact: clinical notes, one Arrow column", rows: len(notes), bytes: size(notes), batches: 1, run: func(context.Context) error {
			out, err := x.Apply(memory.DefaultAllocator, column)
			if err != nil {
				return err
			}
			out.Release()
			return nil
		}},
	}, nil
}
