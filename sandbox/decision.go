package sandbox

// Reason (理由) is one cause of a refusal, known before any key opens. It names the column, the rule, the article and
// the smallest change that would pass; it never carries a value.
type Reason struct {
	Code    string `json:"code"`              // stable, e.g. "column.not-listed"
	Column  string `json:"column,omitempty"`  // dataset.column where one is at fault
	Rule    string `json:"rule"`              // the rule in words
	Article string `json:"article,omitempty"` // 依据: the clause it follows
	Change  string `json:"change,omitempty"`  // 最小修改: the smallest change that would pass
}

// Decision (决定) is the answer of a policy: a value, not an error. Refused when Reasons is not empty; Allow is set
// only by a complete evaluation, so the zero Decision denies.
type Decision struct {
	Allow   bool     `json:"allow"`
	Engine  Engine   `json:"engine,omitempty"`
	Class   Class    `json:"class,omitempty"`
	Reasons []Reason `json:"reasons,omitempty"` // in the published order of checks
}

// CodeWithheld is the one code an asker sees for every refusal that depends on data (统一拒绝码). Source: threat model, oracles.
const CodeWithheld = "answer.withheld"

// CodeConsent is the one code an insurer sees for every refusal of a consent lookup (统一授权拒绝码).
const CodeConsent = "consent.not-answered"
