// Package query holds the one way to ask for statistics (统计查询): a Spec over inputs, joins, filters, dimensions and
// measures, its strict decoding, its canonical encoding, and its derivation against a scenario's column rules before any
// key opens. 依据: 龙华区实施方案 三(三) 一场景一清单一授权, 九(二) 最小必要.
//
// Derive resolves every column a Spec names and checks the way it is used. What it accepts is a Derivation, which is all
// an engine needs and the only thing an engine runs; what it refuses is a list of Reasons in a fixed order, each with
// column, rule, article and the smallest change that would pass. Both depend on descriptions only, never on values, so
// they may be shown to the asker in full.
//
// What a question may do with a column is its owner's rule in the list (sandbox.ColumnRule), as far as the column's grade bears it
// (ColumnRule.Within). Over the whole question the strictest rule holds: the largest number of people and the smallest share go to
// the gate with the Derivation, whichever owner asked for them, and hold for the one cell over everything too. What the asker controls
// counts as a filter wherever it stands: groupings, the other columns of a measure, and joins that drop rows. Rows that the asker or an
// affiliate supplied are no input at all. A grouping of a value is a comparison with the edges its owner registered; their number is
// bounded in a question, and in a day where the owner says so.
//
// # Measures
//
// Every measure is exact over the rows of a cell; a missing value counts nowhere, of several columns a row counts where all are
// present. People are distinct protected subjects: ten rows of one person are one. "Adds" is what each person contributes, with the
// two largest and the sum, exact in 128 bits. The arithmetic is the same whatever the order of rows, batches and workers, so that equal
// questions on equal versions give equal bits. Under HE, ciphertexts of each unit are added and multiplied once, under MPC shares are
// also compared; what they give is held to the same evidence, of which HE has bounds only.
//
//	function     evidence for the gate                     arithmetic                         bits     HE              MPC
//	count        people; rows each adds                    int64                              exact    yes             yes
//	subjects     people                                    int64                              exact    no: distinct    yes: sort, compare
//	sum          people with a value; adds                 int64, checked, from 128 bits      exact    yes             yes
//	mean         people with a value; adds                 sum ÷ rows, half away from zero    exact    yes, divided    yes
//	distinct     people with a label; rows each adds       set of label codes                 exact    no              yes: listed
//	variance     people on the thinner side; adds; n − 1   Σx, Σx² in rationals, n − 1        exact    yes: squares    yes
//	stddev       people on the thinner side; adds; n − 1   integer root of the variance       exact    yes, rooted     yes
//	min          people who hold it; redacted              comparison                         exact    no              no: redacted
//	max          people who hold it; redacted              comparison                         exact    no              no: redacted
//	quantile     people on the thinner side; adds          order statistic, a value that is   exact    no              yes: sort
//	histogram    people and rows each adds, by label       int64 by label                     exact    yes: one-hot    yes
//	covariance   people on the thinner side; adds; n − 1   Σx, Σy, Σxy in rationals           exact    yes: products   yes
//	correlation  people on the thinner side; adds; n − 2   rational and integer root          exact    yes, divided    yes
//	ratio        people with both; adds to either sum      Σx ÷ Σy, half away from zero       exact    yes, divided    yes
//	dot          people with both; products add            Σxy in 64 bits, checked            exact    yes: products   yes
//	linear       thinner side; adds; n − parameters        moments, solved in rationals       exact    no: solved      no: solved
//	logistic     thinner side; adds; n − parameters        Newton in float64, fixed order     exact    no              no: solved
//	plain        never: rows do not leave as class A       –                                  –        no              no
//
// The thinner side is that of a quantile, or of the mean of any column that a variance, its kin or a regression is over: the people whose
// own mean lies there. A least or greatest value is redacted unless its rule calls it structural; a quantile leaves rounded to two digits. "Divided" and "rooted" mean that the sums are opened to the gate and the last step is taken there; Stops says what stops a question under HE.
//
// Units: a bin's edges and a measure's values are integers in the column's scaled unit (money in fen). Errors are *sandbox.Error of kind
// Invalid or TooLarge and name the place and the rule, never a filter value.
//
// It does not decide on roles, terms, hosting or engines (policy), does not read data (columnar), and has no text syntax other than JSON: package sql compiles SQL to it, outside the core.
package query

