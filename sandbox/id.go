package sandbox

import "strings"

// Typed identifiers. Each is 1 to 64 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit, so
// that an identifier can stand in a path, a log line and a statement without escaping. They never carry personal data.
type (
	// PartyID names a Party (参与主体).
	PartyID string
	// IdentityID names an Identity (数字身份), the key pair a person or system signs with.
	IdentityID string
	// DatasetID names a Dataset (数据资源).
	DatasetID string
	// ScenarioID names a Scenario (应用场景).
	ScenarioID string
	// GrantID names a Grant (授权).
	GrantID string
	// BinID names a registered Bin (登记分组).
	BinID string
	// QuestionID names one Question (查询请求) put to the domain.
	QuestionID string
	// RunID names one Run (运行记录): a push, a computation or a claim query.
	RunID string
	// ReleaseID names a Release (出域结果).
	ReleaseID string
	// ConsentID names a Receipt (个人授权凭证).
	ConsentID string
	// InvoiceID names an Invoice (账单).
	InvoiceID string
	// TemplateID names a standing template (常设模板) of the gate.
	TemplateID string
	// AlgorithmID names one version of an algorithm (算法版本), "name-1.0.0".
	AlgorithmID string
	// ModelID names one version of a scoring model (评分模型版本), "name-1.0.0".
	ModelID string
	// KeyID names a key (密钥标识) of the domain.
	KeyID string
)

// CheckID says whether s is a well-formed identifier; what names its place in the error.
func CheckID(what, s string) error {
	ok := s != "" && len(s) <= 64
	for i := 0; ok && i < len(s); i++ {
		c := s[i]
		alnum := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		ok = alnum || i > 0 && (c == '.' || c == '_' || c == '-')
	}
	if ok && !strings.Contains(s, "..") {
		return nil
	}
	return &Error{Op: "check", Kind: Invalid, Object: what,
		Detail: "an identifier is 1 to 64 of a-z, 0-9, '.', '_', '-', starting with a letter or digit"}
}
