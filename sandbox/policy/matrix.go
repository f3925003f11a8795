package policy

import "github.com/opdomain/opdomain/sandbox"

// Form (数据形态) is what an engine may get of a column.
type Form string

const (
	Raw       Form = "raw"         // 原始列
	View      Form = "view"        // 脱敏视图
	KAnon     Form = "k-anonymous" // 去标识视图: k-anonymous
	Protected Form = "protected"   // 秘密分享或密文: shares or ciphertext, never plain
)

// Ruling (矩阵判定) is one cell of the matrix. The zero Ruling refuses.
type Ruling struct {
	Allow  bool
	Form   Form // what the engine gets
	Signed Form // what it gets with the owner's signature instead, "" for none
	Tier   int  // 隔离等级 of a jail that runs foreign code, 1 or 2; 0 where none runs
	Mark   bool // 接收方标记: the result carries a mark of its recipient
	Owner  bool // 数源单位签名: the owner signs this use
	Rule   string
}

// Matrix (计算方式矩阵) says what an engine may touch for a class of output, by hosting and by the column's grade; a
// personal column counts as grade 3 at least. Where two rows of the source differ the stricter wins: an operator-hosted
// domain (P2) opens grade 3 to nothing but MPC and HE, class B included, because whoever asks may also be root there.
//
// A model (class D) has two rows. One that the domain's own registered trainer fits is the domain engine's: no foreign code sees a value, so it is
// fitted on raw columns where class A may read them, grade 3 on P1 alone, grade 4 never, and two reviewers judge it always (egress). One that foreign
// code fits is Opaque's, which gets a view from grade 2 on.
// 依据: 龙华区公共数据资源授权运营实施方案(试行) 三(四)、六(三)2-3; hosting and the further rows are the product's position.
func Matrix(e sandbox.Engine, c sandbox.Class, h sandbox.Hosting, g sandbox.Grade, personal bool) Ruling {
	if personal {
		g = max(g, sandbox.Grade3)
	}
	if h != sandbox.P1 && h != sandbox.P2 || !g.Valid() {
		return Ruling{Rule: "hosting is P1 or P2 and a grade is 1 to 4"}
	}
	switch {
	case !gives(e, c):
		return Ruling{Rule: "this engine gives no output of this class"}
	case e == sandbox.MPC || e == sandbox.HE:
		return Ruling{Allow: true, Form: Protected}
	case g == sandbox.Grade4 && c == sandbox.ClassB:
		return Ruling{Rule: "grade 4 needs the owner's explicit legal basis beside the consent, which no scenario here carries"}
	case g == sandbox.Grade4:
		return Ruling{Rule: "grade 4 leaves no engine in plain"}
	case g == sandbox.Grade3 && h == sandbox.P2:
		return Ruling{Rule: "grade 3 and personal columns are opened on an agency-hosted domain (P1) only"}
	case g == sandbox.Grade1 && c == sandbox.ClassB:
		return Ruling{Rule: "class B is a person's record; public data of nobody need no consent"}
	}
	switch e {
	case sandbox.Map:
		if g == sandbox.Grade3 {
			return Ruling{Allow: true, Form: View, Signed: Raw, Tier: 1}
		}
		return Ruling{Allow: true, Form: Raw, Tier: 1}
	case sandbox.Opaque:
		return [...]Ruling{{}, {Allow: true, Form: Raw, Tier: 1}, {Allow: true, Form: View, Tier: 1}, {Allow: true, Form: KAnon, Tier: 2}}[g]
	}
	if c == sandbox.ClassE && g > sandbox.Grade1 {
		return Ruling{Allow: true, Form: KAnon, Mark: g == sandbox.Grade3, Owner: g == sandbox.Grade3}
	}
	return Ruling{Allow: true, Form: Raw}
}

// gives lists which classes an engine gives.
func gives(e sandbox.Engine, c sandbox.Class) bool {
	switch e {
	case sandbox.Domain:
		return c == sandbox.ClassA || c == sandbox.ClassB || c == sandbox.ClassD || c == sandbox.ClassE
	case sandbox.MPC, sandbox.HE:
		return c == sandbox.ClassA || c == sandbox.ClassC
	case sandbox.Map:
		return c == sandbox.ClassA
	case sandbox.Opaque:
		return c == sandbox.ClassD || c == sandbox.ClassF
	}
	return false
}
