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
	Linear      MeasureFunc = "linear"      // 线性回归: least squares, one output a coefficient and the degrees of freedom
	Logistic    MeasureFunc = "logistic"    // 逻辑回归: maximum likelihood, likewise
)

// MeasureFuncs lists every function in a fixed order.
var MeasureFuncs = []MeasureFunc{Count, Subjects, Sum, Mean, Plain, Distinct, Variance, StdDev, Min, Max, Quantile, Histogram,
	Covariance, Correlation, Ratio, Linear, Logistic}

// Measure (度量) describes one output of an Answer. Values are integers scaled by 10^Scale in Unit.
type Measure struct {
	Name  string      `json:"name"`
	Func  MeasureFunc `json:"func"`
	Unit  string      `json:"unit,omitempty"`
	Scale int         `json:"scale"`
}

// Cell (单元格) is one group of an Answer with the evidence the engine computed for it.
// Contributors and Contributions are aligned: Contributions[m][i] is what subject Contributors[i] adds to measure m
// (its row count for Count, 1 for Subjects, its sum for Sum and Mean), in the measure's scaled unit. Missing inputs do
// not make a contributor.
type Cell struct {
	Labels        []string
	Values        []int64
	Rows          int64   // rows in the cell
	NonMissing    []int64 // per measure: rows with a non-missing input
	Contributors  []uint32
	Contributions [][]int64
}

// Answer (统计结果) is what an engine computed, before the gate. It never leaves the domain: contributors index
// Population, the pseudonyms seen by this run in first-seen order. Cells are sorted by Labels.
type Answer struct {
	Dimensions []string
	Measures   []Measure
	Cells      []Cell
	Population []Pseudonym
	Inputs     []InputVersion
}

// String keeps cell values out of logs.
func (a *Answer) String() string { return "answer(" + strconv.Itoa(len(a.Cells)) + " cells, redacted)" }

// InputVersion (输入版本) is the dataset version an Answer was computed over.
type InputVersion struct {
	Dataset DatasetID `json:"dataset"`
	Version uint64    `json:"version"`
}
