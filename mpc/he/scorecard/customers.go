package scorecard

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

// Customers (评分对象) are an asker's own, as its file has them: never sent but encrypted.
type Customers struct {
	Columns [][]float64 // by feature, in the model's order
	Labels  []string    // of the column that names them, where the asker has one
	Rows    int
}

// String keeps features out of logs.
func (c Customers) String() string { return fmt.Sprintf("customers(%d, redacted)", c.Rows) }

// MaxCustomers bounds one file.
const MaxCustomers = 1 << 17

// MaxBody bounds what a request for scores may hold, encoded, and MaxBatchFeatures follows from it: larger models take single customers.
const (
	MaxBody          = 64 << 20
	MaxBatchFeatures = 60
	// MaxSingles are single customers in one request.
	MaxSingles = 16
)

// ReadCustomers reads CSV (UTF-8, a header) whose columns are the model's features in any order, and one column named label beside them, if one is.
// Every value lies within the range of its feature. Invalid names line and column, never the value.
func ReadCustomers(r io.Reader, features []attest.ScoringFeature, label string) (*Customers, error) {
	wrong := func(at, rule, hint string) (*Customers, error) {
		return nil, &sandbox.Error{Op: "customers", Kind: sandbox.Invalid, Object: at, Detail: rule, Hint: hint}
	}
	in := bufio.NewReader(r)
	if b, err := in.Peek(3); err == nil && string(b) == "\ufeff" {
		_, _ = in.Discard(3)
	}
	c := csv.NewReader(in)
	c.ReuseRecord = true
	head, err := c.Read()
	if err != nil {
		return wrong("line 1", "a header that names the model's features", "opdomain he model list shows them")
	}
	at := make([]int, len(head)) // of a column: its feature, or -1 for the label
	used := make([]bool, len(features))
	named := false
	for i, name := range head {
		name = strings.TrimSpace(name)
		at[i] = slices.IndexFunc(features, func(f attest.ScoringFeature) bool { return f.Name == name })
		switch {
		case at[i] < 0 && label != "" && name == label && !named:
			named = true
		case at[i] < 0:
			return wrong(fmt.Sprintf("line 1, column %d", i+1), "every column is a feature of the model, or the one that --id names", "take it out of the file: what is not needed is not read")
		case used[at[i]]:
			return wrong(fmt.Sprintf("line 1, column %d", i+1), "a feature stands in one column", "")
		default:
			used[at[i]] = true
		}
	}
	for i, f := range features {
		if !used[i] {
			return wrong("line 1", "every feature of the model has a column, and "+f.Name+" has none", "")
		}
	}
	if label != "" && !named {
		return wrong("line 1", "the column that --id names is there, and is no feature", "")
	}
	out := &Customers{Columns: make([][]float64, len(features))}
	for {
		row, err := c.Read()
		if err == io.EOF {
			break
		}
		if err != nil {
			line := out.Rows + 2
			var p *csv.ParseError
			if errors.As(err, &p) {
				line = p.StartLine
			}
			return wrong(fmt.Sprintf("line %d", line), "a row of CSV with as many columns as the header", "")
		}
		line, _ := c.FieldPos(0)
		if out.Rows == MaxCustomers {
			return wrong(fmt.Sprintf("line %d", line), fmt.Sprintf("a file has at most %d customers", MaxCustomers), "split it")
		}
		for i, cell := range row {
			if at[i] < 0 {
				out.Labels = append(out.Labels, strings.Clone(cell))
				continue
			}
			f := features[at[i]]
			place := fmt.Sprintf("line %d, column %s", line, f.Name)
			v, err := strconv.ParseFloat(strings.TrimSpace(cell), 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return wrong(place, "a number in decimal digits", "")
			}
			if v < f.Min || v > f.Max {
				return wrong(place, fmt.Sprintf("within the model's range for it, %g to %g%s", f.Min, f.Max, f.Unit), "a model says nothing outside its ranges: leave the customer out, or correct the value")
			}
			out.Columns[at[i]] = append(out.Columns[at[i]], v)
		}
		out.Rows++
	}
	if out.Rows == 0 {
		return wrong("line 2", "a customer at least", "")
	}
	return out, nil
}

// Row gives one customer's features in the model's order.
func (c *Customers) Row(i int) []float64 {
	out := make([]float64, len(c.Columns))
	for f, col := range c.Columns {
		out[f] = col[i]
	}
	return out
}

// Range gives the columns of customers from to before.
func (c *Customers) Range(from, before int) [][]float64 {
	out := make([][]float64, len(c.Columns))
	for f, col := range c.Columns {
		out[f] = col[from:before]
	}
	return out
}

// Clear wipes the features.
func (c *Customers) Clear() {
	for _, col := range c.Columns {
		clear(col)
	}
}
