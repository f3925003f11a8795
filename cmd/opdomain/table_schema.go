package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// fieldNumbers stand for headers that the plan does not name and that look like values: a file without a header line has them there.
type fieldNumbers map[string]int

func (n fieldNumbers) of(header string) int { return n[header] }

// in puts numbers in the place of headers in a refusal.
func (n fieldNumbers) in(d sandbox.Decision) sandbox.Decision {
	d.Reasons = slices.Clone(d.Reasons)
	for i, r := range d.Reasons {
		if at := n.of(r.Column); at != 0 {
			d.Reasons[i].Column = fmt.Sprintf("field %d of the header line", at)
		}
	}
	return d
}

// describeTable gives the table's columns: as the plan has them, or as the table and the plan's operations tell, a column that no
// catalogue grades being grade 2. Either way the detectors look at the table, and the stricter grade applies (就高从严).
func describeTable(ctx context.Context, path string, p *desensitize.Plan, o file.Options) (catalog.Dataset, fieldNumbers, error) {
	d := p.Described()
	declared := len(d.Columns) > 0
	if declared {
		d.ID, d.Unit = p.Dataset, p.Owner
	}
	if path == "" { // a plan is checked alone: its headers speak
		return classify.Apply(d, classify.NewSampler(titled(d)).Grade()), nil, nil
	}
	src, err := file.OpenTable(ctx, allocator(), path, d.Columns, o)
	if err != nil {
		return d, nil, err
	}
	defer src.Close()
	steps := map[string]desensitize.Step{}
	for _, list := range append([]desensitize.RoleRules{{Columns: p.Columns}}, p.Roles...) {
		for _, s := range list.Columns {
			if _, ok := steps[s.Column]; !ok || isNumeric(s) {
				steps[s.Column] = s
			}
		}
	}
	numbers := fieldNumbers{}
	for _, f := range src.Schema().Fields() {
		if declared {
			break
		}
		d.Columns = append(d.Columns, catalog.Column{Name: f.Name, Title: f.Name, Type: catalog.Text, Nullable: true, Grade: sandbox.Grade2})
	}
	sampler := classify.NewSampler(titled(d))
	forms := make([]form, len(d.Columns))
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return d, nil, err
		}
		sampler.Observe(rec)
		for i := range forms {
			if !declared && isNumeric(steps[d.Columns[i].Name]) {
				forms[i].observe(rec.Column(i))
			}
		}
		rec.Release()
	}
	findings := sampler.Grade()
	d = classify.Apply(d, findings)
	if declared {
		return d, nil, nil
	}
	sc, data := classify.NewScanner(), 0
	hidden := make([]bool, len(findings))
	for i, f := range findings {
		var own bool
		if hidden[i], own = sc.Header(f.Column, f.Finding); own {
			data++
		}
	}
	for i, c := range d.Columns {
		if _, named := steps[c.Name]; !named && (hidden[i] || data >= 2) { // of a first line of values none is shown
			numbers[c.Name] = i + 1
		}
	}
	for i := range d.Columns {
		switch c := &d.Columns[i]; steps[c.Name].Op {
		case "date", "date-shift":
			c.Type = catalog.Date
		case "bucket":
			if forms[i].dates && !forms[i].numbers {
				c.Type = catalog.Date
			} else {
				c.Type, c.Scale = catalog.Number, forms[i].scale
			}
		case "round", "noise", "limit", "micro":
			c.Type, c.Scale = catalog.Number, forms[i].scale
		}
	}
	return d, numbers, nil
}

// titled has the header speak where a schema gives no title.
func titled(d catalog.Dataset) catalog.Dataset {
	d.Columns = slices.Clone(d.Columns)
	for i := range d.Columns {
		if c := &d.Columns[i]; c.Title == "" {
			c.Title = c.Name
		}
	}
	return d
}

// isNumeric says whether an operation is for numbers or dates.
func isNumeric(s desensitize.Step) bool {
	return slices.Contains([]string{"round", "bucket", "date", "date-shift", "noise", "limit", "micro"}, s.Op)
}

// form is how the values of a column are written.
type form struct {
	numbers, dates bool
	scale          int // most decimals
}

func (f *form) observe(a arrow.Array) {
	texts, ok := a.(*array.String)
	if !ok {
		return
	}
	for i := range texts.Len() {
		v := texts.Value(i)
		if v == "" || texts.IsNull(i) {
			continue
		}
		if digit := strings.IndexAny(v, "0123456789"); digit >= 0 && strings.ContainsAny(v[digit:], "-/") {
			f.dates = true
			continue
		}
		whole, decimals, dotted := strings.Cut(strings.TrimLeft(v, "+-"), ".")
		if strings.Trim(whole+decimals, "0123456789") != "" || whole+decimals == "" { // neither: it is hidden when it is read
			continue
		}
		f.numbers = true
		if dotted {
			f.scale = min(9, max(f.scale, len(decimals)))
		}
	}
}
