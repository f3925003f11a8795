package algo

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind (类型) is what a node gives.
type Kind string

// Kinds of nodes.
const (
	KindRows      Kind = "rows"
	KindLabel     Kind = "label"
	KindNumber    Kind = "number"
	KindFlag      Kind = "flag"
	KindGroups    Kind = "groups"
	KindAggregate Kind = "aggregate"
	KindFit       Kind = "fit"
	KindSink      Kind = "sink"
)

// Type (节点类型) is a node's kind and, of numbers and aggregates, its unit.
type Type struct {
	Kind   Kind
	Unit   string // of a number or aggregate
	Any    bool   // a constant: takes any unit
	Yes    bool   // a number that is yes or no: an outcome only
	Inputs uint8  // bit i: input i is used; of rows, is among them
	Groups int    // of an aggregate or fit: its groups
	depth  int
}

// Types (类型表) gives the type of every node of a checked graph.
type Types struct {
	Of     []Type
	Inputs []int // nodes of the inputs, in order
	Sinks  []int // nodes that reveal, in order
}

// Types of declared columns.
var columnTypes = []string{"text", "int", "money", "number", "date", "bool"}

// Check holds a graph to the form, the bounds and the types; see the bounds above. A sink ends its branch; there is at least one.
func (g *Graph) Check() (*Types, error) {
	c := &checker{g: g, t: &Types{}}
	if g.SDK != Version {
		return nil, &Error{Place: "graph", Rule: "is recorded by version " + Version + " of the SDK"}
	}
	if !name(g.Program) {
		return nil, &Error{Place: "program", Rule: nameRule}
	}
	if len(g.Nodes) > MaxNodes {
		return nil, &Error{Place: "graph", Rule: fmt.Sprintf("has at most %d nodes", MaxNodes), TooLarge: true}
	}
	consts := 0
	tables := map[string]bool{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		c.at, c.n = i, n
		if consts += len(n.Consts) + len(n.Points) + len(n.Labels); consts > MaxConsts {
			return nil, &Error{Place: "graph", Rule: fmt.Sprintf("has at most %d constants", MaxConsts), TooLarge: true}
		}
		t, err := c.node()
		if err != nil {
			return nil, err
		}
		if t.depth > MaxDepth {
			return nil, &Error{Place: c.place(), Rule: fmt.Sprintf("stands at most %d operators deep", MaxDepth), TooLarge: true}
		}
		if t.Kind == KindSink {
			if tables[n.Name] {
				return nil, c.bad("a table's name stands once")
			}
			tables[n.Name] = true
			c.t.Sinks = append(c.t.Sinks, i)
		}
		c.t.Of = append(c.t.Of, t)
	}
	if len(c.t.Sinks) == 0 {
		return nil, &Error{Place: "graph", Rule: "reveals at least one table or model"}
	}
	if len(c.t.Sinks) > MaxTables {
		return nil, &Error{Place: "graph", Rule: fmt.Sprintf("reveals at most %d tables and models", MaxTables), TooLarge: true}
	}
	return c.t, nil
}

type checker struct {
	g  *Graph
	t  *Types
	at int
	n  *Node
}

func (c *checker) place() string { return fmt.Sprintf("node %d (%s)", c.at, c.n.Op) }

func (c *checker) bad(rule string) error { return &Error{Place: c.place(), Rule: rule} }

// signature says what an operator takes.
type signature struct {
	args []Kind // of the first arguments
	rest Kind   // of all further ones; empty: there are none
	gives
}

type gives struct {
	kind  Kind
	parts string // fields it has beside op and args, by name
}

