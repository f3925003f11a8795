package algo

import "slices"

// Rows (行集) are the rows of an input, joined and filtered. It is a handle: it holds none.
type Rows struct {
	p  *Program
	at int
}

// Input (输入) is one dataset: its rows, and its columns by name.
type Input struct{ Rows }

// Input names a dataset and the columns that the Program needs of it. Which dataset of the domain it is, is said when the Program is
// asked; by default the one of that name. The first input of joined rows is scanned: its protected subject is the one counted.
func (p *Program) Input(name string, columns ...Column) Input {
	return Input{Rows{p, p.node(Node{Op: OpInput, Name: name, Columns: columns})}}
}

// Text declares a text column (文本字段).
func Text(name string) Column { return Column{Name: name, Type: "text"} }

// Date declares a date column (日期字段).
func Date(name string) Column { return Column{Name: name, Type: "date"} }

// Bool declares a column of yes and no (是否字段).
func Bool(name string) Column { return Column{Name: name, Type: "bool"} }

// Int declares a column of whole numbers (整数字段) in a unit, which may be empty.
func Int(name, unit string) Column { return Column{Name: name, Type: "int", Unit: unit} }

// Money declares a column of money (金额字段), in 元 with two decimals.
func Money(name string) Column { return Column{Name: name, Type: "money"} }

// Decimals declares a column of numbers with so many decimals (小数字段), in a unit, which may be empty.
func Decimals(name string, scale int, unit string) Column {
	return Column{Name: name, Type: "number", Scale: scale, Unit: unit}
}

// On equates a column of the rows so far, written "input.column", with one of the input that joins.
func On(left, right string) Key { return Key{left, right} }

// SameSubject beside keys equates the protected subject too.
var SameSubject = Key{}

// Join keeps the rows that find a partner, each with each: by the protected subject where no key is given.
func (r Rows) Join(in Input, keys ...Key) Rows { return r.join(in, false, keys) }

// LeftJoin keeps rows without a partner too; the input's columns are missing in them.
func (r Rows) LeftJoin(in Input, keys ...Key) Rows { return r.join(in, true, keys) }

func (r Rows) join(in Input, left bool, keys []Key) Rows {
	n := Node{Op: OpJoin, Args: []int{r.at, r.p.own(in.p, in.at)}, Left: left}
	for _, k := range keys {
		if n.Subject = n.Subject || k == SameSubject; k != SameSubject {
			n.Keys = append(n.Keys, k)
		}
	}
	if len(n.Keys) == 0 {
		n.Subject = false // by subject already
	}
	return Rows{r.p, r.p.node(n)}
}

// Filter keeps the rows for which the flag is yes.
func (r Rows) Filter(f Flag) Rows {
	return Rows{r.p, r.p.node(Node{Op: OpFilter, Args: []int{r.at, r.p.own(f.p, f.at)}})}
}

// Dimension (分组维度) is a named grouping.
type Dimension struct {
	name string
	p    *Program
	at   int
}

// By groups by a label.
func By(name string, l Label) Dimension { return Dimension{name, l.p, l.at} }

// ByFlag groups by whether a flag is yes; the label of yes is "≥1", of no "<1".
func ByFlag(name string, f Flag) Dimension { return Dimension{name, f.p, f.at} }

// Group groups the rows; without dimensions there is one group, of all rows.
func (r Rows) Group(dims ...Dimension) Groups {
	n := Node{Op: OpGroup, Args: []int{r.at}}
	for _, d := range dims {
		n.Args = append(n.Args, r.p.own(d.p, d.at))
		n.Names = append(n.Names, d.name)
	}
	return Groups{r.p, r.p.node(n)}
}

// Label is a column's registered bin, or the public column itself where bin is empty.
func (in Input) Label(column, bin string) Label {
	return Label{in.p, in.p.node(Node{Op: OpLabel, Args: []int{in.at}, Name: column, Bin: bin})}
}

// Number is a column of numbers.
func (in Input) Number(column string) Number {
	return Number{in.p, in.p.node(Node{Op: OpColumn, Args: []int{in.at}, Name: column})}
}

// Label (标签) is a label of each row.
type Label struct {
	p  *Program
	at int
}

// In says whether the label is one of those given. Labels are written as the catalogue lists them.
func (l Label) In(labels ...string) Flag {
	sorted := slices.Compact(slices.Sorted(slices.Values(labels)))
	return Flag{l.p, l.p.node(Node{Op: OpIn, Args: []int{l.at}, Labels: sorted})}
}

// Points gives a number for each label, and one for all others (赋分): the bins of a scorecard.
func (l Label) Points(points map[string]float64, others float64) Number {
	n := Node{Op: OpPoints, Args: []int{l.at}, Consts: l.p.decimals([]float64{others})}
	for label, v := range points {
		n.Points = append(n.Points, Point{label, l.p.decimals([]float64{v})[0]})
	}
	slices.SortFunc(n.Points, func(a, b Point) int {
		if a.Label < b.Label {
			return -1
		}
		return 1
	})
	return Number{l.p, l.p.node(n)}
}

// Flag (条件) is yes or no for each row.
type Flag struct {
	p  *Program
	at int
}

// And is yes where all are.
func (f Flag) And(others ...Flag) Flag { return f.both(OpAnd, others) }

// Or is yes where one is.
func (f Flag) Or(others ...Flag) Flag { return f.both(OpOr, others) }

func (f Flag) both(op Op, others []Flag) Flag {
	n := Node{Op: op, Args: []int{f.at}}
	for _, o := range others {
		n.Args = append(n.Args, f.p.own(o.p, o.at))
	}
	return Flag{f.p, f.p.node(n)}
}

// Not is yes where f is no.
func (f Flag) Not() Flag { return Flag{f.p, f.p.node(Node{Op: OpNot, Args: []int{f.at}})} }
