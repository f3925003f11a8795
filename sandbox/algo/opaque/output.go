package opaque

import (
	"encoding/binary"
	"slices"
)

// Kinds of an output.
const (
	kindChart = 1
	kindModel = 2
)

// MaxOutput bounds the bytes of one output.
const MaxOutput = 1 << 20

// Output (算法输出) is what the code gives.
type Output struct {
	d     *Declaration
	b     []byte
	rows  int
	model []byte
}

func newOutput(d *Declaration) *Output { return &Output{d: d} }

// Row gives a row of the chart: the number of its label in each grouping, and its values as whole numbers of their scale. The host clips values and
// brings them to their step; labels and numbers that are not declared are an error here and the end of the job there.
func (o *Output) Row(labels []int, values ...int64) error {
	c := o.d.Chart
	switch {
	case c == nil:
		return &Error{"output", "a chart was not declared"}
	case len(labels) != len(c.Labels) || len(values) != len(c.Values):
		return &Error{"output", "a label of each grouping and each value"}
	case o.rows == c.Rows:
		return &Error{"output", "as many rows as declared at most"}
	}
	for i, l := range labels {
		if l < 0 || l >= len(c.Labels[i].Of) {
			return &Error{"output", "a declared label"}
		}
	}
	o.rows++
	for _, l := range labels {
		o.b = binary.LittleEndian.AppendUint16(o.b, uint16(l))
	}
	for _, v := range values {
		o.b = binary.LittleEndian.AppendUint64(o.b, uint64(v))
	}
	return nil
}

// Model gives the model, as JSON in the gate's form opdomain-model/1. What its declaration says is the host's, whatever the bytes say.
func (o *Output) Model(b []byte) error {
	if o.d.Model == nil || len(b) == 0 || len(b) > MaxOutput-1 || o.model != nil {
		return &Error{"output", "one model, where one was declared, within the bytes of an output"}
	}
	o.model = slices.Clone(b)
	return nil
}

func (o *Output) bytes() ([]byte, error) {
	if o.d.Model != nil {
		if o.model == nil {
			return nil, &Error{"output", "the model that was declared"}
		}
		return append([]byte{kindModel}, o.model...), nil
	}
	return append([]byte{kindChart}, o.b...), nil
}

// Row (图表行) is one row of a chart as the host reads it.
type Row struct {
	Labels []int   // numbers of labels, within the declaration
	Values []int64 // in range and on a step
}

// ReadChart reads the rows of a chart: within the declaration, clipped and quantised, in the order of their labels. It refuses more rows than declared, labels
// that are not, a combination of labels twice, and bytes left over. Order, and what lies between two steps, carry nothing.
func ReadChart(b []byte, d *Declaration) ([]Row, error) {
	bad := func(rule string) ([]Row, error) { return nil, &Error{"output", rule} }
	c := d.Chart
	if c == nil || len(b) == 0 || len(b) > MaxOutput || b[0] != kindChart {
		return bad("the declared kind, within the bytes of an output")
	}
	b = b[1:]
	size := 2*len(c.Labels) + 8*len(c.Values)
	if len(b)%size != 0 || len(b)/size > c.Rows {
		return bad("whole rows, as many as declared at most")
	}
	rows := make([]Row, 0, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		r := Row{Labels: make([]int, len(c.Labels)), Values: make([]int64, len(c.Values))}
		for i := range c.Labels {
			if r.Labels[i] = int(binary.LittleEndian.Uint16(b[2*i:])); r.Labels[i] >= len(c.Labels[i].Of) {
				return bad("declared labels")
			}
		}
		for i, v := range c.Values {
			r.Values[i] = v.Quantise(int64(binary.LittleEndian.Uint64(b[2*len(c.Labels)+8*i:])))
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b Row) int { return slices.Compare(a.Labels, b.Labels) })
	for i := 1; i < len(rows); i++ {
		if slices.Equal(rows[i-1].Labels, rows[i].Labels) {
			return bad("a combination of labels once")
		}
	}
	return rows, nil
}

// ReadModel reads the bytes of a model. What they say is for the gate to parse.
func ReadModel(b []byte, d *Declaration) ([]byte, error) {
	if d.Model == nil || len(b) < 2 || len(b) > MaxOutput || b[0] != kindModel {
		return nil, &Error{"output", "the declared kind, within the bytes of an output"}
	}
	return b[1:], nil
}
