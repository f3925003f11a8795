package algo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// Bounds of one graph. They keep a host's work small whatever an author records.
const (
	MaxBytes   = 256 << 10 // encoded
	MaxNodes   = 4096
	MaxDepth   = 64 // operators from an input to a sink
	MaxConsts  = 8192
	MaxInputs  = 8
	MaxColumns = 64 // declared, of one input
	MaxArgs    = 32 // of one operator
	MaxTables  = 8
	MaxOutputs = 64 // of one table
	MaxLabels  = 256
	MaxDegree  = 4 // of a polynomial
	maxText    = 128
)

// Op (算子) names an operator.
type Op string

// Operators, by what they give.
const (
	OpInput  Op = "input"  // 输入 → rows: Name, Columns
	OpJoin   Op = "join"   // 关联 rows, input → rows: Keys, Left, Subject
	OpFilter Op = "filter" // 筛选 rows, flag → rows

	OpLabel Op = "label" // 标签 input → label: Name a column, Bin
	OpBands Op = "bands" // 分段 number → label: Consts its edges

	OpIn      Op = "in"       // 属于 label → flag: Labels
	OpAtLeast Op = "at-least" // 不小于 number → flag: Consts[0]
	OpAnd     Op = "and"      // 且 flags → flag
	OpOr      Op = "or"       // 或 flags → flag
	OpNot     Op = "not"      // 非 flag → flag

	OpColumn Op = "column" // 字段 input → number: Name
	OpConst  Op = "const"  // 常数 → number: Consts[0]
	OpPoints Op = "points" // 赋分 label → number: Points, Consts[0] for all others
	OpSelect Op = "select" // 选择 flag, number, number → number

	// Of two numbers a number, of two aggregates, or an aggregate and a constant, an aggregate.
	OpAdd     Op = "add"     // 加
	OpSub     Op = "sub"     // 减
	OpMul     Op = "mul"     // 乘
	OpDiv     Op = "div"     // 除: aggregates only
	OpPoly    Op = "poly"    // 多项式: Consts, the constant term first
	OpSigmoid Op = "sigmoid" // S 形函数

	OpGroup Op = "group" // 分组 rows, labels or flags → groups: Names

	OpCount       Op = "count"       // 记录数 groups → aggregate
	OpSubjects    Op = "subjects"    // 人数 groups → aggregate
	OpSum         Op = "sum"         // 合计 groups, number → aggregate; so are the next
	OpMean        Op = "mean"        // 均值
	OpVariance    Op = "variance"    // 方差
	OpStdDev      Op = "stddev"      // 标准差
	OpQuantile    Op = "quantile"    // 分位数: Rank in thousandths
	OpDot         Op = "dot"         // 内积 groups, number, number → aggregate; so are the next
	OpCovariance  Op = "covariance"  // 协方差
	OpCorrelation Op = "correlation" // 相关系数
	OpDistinct    Op = "distinct"    // 去重计数 groups, label → aggregate

	OpLinear   Op = "linear"   // 线性回归 groups, outcome, regressors → fit
	OpLogistic Op = "logistic" // 逻辑回归 likewise

	OpReveal      Op = "reveal"       // 揭示 groups, aggregates: Name of the table, Names of its columns
	OpRevealModel Op = "reveal-model" // 揭示模型 fit: Name
)

// Graph (计算图) is a recorded Program. Nodes come before what uses them.
type Graph struct {
	SDK     string `json:"sdk"`
	Program string `json:"program"`
	Nodes   []Node `json:"nodes"`
}

// Node (节点) is one operator applied to earlier nodes.
type Node struct {
	Op      Op        `json:"op"`
	Args    []int     `json:"args,omitempty"`
	Name    string    `json:"name,omitempty"`
	Bin     string    `json:"bin,omitempty"`
	Columns []Column  `json:"columns,omitempty"`
	Keys    []Key     `json:"keys,omitempty"`
	Left    bool      `json:"left,omitempty"`
	Subject bool      `json:"subject,omitempty"`
	Labels  []string  `json:"labels,omitempty"`
	Points  []Point   `json:"points,omitempty"`
	Consts  []Decimal `json:"consts,omitempty"`
	Names   []string  `json:"names,omitempty"`
	Rank    int       `json:"rank,omitempty"`
}

// Column (字段声明) is a column that a Program needs of an input. The domain compares it with the catalogue.
type Column struct {
	Name  string `json:"name"`
	Type  string `json:"type"` // text, int, money, number, date, bool
	Scale int    `json:"scale,omitempty"`
	Unit  string `json:"unit,omitempty"`
}

// Key (关联键) equates a column of the rows so far, written "input.column", with one of the input that joins.
type Key struct {
	Left  string `json:"left"`
	Right string `json:"right"`
}

// Point (分值) is what a label is worth.
type Point struct {
	Label string  `json:"label"`
	Value Decimal `json:"value"`
}

// Encode gives the one encoding of a graph that Check accepts.
func (g *Graph) Encode() ([]byte, error) {
	if _, err := g.Check(); err != nil {
		return nil, err
	}
	return g.encode()
}

func (g *Graph) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(g); err != nil {
		return nil, &Error{Place: "graph", Rule: "has a JSON form"}
	}
	out := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if len(out) > MaxBytes {
		return nil, &Error{Place: "graph", Rule: fmt.Sprintf("is at most %d bytes", MaxBytes), TooLarge: true}
	}
	return out, nil
}

// Decode reads a graph and checks it. It takes the encoding that Encode gives and no other: two readers of the same bytes cannot see
// two graphs, and a digest of the bytes names the graph.
func Decode(b []byte) (*Graph, *Types, error) {
	if len(b) > MaxBytes {
		return nil, nil, &Error{Place: "graph", Rule: fmt.Sprintf("is at most %d bytes", MaxBytes), TooLarge: true}
	}
	if !utf8.Valid(b) {
		return nil, nil, &Error{Place: "graph", Rule: "is UTF-8"}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	g := new(Graph)
	if err := dec.Decode(g); err != nil {
		return nil, nil, &Error{Place: fmt.Sprintf("graph byte %d", dec.InputOffset()), Rule: "is the JSON object of a graph, without unknown keys"}
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, nil, &Error{Place: "graph", Rule: "ends with its encoding"}
	}
	t, err := g.Check()
	if err != nil {
		return nil, nil, err
	}
	if again, err := g.encode(); err != nil || !bytes.Equal(again, b) {
		return nil, nil, &Error{Place: "graph", Rule: "is in its one encoding"}
	}
	return g, t, nil
}

// Error (程序错误) says where a Program or graph breaks which rule. It never holds data: there is none yet.
type Error struct {
	Place    string // the author's file and line, or a node of the graph
	Rule     string
	TooLarge bool // a bound is passed
}

func (e *Error) Error() string { return "algo: " + e.Place + ": " + e.Rule }
