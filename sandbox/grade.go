package sandbox

import "strconv"

// Grade (数据分级) is the district level of a column or table, 1 public to 4.
// 依据: GB/T 43697-2024 附录; 龙华区实施方案 三(四): 一级公开, 二级低敏感, 三级及以上高敏感.
type Grade int

const (
	Grade1 Grade = 1 + iota // 一级: public
	Grade2                  // 二级: low sensitivity
	Grade3                  // 三级: high sensitivity, and every personal column
	Grade4                  // 四级: leaves no engine in plain
)

// Valid says whether g is 1 to 4.
func (g Grade) Valid() bool { return g >= Grade1 && g <= Grade4 }

func (g Grade) String() string { return strconv.Itoa(int(g)) }

// Hosting (托管方式) says who runs the domain's machine; it bounds what engines may open. Source: threat model, profiles.
type Hosting string

const (
	P1 Hosting = "P1" // 实施机构托管: the agency runs the machine, the operator has no shell on it
	P2 Hosting = "P2" // 运营机构托管: whoever asks may also be root
)

// Engine (计算方式) is how an answer is computed.
type Engine string

const (
	Domain Engine = "domain" // 域内计算: Spec or Program on the columnar engine, no foreign code
	MPC    Engine = "mpc"    // 多方安全计算
	HE     Engine = "he"     // 同态加密
	Map    Engine = "map"    // 逐人沙箱程序
	Opaque Engine = "opaque" // 不透明程序
)

// Class (出域类别) is the kind of an output; an unknown class never passes.
type Class string

const (
	ClassA Class = "A" // 统计结果: aggregates
	ClassB Class = "B" // 单一主体结果: one consenting subject's record
	ClassC Class = "C" // 标签或预警
	ClassD Class = "D" // 模型
	ClassE Class = "E" // 去标识数据集
	ClassF Class = "F" // 图表与文本
)
