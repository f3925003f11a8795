package sandbox

// Role (主体类型) is what a Party may be in a district.
// 依据: 福田区公共数据授权运营暂行管理办法 第三条; 龙华区实施方案 六(二)2.
type Role string

const (
	Agency   Role = "agency"   // 实施机构: reviews, admits, enrols; cannot ask
	Operator Role = "operator" // 运营机构: asks questions
	Partner  Role = "partner"  // 运营合作方: asks under the operator
	Insurer  Role = "insurer"  // 保险机构: asks about one consenting person
	Unit     Role = "unit"     // 数源单位: owns and pushes data
	Subject  Role = "subject"  // 数据主体: the person the data are about
	Auditor  Role = "auditor"  // 审计机构: reads evidence
)

// Valid says whether r is one of the roles above.
func (r Role) Valid() bool {
	switch r {
	case Agency, Operator, Partner, Insurer, Unit, Subject, Auditor:
		return true
	}
	return false
}

// Party (参与主体) is an organisation or person known to the domain.
type Party struct {
	ID         PartyID   `json:"id"`
	Role       Role      `json:"role"`
	Name       string    `json:"name"`
	Affiliates []PartyID `json:"affiliates,omitempty"` // 关联方: parties whose people may not review this party's results
}

// Affiliated says whether a and b are the same party or declared each other an affiliate (关联关系).
func Affiliated(a, b Party) bool {
	if a.ID == b.ID {
		return true
	}
	for _, x := range a.Affiliates {
		if x == b.ID {
			return true
		}
	}
	for _, x := range b.Affiliates {
		if x == a.ID {
			return true
		}
	}
	return false
}

// Duty (岗位) is what one Identity of a Party does.
type Duty string

const (
	Officer  Duty = "officer"  // 经办人: files, decides, signs agreements
	Reviewer Duty = "reviewer" // 审核人: votes on results leaving the domain
)

// Identity (数字身份) binds a signing and an encryption key, kept apart, to a Party.
// Keys are uncompressed SM2 points, 65 bytes (GB/T 32918.1).
type Identity struct {
	ID         IdentityID `json:"id"`
	Party      PartyID    `json:"party"`
	Duty       Duty       `json:"duty"`
	SignKey    []byte     `json:"sign_key"`
	EncryptKey []byte     `json:"encrypt_key"`
}