var signatures = map[Op]signature{
	OpInput:       {nil, "", gives{KindRows, "name columns"}},
	OpJoin:        {[]Kind{KindRows, KindRows}, "", gives{KindRows, "keys left subject"}},
	OpFilter:      {[]Kind{KindRows, KindFlag}, "", gives{KindRows, ""}},
	OpLabel:       {[]Kind{KindRows}, "", gives{KindLabel, "name bin"}},
	OpBands:       {[]Kind{KindNumber}, "", gives{KindLabel, "consts"}},
	OpIn:          {[]Kind{KindLabel}, "", gives{KindFlag, "labels"}},
	OpAtLeast:     {[]Kind{KindNumber}, "", gives{KindFlag, "consts"}},
	OpAnd:         {[]Kind{KindFlag, KindFlag}, KindFlag, gives{KindFlag, ""}},
	OpOr:          {[]Kind{KindFlag, KindFlag}, KindFlag, gives{KindFlag, ""}},
	OpNot:         {[]Kind{KindFlag}, "", gives{KindFlag, ""}},
	OpColumn:      {[]Kind{KindRows}, "", gives{KindNumber, "name"}},
	OpConst:       {nil, "", gives{KindNumber, "consts"}},
	OpPoints:      {[]Kind{KindLabel}, "", gives{KindNumber, "points consts"}},
	OpSelect:      {[]Kind{KindFlag, KindNumber, KindNumber}, "", gives{KindNumber, ""}},
	OpGroup:       {[]Kind{KindRows}, "dims", gives{KindGroups, "names"}},
	OpCount:       {[]Kind{KindGroups}, "", gives{KindAggregate, ""}},
	OpSubjects:    {[]Kind{KindGroups}, "", gives{KindAggregate, ""}},
	OpSum:         {[]Kind{KindGroups, KindNumber}, "", gives{KindAggregate, ""}},
	OpMean:        {[]Kind{KindGroups, KindNumber}, "", gives{KindAggregate, ""}},
	OpVariance:    {[]Kind{KindGroups, KindNumber}, "", gives{KindAggregate, ""}},
	OpStdDev:      {[]Kind{KindGroups, KindNumber}, "", gives{KindAggregate, ""}},
	OpQuantile:    {[]Kind{KindGroups, KindNumber}, "", gives{KindAggregate, "rank"}},
	OpDot:         {[]Kind{KindGroups, KindNumber, KindNumber}, "", gives{KindAggregate, ""}},
	OpCovariance:  {[]Kind{KindGroups, KindNumber, KindNumber}, "", gives{KindAggregate, ""}},
	OpCorrelation: {[]Kind{KindGroups, KindNumber, KindNumber}, "", gives{KindAggregate, ""}},
	OpDistinct:    {[]Kind{KindGroups, KindLabel}, "", gives{KindAggregate, ""}},
	OpLinear:      {[]Kind{KindGroups, KindNumber, KindNumber}, KindNumber, gives{KindFit, ""}},
	OpLogistic:    {[]Kind{KindGroups, KindNumber, KindNumber}, KindNumber, gives{KindFit, ""}},
	OpReveal:      {[]Kind{KindGroups, KindAggregate}, KindAggregate, gives{KindSink, "name names"}},
	OpRevealModel: {[]Kind{KindFit}, "", gives{KindSink, "name"}},
}

// parts lists the fields of a node that are set.
func (n *Node) parts() []string {
	var out []string
	for _, f := range []struct {
		name string
		set  bool
	}{{"name", n.Name != ""}, {"bin", n.Bin != ""}, {"columns", n.Columns != nil}, {"keys", n.Keys != nil}, {"left", n.Left}, {"subject", n.Subject},
		{"labels", n.Labels != nil}, {"points", n.Points != nil}, {"consts", n.Consts != nil}, {"names", n.Names != nil}, {"rank", n.Rank != 0}} {
		if f.set {
			out = append(out, f.name)
		}
	}
	return out
}

// node gives the type of the node at hand.
func (c *checker) node() (Type, error) {
	n := c.n
	if len(n.Args) > MaxArgs {
		return Type{}, c.bad(fmt.Sprintf("has at most %d arguments", MaxArgs))
	}
	var args []Type
	var t Type
	for _, a := range n.Args {
		if a < 0 || a >= c.at {
			return Type{}, c.bad("takes earlier nodes")
		}
		x := c.t.Of[a]
		args = append(args, x)
		t.Inputs |= x.Inputs
		t.depth = max(t.depth, x.depth+1)
	}
	for _, d := range n.Consts {
		if !d.Valid() {
			return Type{}, c.bad(decimalRule)
		}
	}
	switch n.Op {
	case OpAdd, OpSub, OpMul, OpDiv, OpPoly, OpSigmoid:
		return c.arithmetic(t, args)
	}
	sig, ok := signatures[n.Op]
	if !ok {
		return Type{}, &Error{Place: fmt.Sprintf("node %d", c.at), Rule: "is one of the SDK's operators"}
	}
	if len(args) < len(sig.args) || sig.rest == "" && len(args) > len(sig.args) {
		return Type{}, c.bad(fmt.Sprintf("takes %d arguments", len(sig.args)))
	}
	for i, a := range args {
		want := sig.rest
		if i < len(sig.args) {
			want = sig.args[i]
		}
		if a.Kind != want && !(want == "dims" && (a.Kind == KindLabel || a.Kind == KindFlag)) {
			return Type{}, c.bad(fmt.Sprintf("argument %d is a %s, not a %s", i+1, want, a.Kind))
		}
	}
	for _, p := range n.parts() {
		if !slices.Contains(strings.Fields(sig.parts), p) {
			return Type{}, c.bad("has no " + p)
		}
	}
	t.Kind = sig.kind
	return c.operator(t, args)
}

