package query

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func (d *deriver) measures() {
	raw := func(column string) {
		d.refuse("rows.raw", column, "rows and raw values never leave; an answer is a measure over groups of people", articleRaw,
			"ask count, subjects, sum or mean over groups")
	}
	if len(d.out.Spec.Measures) == 0 {
		raw("")
	}
	for _, m := range d.out.Spec.Measures {
		switch m.Func {
		case sandbox.Count, sandbox.Subjects: // every cell is counted anyway
		case sandbox.Plain:
			i, name := d.out.Spec.split(m.Column)
			raw(string(d.out.Inputs[i].Dataset) + "." + name)
		case sandbox.Distinct, sandbox.Histogram:
			d.labelled(m)
		default:
			d.numeric(m)
		}
	}
	d.outputs()
}

// labelled checks a measure over the labels of a bin, or of a public column.
func (d *deriver) labelled(m Measure) {
	c, b, ok := d.label(m.Column, m.Bin, sandbox.UseAggregate, m.Func)
	if !ok || m.Func != sandbox.Histogram {
		return
	}
	if b.Kind == catalog.Year {
		i, _ := d.out.Spec.split(m.Column)
		d.refuse("bin.open", string(d.out.Inputs[i].Dataset)+"."+c.Name, "a histogram has one output for each label, so its bin lists them beforehand; years are not listed",
			articleNeed, "group by the bin "+string(m.Bin)+" and count")
	}
}

// numeric checks a measure over one or more columns of numbers.
func (d *deriver) numeric(m Measure) {
	for n, ref := range append([]string{m.Column}, m.With...) {
		i, name := d.out.Spec.split(ref)
		c, unlisted := d.measurable(i, name, m.Func)
		if c == nil {
			continue
		}
		ok := c.Type == catalog.Int || c.Type == catalog.Money || c.Type == catalog.Number
		rule, change := fmt.Sprintf("%s takes int, money or number columns", m.Func), "measure count or subjects, or a numeric column"
		if n == 0 && m.Func == sandbox.Logistic {
			ok = c.Type == catalog.Bool || c.Type == catalog.Int || c.Type == catalog.Number
			rule, change = "logistic takes an outcome of yes and no: a bool column, or an int or number column of 0 and 1", "name such a column as the outcome, or ask linear"
		}
		if !ok {
			d.refuse("measure.type", string(d.out.Inputs[i].Dataset)+"."+name, rule, articleNeed, change)
		} else if unlisted {
			d.use(i, name, sandbox.UseAggregate, m.Func)
		}
	}
}

// measurable resolves a column that is measured. Where all that stands against it is that the list does not name the function, it says so
// instead of refusing: a column of another type would not pass with the function listed either.
func (d *deriver) measurable(i int, name string, fn sandbox.MeasureFunc) (c *catalog.Column, unlisted bool) {
	in := &d.out.Inputs[i]
	c, ok := in.Described.Column(name)
	if rule, listed := d.item(in.Dataset).Rule(name); ok && listed && name != in.Described.Subject && rule.AllowsParty(d.asker.ID) &&
		rule.Within(c.Effective()).Allows(sandbox.UseAggregate) && !rule.AllowsFunc(fn) {
		return c, true
	}
	return d.use(i, name, sandbox.UseAggregate, fn), false
}

// outputs checks that what comes back is bounded and that every output has a name of its own.
func (d *deriver) outputs() {
	out := d.out.outputs()
	if len(out) > MaxOutputs {
		d.refuse("measure.outputs", "", fmt.Sprintf("a cell has at most %d outputs, and a histogram one for each label of its bin", MaxOutputs), articleNeed,
			"use a bin with fewer labels, or group by it and count")
		return
	}
	names := map[string]bool{}
	for _, dim := range d.out.Spec.Dimensions {
		names[dim.As] = true
	}
	for _, o := range out {
		if names[o.Name] || o.Part != "" && !printable(o.Name) {
			d.refuse("measure.name", "", fmt.Sprintf("output names are printable, at most %d bytes and stand once; the parts of measure %d do not", maxText, o.Measure+1), articleList,
				"name the measure otherwise, or leave out the column or label that another output is named like")
			return
		}
		names[o.Name] = true
	}
}
