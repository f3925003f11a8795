package main

import (
	"context"
	"strings"

	"github.com/opdomain/opdomain/benchmarks/trapset"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// scanCases measure the scan of what would leave: aggregates as the gate has them, and de-identified rows of which nothing is declared.
func scanCases() []benchmark {
	g := trapset.New(2)
	var tables []trapset.Outgoing
	rows, cells := 0, int64(0)
	for range 60 {
		o := g.Honest()
		tables = append(tables, o)
		rows += len(o.Rows)
		for _, row := range o.Rows {
			for _, v := range row {
				cells += int64(len(v))
			}
		}
	}
	over := func(role func(scan.Role) scan.Role) func(context.Context) error {
		return func(context.Context) error {
			for _, o := range tables {
				fields := make([]scan.Field, len(o.Fields))
				for i, f := range o.Fields {
					fields[i] = scan.Field{Name: f.Name, Role: role(f.Role)}
				}
				t, err := scan.NewTable(fields)
				if err != nil {
					return err
				}
				for _, row := range o.Rows {
					t.Row(row)
				}
				t.Hits()
			}
			return nil
		}
	}
	var notes []string
	for _, n := range g.Notes(2000) {
		notes = append(notes, n.Text)
	}
	size := int64(len(strings.Join(notes, "")))
	return []benchmark{
		{name: "scan: tables as they would leave, roles declared", rows: rows, bytes: cells, batches: len(tables), run: over(func(r scan.Role) scan.Role { return r })},
		{name: "scan: the same, every column text", rows: rows, bytes: cells, batches: len(tables), run: over(func(scan.Role) scan.Role { return scan.Text })},
		{name: "scan: clinical notes as free text", rows: len(notes), bytes: size, batches: 1, run: func(context.Context) error {
			s := scan.NewScanner()
			for _, n := range notes {
				s.Text(n, true)
			}
			return nil
		}},
	}
}