func (c *checker) operator(t Type, args []Type) (Type, error) {
	n := c.n
	switch n.Op {
	case OpInput:
		return c.input(t)
	case OpJoin:
		return c.join(t, args)
	case OpFilter:
		if args[1].Inputs&^args[0].Inputs != 0 {
			return t, c.bad("uses columns of inputs that are among its rows")
		}
		t.Inputs = args[0].Inputs
	case OpAnd, OpOr, OpNot:
	case OpLabel, OpColumn:
		return c.column(t)
	case OpBands:
		if len(n.Consts) == 0 || len(n.Consts) > MaxLabels || !slices.IsSortedFunc(n.Consts, order) || duplicates(n.Consts) {
			return t, c.bad(fmt.Sprintf("has 1 to %d rising edges", MaxLabels))
		}
		return t, c.noOutcome(args)
	case OpIn:
		if len(n.Labels) == 0 || len(n.Labels) > MaxLabels || !slices.IsSorted(n.Labels) || duplicates(n.Labels) {
			return t, c.bad(fmt.Sprintf("has 1 to %d labels in their order, each once", MaxLabels))
		}
		for _, l := range n.Labels {
			if !printable(l) {
				return t, c.bad(textRule)
			}
		}
	case OpAtLeast:
		if len(n.Consts) != 1 {
			return t, c.bad("has one constant")
		}
		return t, c.noOutcome(args)
	case OpConst:
		if len(n.Consts) != 1 {
			return t, c.bad("has one constant")
		}
		t.Any = true
	case OpPoints:
		for i, p := range n.Points {
			if !printable(p.Label) || !p.Value.Valid() || i > 0 && n.Points[i-1].Label >= p.Label {
				return t, c.bad("points stand once a label, in the order of labels; " + textRule + "; " + decimalRule)
			}
		}
		if len(n.Consts) != 1 || len(n.Points) > MaxLabels {
			return t, c.bad(fmt.Sprintf("has at most %d points, and one constant for all other labels", MaxLabels))
		}
	case OpSelect:
		unit, any, ok := same(args[1], args[2])
		if !ok {
			return t, c.bad("both values have one unit")
		}
		t.Unit, t.Any = unit, any
		return t, c.noOutcome(args)
	case OpGroup:
		if len(n.Names) != len(args)-1 {
			return t, c.bad("names every grouping")
		}
		for i, a := range args[1:] {
			if !printable(n.Names[i]) || slices.Contains(n.Names[:i], n.Names[i]) {
				return t, c.bad("names stand once; " + textRule)
			}
			if a.Inputs&^args[0].Inputs != 0 {
				return t, c.bad("groups by columns of inputs that are among its rows")
			}
		}
		t.Inputs = args[0].Inputs
	case OpReveal:
		if len(n.Names) != len(args)-1 || len(n.Names) > MaxOutputs {
			return t, c.bad(fmt.Sprintf("names its columns, at most %d", MaxOutputs))
		}
		dims := c.g.Nodes[n.Args[0]].Names
		for i, a := range args[1:] {
			if !printable(n.Names[i]) || slices.Contains(n.Names[:i], n.Names[i]) || slices.Contains(dims, n.Names[i]) {
				return t, c.bad("names stand once, also among the groupings; " + textRule)
			}
			if a.Groups != n.Args[0] {
				return t, c.bad("reveals aggregates of its own groups")
			}
		}
		if !name(n.Name) {
			return t, c.bad(nameRule)
		}
	case OpRevealModel:
		if !name(n.Name) {
			return t, c.bad(nameRule)
		}
	default:
		return c.aggregate(t, args)
	}
	return t, nil
}