import "github.com/opdomain/opdomain/sandbox"

// Spec (查询规格) is a question. Column names are "alias.column".
type Spec struct {
	Scenario   sandbox.ScenarioID `json:"scenario"`
	Purpose    string             `json:"purpose"` // 用途 code, must equal the scenario's
	Inputs     []Input            `json:"inputs"`  // the first is scanned, the others are looked up by key
	Filters    []Filter           `json:"filters,omitempty"`
	Dimensions []Dimension        `json:"dimensions,omitempty"` // none: one cell over everything
	Measures   []Measure          `json:"measures"`
	Having     []Having           `json:"having,omitempty"` // after the gate: which published cells are shown
	Top        *Top               `json:"top,omitempty"`    // after the gate and Having
}

// Input (输入) is one dataset. Every input but the first names the inner or left equi-join that attaches it to an earlier one:
// by the protected subject (On empty), by declared join keys, or by both together (Subject): rows of one person under one
// record number. The looked-up side may hold several rows of one key: each pair of rows is a joined row.
type Input struct {
	Alias   string            `json:"alias"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version,omitempty"` // 0: current
	With    string            `json:"with,omitempty"`    // alias of the earlier input it joins
	Join    JoinKind          `json:"join,omitempty"`    // empty: inner
	On      []Key             `json:"on,omitempty"`
	Subject bool              `json:"subject,omitempty"` // 同一主体: beside On, the protected subject is equated too
}

// JoinKind (连接方式) says what becomes of rows that find no partner.
type JoinKind string

// LeftJoin (左连接) keeps a row that finds no partner; the joined input's columns are missing in it. Rows that find none are
// dropped otherwise.
const LeftJoin JoinKind = "left"

// BySubject says whether the join equates the protected subject of both sides.
func (i Input) BySubject() bool { return len(i.On) == 0 || i.Subject }

// Key (关联键) equates a column of the earlier input with one of this input.
type Key struct {
	Left  string `json:"left"`  // column of With
	Right string `json:"right"` // column of this input
}

// Filter (筛选条件) keeps rows whose column (public values) or bin label is In, or, if Not, is not in the list. Public
// values are written as they print: integers plain, money and numbers with all their decimals, dates as 2006-01-02,
// booleans as true or false. A null has the label catalog.Missing.
type Filter struct {
	Column string        `json:"column"`
	Bin    sandbox.BinID `json:"bin,omitempty"`
	In     []string      `json:"in"`
	Not    bool          `json:"not,omitempty"`
}

// Dimension (分组维度) groups by a registered bin, by a public column itself when Bin is empty, or, without a column, by the bands of a
// Score.
type Dimension struct {
	Column string        `json:"column,omitempty"`
	Bin    sandbox.BinID `json:"bin,omitempty"`
	Score  *Score        `json:"score,omitempty"`
	As     string        `json:"as"`
}

// Measure (度量) is one function over the rows of a cell. Column is empty for count and subjects. A function of several
// outputs names them "as.part": histogram by label, linear and logistic by "intercept", their regressors' names and "df".
type Measure struct {
	Func   sandbox.MeasureFunc `json:"func"`
	Column string              `json:"column,omitempty"`
	With   []string            `json:"with,omitempty"` // second column of covariance, correlation, ratio (its divisor); regressors
	Bin    sandbox.BinID       `json:"bin,omitempty"`  // of histogram; of distinct, unless the column is public
	Q      int                 `json:"q,omitempty"`    // of quantile: rank in thousandths, 1 to 999
	As     string              `json:"as"`
}

// Having (组筛选) shows only the published cells whose measure, a count or subjects, is at least so much. Suppressed cells stay
// listed as suppressed: a condition on them would tell what was hidden.
type Having struct {
	Measure string `json:"measure"` // its As
	AtLeast int64  `json:"at_least"`
}

// Top (前若干组) shows only the K published cells with the largest value of a measure, in that order; ties by labels.
type Top struct {
	By string `json:"by"` // As of a measure with one output
	K  int    `json:"k"`
}
