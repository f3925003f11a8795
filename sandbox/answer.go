package sandbox

import "strconv"

// Pseudonym (域内假名) stands for one protected subject inside the domain: keyed, never leaves, grade 4.
type Pseudonym [16]byte

// String keeps pseudonyms out of logs and errors.
func (Pseudonym) String() string { return "pseudonym(redacted)" }

// GoString keeps pseudonyms out of %#v.
func (Pseudonym) GoString() string { return "pseudonym(redacted)" }

// MeasureFunc (度量函数) is what a measure computes.
type MeasureFunc string

const (
	Count    MeasureFunc = "count"    // 记录数: rows in the cell
	Subjects MeasureFunc = "subjects" // 人数: distinct protected subjects
	Sum      MeasureFunc = "sum"      // 合计
	Mean     MeasureFunc = "mean"     // 均值: sum ÷ non-missing rows, rounded half away from zero at the column's scale
	Plain    MeasureFunc = "plain"    // 原值: a raw column; can be written, is always refused for class A

	Distinct    MeasureFunc = "distinct"    // 去重计数: distinct labels of a public column or a registered bin
	Variance    MeasureFunc = "variance"    // 方差: of the sample, over n-1
	StdDev      MeasureFunc = "stddev"      // 标准差: its square root
	Min         MeasureFunc = "min"         // 最小值
	Max         MeasureFunc = "max"         // 最大值
	Quantile    MeasureFunc = "quantile"    // 分位数: the smallest value that at least q of the values do not exceed
	Histogram   MeasureFunc = "histogram"   // 直方图: rows for each label of a registered bin, one output a label
	Covariance  MeasureFunc = "covariance"  // 协方差: of the sample, over n-1
	Correlation MeasureFunc = "correlation" // 相关系数: Pearson's
	Ratio       MeasureFunc = "ratio"       // 比值: a sum by another sum
	Dot         MeasureFunc = "dot"         // 内积: the sum of the products of two columns, or of a column's squares
	Linear      MeasureFunc = "linear"      // 线性回归: least squares, one output a coefficient and the degrees of freedom
	Logistic    MeasureFunc = "logistic"    // 逻辑回归: maximum likelihood, likewise
)

// Score (保密模型评分) is what a partner's secret linear model makes of a group's averages. No question asks it: it stands in the results of such runs alone.
const Score MeasureFunc = "score"

// MeasureFuncs lists every function that a question may ask in a fixed order.
var MeasureFuncs = []MeasureFunc{Count, Subjects, Sum, Mean, Plain, Distinct, Variance, StdDev, Min, Max, Quantile, Histogram,
	Covariance, Correlation, Ratio, Dot, Linear, Logistic}

// Additive says whether the contributions of a cell's people add up to its value, so that cells of one question add up to
// their total.
func (f MeasureFunc) Additive() bool {
	return f == Count || f == Subjects || f == Sum || f == Histogram || f == Dot
}

// Measure (度量) describes one output of an Answer. Values are integers scaled by 10^Scale in Unit. Part names the output of a
// function that has several: a label of a histogram; of a regression "intercept", a regressor's column or "df".
type Measure struct {
	Name  string      `json:"name"`
	Func  MeasureFunc `json:"func"`
	Part  string      `json:"part,omitempty"`
	Unit  string      `json:"unit,omitempty"`
	Scale int         `json:"scale"`

	Structural bool `json:"structural,omitempty"` // of an extreme: its owner's rule says that it follows from the column's definition, so it may leave

	Noise Mechanism `json:"noise,omitzero"` // of a result: how its values were protected; absent: they are exact
}

// Cell (单元格) is one group of an Answer with the evidence the engine computed for it.
// Contributors and Contributions are aligned: Contributions[m][i] is what subject Contributors[i] adds to output m, in its
// column's scaled unit: its row count for Count, Distinct and a label of a Histogram, 1 for Subjects, its sum of products for Dot, and for
// every other function its sum of the first column over the rows that count. Missing inputs do not make a contributor.
//
// Thin[m] is, for functions that are not additive, the fewest distinct subjects that the value rests on from any side: of a
// quantile those with a value up to it, or from it on; of an extreme those who hold it; of variance and its kin and of regressions, for
// each of their columns, the outcome too, those whose own mean is above the cell's, and those whose is below, or the residual degrees of
// freedom, where these are fewer: 0 where a column is the same for everybody.
type Cell struct {
	Labels        []string
	Values        []int64
	None          []bool  // per measure: there is no value, whatever Values says; nil: every measure has one
	Rows          int64   // rows in the cell
	NonMissing    []int64 // per measure: rows with no missing input
	Contributors  []uint32
	Contributions [][]int64
	Divisors      [][]int64 // per measure, of a Ratio: what each adds to the divisor; nil otherwise
	Thin          []int64   // per measure; nil when all are additive or means
}

// Missing says whether output m has no value.
func (c *Cell) Missing(m int) bool { return c.None != nil && c.None[m] }

// Answer (统计结果) is what an engine computed, before the gate. It never leaves the domain: contributors index
// Population, the pseudonyms seen by this run in first-seen order. Cells are sorted by Labels.
type Answer struct {
	Dimensions []string
	LabelUnits []string // per dimension: the unit its labels count in, where they are amounts
	Measures   []Measure
	Sources    [][]string // per measure: the "dataset.column" it is taken over, of a histogram with bin and label
	Shown      Shown
	Cells      []Cell
	Population []Pseudonym
	Holdings   []uint32 // per person of the Population: the holding, group of firms or household it belongs to; nil: each is its own
	Inputs     []InputVersion
}

// Shown (展示条件) selects, after the gate, among the cells that may leave. Suppressed cells stay listed as such: a condition on
// them would tell what was hidden.
type Shown struct {
	AtLeast []Least `json:"at_least,omitempty"`
	Top     *Top    `json:"top,omitempty"`
}

// Least (下限) shows the cells in which a measure is at least so much.
type Least struct {
	Measure string `json:"measure"`
	Value   int64  `json:"value"`
}

// Top (前若干组) shows the K cells in which a measure is largest, in that order; equal ones by their labels, those without a value
// last.
type Top struct {
	Measure string `json:"measure"`
	K       int    `json:"k"`
}

// String keeps cell values out of logs.
func (a *Answer) String() string { return "answer(" + strconv.Itoa(len(a.Cells)) + " cells, redacted)" }

// InputVersion (输入版本) is the dataset version an Answer was computed over.
type InputVersion struct {
	Dataset DatasetID `json:"dataset"`
	Version uint64    `json:"version"`
}