// aggregate types a measure over groups.
func (c *checker) aggregate(t Type, args []Type) (Type, error) {
	n := c.n
	if (n.Op == OpQuantile) != (n.Rank != 0) || n.Rank < 0 || n.Rank > 999 {
		return t, c.bad("a quantile has a rank, 1 to 999 thousandths")
	}
	if t.Inputs &^= args[0].Inputs; t.Inputs != 0 {
		return t, c.bad("measures columns of inputs that are among its rows")
	}
	t.Inputs, t.Groups = args[0].Inputs, n.Args[0]
	rest := args[1:]
	switch n.Op {
	case OpLinear, OpLogistic:
		if len(rest) > 9 {
			return t, c.bad("has an outcome and 1 to 8 regressors")
		}
		if len(c.g.Nodes[n.Args[0]].Names) > 0 {
			return t, c.bad("fits over all rows: its groups have no groupings")
		}
		if n.Op == OpLogistic {
			rest = rest[1:] // the outcome may be yes or no
		}
		return t, c.noOutcome(rest)
	case OpSum, OpMean, OpStdDev, OpQuantile:
		t.Unit = rest[0].Unit
	case OpVariance:
		t.Unit = times(rest[0].Unit, rest[0].Unit)
	case OpDot, OpCovariance:
		t.Unit = times(rest[0].Unit, rest[1].Unit)
	}
	return t, c.noOutcome(rest)
}

// arithmetic types what stands between numbers, or between aggregates.
func (c *checker) arithmetic(t Type, args []Type) (Type, error) {
	n := c.n
	for _, p := range n.parts() {
		if p != "consts" || n.Op != OpPoly {
			return t, c.bad("has no " + p)
		}
	}
	want := 2
	if n.Op == OpPoly || n.Op == OpSigmoid {
		want = 1
	}
	if len(args) != want {
		return t, c.bad(fmt.Sprintf("takes %d arguments", want))
	}
	t.Kind = KindNumber
	for i, a := range args {
		switch {
		case a.Kind == KindAggregate:
			if t.Kind == KindAggregate && t.Groups != a.Groups {
				return t, c.bad("takes aggregates of the same groups")
			}
			t.Kind, t.Groups = KindAggregate, a.Groups
		case a.Kind != KindNumber:
			return t, c.bad(fmt.Sprintf("argument %d is a number or an aggregate, not a %s", i+1, a.Kind))
		}
	}
	if t.Kind == KindAggregate {
		for _, a := range args {
			if a.Kind == KindNumber && !a.Any {
				return t, c.bad("takes aggregates and constants: a number is of rows")
			}
		}
	}
	switch n.Op {
	case OpAdd, OpSub:
		unit, any, ok := same(args[0], args[1])
		if !ok {
			return t, c.bad("takes numbers of one unit")
		}
		t.Unit, t.Any = unit, any
	case OpMul:
		t.Unit, t.Any = times(args[0].Unit, args[1].Unit), args[0].Any && args[1].Any
	case OpDiv:
		if t.Kind != KindAggregate {
			return t, c.bad("divides aggregates, not numbers of rows")
		}
		t.Unit = over(args[0].Unit, args[1].Unit)
	case OpPoly:
		if len(n.Consts) == 0 || len(n.Consts) > MaxDegree+1 {
			return t, c.bad(fmt.Sprintf("has 1 to %d coefficients", MaxDegree+1))
		}
		if args[0].Unit != "" && len(n.Consts) > 2 {
			return t, c.bad("of a degree above one takes a number without unit; multiply instead")
		}
		t.Unit = args[0].Unit
	case OpSigmoid:
		if args[0].Unit != "" {
			return t, c.bad("takes a number without unit")
		}
	}
	return t, c.noOutcome(args)
}

// noOutcome refuses a column of yes and no where a number is meant.
func (c *checker) noOutcome(args []Type) error {
	for i, a := range args {
		if a.Yes {
			return c.bad(fmt.Sprintf("argument %d: a bool column is the outcome of a logistic regression, or a label", i+1))
		}
	}
	return nil
}

func (c *checker) input(t Type) (Type, error) {
	n := c.n
	if len(c.t.Inputs) == MaxInputs {
		return t, &Error{Place: c.place(), Rule: fmt.Sprintf("at most %d inputs", MaxInputs), TooLarge: true}
	}
	if !name(n.Name) || slices.ContainsFunc(c.t.Inputs, func(i int) bool { return c.g.Nodes[i].Name == n.Name }) {
		return t, c.bad("an input's name stands once; " + nameRule)
	}
	if len(n.Columns) > MaxColumns {
		return t, &Error{Place: c.place(), Rule: fmt.Sprintf("declares at most %d columns", MaxColumns), TooLarge: true}
	}
	for i, col := range n.Columns {
		if !name(col.Name) || slices.ContainsFunc(n.Columns[:i], func(o Column) bool { return o.Name == col.Name }) {
			return t, c.bad("a column's name stands once; " + nameRule)
		}
		if !slices.Contains(columnTypes, col.Type) || col.Scale < 0 || col.Scale > MaxScale || col.Scale > 0 && col.Type != "number" {
			return t, c.bad("a column is text, int, money, number, date or bool; a number has 0 to 9 decimals")
		}
		if col.Unit != "" && (!printable(col.Unit) || strings.ContainsAny(col.Unit, "·/")) {
			return t, c.bad("a unit is one word; " + textRule)
		}
	}
	t.Inputs = 1 << len(c.t.Inputs)
	c.t.Inputs = append(c.t.Inputs, c.at)
	return t, nil
}

