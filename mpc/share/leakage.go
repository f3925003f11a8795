package share

// Op (算子) names an operator.
type Op string

// The operators. Those without a message leak nothing and have no entry in Leaks.
const (
	OpInput   Op = "input"
	OpAdopt   Op = "adopt"
	OpMul     Op = "mul"
	OpDot     Op = "dot"
	OpAnd     Op = "and"
	OpBits    Op = "bits"
	OpLT      Op = "lt"
	OpEQ      Op = "eq"
	OpVec     Op = "flags to integers"
	OpSelect  Op = "select"
	OpShuffle Op = "shuffle"
	OpSort    Op = "sort"
	OpScan    Op = "segmented scan"
	OpTop     Op = "segmented two largest"
	OpArrange Op = "arrange"
	OpPick    Op = "pick"
	OpTrunc   Op = "truncate"
	OpLess    Op = "less"
	OpVerify  Op = "verify"
	OpOpen    Op = "open"
)

// Leakage (泄露声明) is what an operator tells every party beside the public sizes it was called with.
type Leakage struct {
	Op        Op       `json:"op"`
	Sizes     []string `json:"sizes"`             // the public sizes that its messages follow
	Opened    string   `json:"opened,omitempty"`  // what is opened within, empty for nothing
	PerRow    int      `json:"per_row,omitempty"` // words opened within for a row and a key bit
	Once      int      `json:"once,omitempty"`    // words opened within for a row besides
	Malicious bool     `json:"malicious"`         // it has a check, and runs under MaliciousAbort
	Exact     bool     `json:"exact"`             // the result equals the plain one; else its doc states the error
}

// Leaks lists the operators that send messages.
func Leaks() []Leakage {
	rows := []string{"rows"}
	return []Leakage{
		{Op: OpInput, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpAdopt, Sizes: rows, Opened: "a random linear combination of each part, to the party that holds it too", Malicious: true, Exact: true},
		{Op: OpMul, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpDot, Sizes: []string{"rows", "results"}, Malicious: true, Exact: true},
		{Op: OpAnd, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpBits, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpLT, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpEQ, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpVec, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpSelect, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpShuffle, Sizes: []string{"rows", "columns"}, Malicious: true, Exact: true},
		{Op: OpSort, Sizes: []string{"rows", "columns", "key bits"}, Opened: "a uniformly random permutation for each key bit", PerRow: 1, Malicious: true, Exact: true},
		{Op: OpScan, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpTop, Sizes: []string{"rows", "columns"}, Malicious: true, Exact: true},
		{Op: OpArrange, Sizes: []string{"rows", "columns", "key bits"}, Opened: "a uniformly random permutation for each key bit, and two more", PerRow: 1, Once: 2, Malicious: true, Exact: true},
		{Op: OpPick, Sizes: []string{"rows", "columns", "picked rows"}, Opened: "where the picked rows come to stand in a uniformly random order", Once: 1, Malicious: true, Exact: true},
		{Op: OpTrunc, Sizes: rows},
		{Op: OpLess, Sizes: rows, Malicious: true, Exact: true},
		{Op: OpVerify, Sizes: []string{"products"}, Malicious: true, Exact: true},
		{Op: OpOpen, Sizes: rows, Opened: "the values, to every party", PerRow: 1, Malicious: true, Exact: true},
	}
}