func (c *checker) join(t Type, args []Type) (Type, error) {
	n := c.n
	right := c.g.Nodes[n.Args[1]]
	if right.Op != OpInput {
		return t, c.bad("joins an input, before it is filtered")
	}
	if args[0].Inputs&args[1].Inputs != 0 {
		return t, c.bad("an input joins once")
	}
	if len(n.Keys) > 4 || n.Subject && len(n.Keys) == 0 || n.Keys != nil && len(n.Keys) == 0 {
		return t, c.bad("has at most 4 keys; the protected subject is joined by where there is none, or beside keys where it says so")
	}
	from := ""
	for _, k := range n.Keys {
		in, column, _ := strings.Cut(k.Left, ".")
		i := slices.IndexFunc(c.t.Inputs, func(i int) bool { return c.g.Nodes[i].Name == in })
		if i < 0 || args[0].Inputs>>i&1 == 0 || !declares(&c.g.Nodes[c.t.Inputs[i]], column) || !declares(&right, k.Right) {
			return t, c.bad("a key equates a declared column of the rows, written input.column, with one of the input")
		}
		if from != "" && from != in {
			return t, c.bad("joins one earlier input")
		}
		from = in
	}
	return t, nil
}

func (c *checker) column(t Type) (Type, error) {
	n := c.n
	in := &c.g.Nodes[n.Args[0]]
	if in.Op != OpInput {
		return t, c.bad("takes an input's column")
	}
	i := slices.IndexFunc(in.Columns, func(col Column) bool { return col.Name == n.Name })
	if i < 0 {
		return t, c.bad("names a column that the input declares")
	}
	if n.Op == OpLabel {
		if n.Bin != "" && !name(n.Bin) {
			return t, c.bad("a bin's name: " + nameRule)
		}
		return t, nil
	}
	switch col := in.Columns[i]; col.Type {
	case "int", "number":
		t.Unit = col.Unit
	case "money":
		if t.Unit = col.Unit; t.Unit == "" {
			t.Unit = "元"
		}
	case "bool":
		t.Yes = true
	default:
		return t, c.bad("a number is an int, money, number or bool column; a text or date has labels")
	}
	return t, nil
}

func declares(in *Node, column string) bool {
	return slices.ContainsFunc(in.Columns, func(c Column) bool { return c.Name == column })
}

// same gives the unit of two values that have one.
func same(a, b Type) (unit string, any, ok bool) {
	switch {
	case a.Any && b.Any:
		return "", true, true
	case a.Any:
		return b.Unit, false, true
	case b.Any:
		return a.Unit, false, true
	}
	return a.Unit, false, a.Unit == b.Unit
}

// times multiplies units, which are words joined by a dot in their order.
func times(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	if strings.Contains(a, "/") || strings.Contains(b, "/") {
		return a + "·" + b
	}
	w := append(strings.Split(a, "·"), strings.Split(b, "·")...)
	slices.Sort(w)
	return strings.Join(w, "·")
}

func over(a, b string) string {
	switch {
	case a == b:
		return ""
	case b == "":
		return a
	case a == "":
		return "1/" + b
	}
	return a + "/" + b
}

const (
	nameRule    = "a name is 1 to 64 of a-z, 0-9, '_' and '-', starting with a letter or digit"
	textRule    = "text is printable, 1 to 128 bytes"
	decimalRule = "a constant is a decimal of at most 15 digits before the point and 9 behind it"
)

// name is what the domain takes as an id.
func name(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '_' || s[0] == '-' {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

func printable(s string) bool {
	return s != "" && len(s) <= maxText && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func order(a, b Decimal) int { return a.Rat().Cmp(b.Rat()) }

func duplicates[T comparable](list []T) bool {
	seen := map[T]bool{}
	for _, v := range list {
		if seen[v] {
			return true
		}
		seen[v] = true
	}
	return false
}
