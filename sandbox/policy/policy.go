package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Rules (规则版本) numbers the checks of this package; it changes when any of them does.
const Rules = "policy-7"

// Version (判定规则版本) names the checks and the district profile a decision was made under, an identifier such as
// "policy-7.longhua.2026.1". Votes and releases bind to it.
func Version(p profile.Profile) string { return Rules + "." + p.Name + "." + p.Version }

// The reasons of this package. Between class.not-granted and engine.* stand the reasons of query.Derive.
const (
	CodeIncomplete = "policy.incomplete"    // 判定要素不全
	CodeRole       = "role.may-not-ask"     // 主体类型不得提问
	CodeScenario   = "scenario.unknown"     // 无此场景
	CodeParty      = "scenario.not-a-party" // 非场景主体
	CodePending    = "grant.pending"        // 授权未完成
	CodeRefused    = "grant.refused"        // 不予授权
	CodeNotYet     = "grant.not-yet"        // 授权未生效
	CodeExpired    = "grant.expired"        // 授权到期
	CodeEnded      = "grant.ended"          // 授权终止
	CodePurpose    = "purpose.mismatch"     // 用途不符
	CodeClass      = "class.not-granted"    // 出域类别未授权
	CodeQuestion   = "question.invalid"     // 查询不合规
	CodeDataset    = "dataset.not-listed"   // 数据不在清单
	CodeUnknown    = "column.unknown"       // 无此字段
	CodeColumn     = "column.not-listed"    // 字段不在清单
	CodeGrantee    = "column.grantee"       // 字段限定使用方
	CodeUse        = "column.use"           // 字段使用方式不符
	CodeEngine     = "engine.class"         // 计算方式与类别不符
	CodeGrade      = "engine.grade"         // 分级限制
	CodeForm       = "engine.form"          // 数据形态限制
	CodeTier       = "engine.tier"          // 隔离等级不足
	CodeRaised     = "grade.raised"         // 级别高于授权时
	CodePerDay     = "column.per-day"       // 当日比较次数用尽
	CodeBits       = "bits.spent"           // 信息量预算用尽
	CodePrivacy    = "privacy.spent"        // 隐私预算用尽
)

// Order lists this package's codes in the published order of checks. The reasons of query.Derive stand where
// question.invalid to column.use do; those of consent.Order follow the last one in DecideClaim.
func Order() []string {
	return []string{CodeIncomplete, CodeRole, CodeScenario, CodeParty, CodePending, CodeRefused, CodeNotYet, CodeExpired, CodeEnded,
		CodePurpose, CodeClass, CodeQuestion, CodeDataset, CodeUnknown, CodeColumn, CodeGrantee, CodeUse, CodeEngine, CodeGrade, CodeForm, CodeTier, CodeRaised, CodePerDay, CodeBits, CodePrivacy}
}

const (
	listLaw    = "龙华区公共数据资源授权运营实施方案(试行) 三(三) 一场景一清单一授权"
	sceneLaw   = "福田区公共数据授权运营暂行管理办法 第二十一条 不得用于未经审核的应用场景"
	roleLaw    = "龙华区公共数据资源授权运营实施方案(试行) 六(二)2 不得二次授权或转授权"
	grantLaw   = "福田区公共数据授权运营暂行管理办法 第十八条、第十九条"
	gradeLaw   = "龙华区公共数据资源授权运营实施方案(试行) 三(四)、六(三)3"
	raisedLaw  = "GB/T 43697-2024 就高从严; 福田区公共数据资源授权运营实施方案(试行)(征求意见稿) 五(一)3 补充协议"
	consentLaw = "福田区公共数据资源授权运营实施方案(试行)(征求意见稿) 二(二)1(2) 数据主体、数源部门双授权"
)

// Facts (判定要素) is all a decision depends on beside the question.
type Facts struct {
	Now       time.Time
	Hosting   sandbox.Hosting
	Profile   *profile.Profile
	Asker     sandbox.Party
	Scenarios map[sandbox.ScenarioID]*grant.Scenario // at least the one asked under
	Datasets  map[sandbox.DatasetID]catalog.Dataset  // at least those asked for
	Engine    sandbox.Engine                         // how the answer would be computed
	BitsUsed  int64                                  // charged to the grant so far
	Draws     int                                    // releases under differential privacy that nobody drew before
	Spent     map[sandbox.DatasetID]sandbox.Privacy  // of the datasets behind a question under differential privacy, over all askers
	Lacks     map[string]string                      // by tier of the jail: "" where the machine has every layer of it, else which it lacks; a tier that is not named is not there
	Compared  map[string]int64                       // dataset.column: groupings its values were held to under the grant today
}

// reasons collects in the order of the checks.
type reasons []sandbox.Reason

func (r *reasons) no(code, column, rule, article, change string) {
	*r = append(*r, sandbox.Reason{Code: code, Column: column, Rule: rule, Article: article, Change: change})
}

// Decide says whether a statistical question (class A) may be computed. It stops at the first reason that makes the next
// check meaningless (no facts, role, scenario, party) and otherwise gives every reason, so that one correction is enough.
func Decide(f Facts, s query.Spec) sandbox.Decision {
	decision, _ := Evaluate(f, s)
	return decision
}

// Evaluate is Decide, and gives the derivation that an engine runs, complete exactly where the decision rests on no other refusal of
// query.Derive.
func Evaluate(f Facts, s query.Spec) (sandbox.Decision, query.Derivation) {
	return EvaluateFor(f, s, sandbox.ClassA)
}

// EvaluateFor is Evaluate of what the domain engine makes of a question: its answer (class A), or the model that it asks for (class D). A model is held to every
// check that an answer is, for its own class.
func EvaluateFor(f Facts, s query.Spec, c sandbox.Class) (sandbox.Decision, query.Derivation) {
	decision, d, _ := evaluate(f, s, c)
	return decision, d
}

// complete says whether every fact a decision needs is there.
func (f *Facts) complete(why *reasons) bool {
	switch {
	case f.Now.IsZero(), f.Profile == nil, f.Profile != nil && f.Profile.Bits.PerQuestion.Value < 1,
		f.Hosting != sandbox.P1 && f.Hosting != sandbox.P2, f.Engine == "", f.Asker.ID == "":
		why.no(CodeIncomplete, "", "time, hosting, district profile, engine and asker are known", "拒绝优先: what is not known is not allowed", "have the domain's operator complete its configuration")
		return false
	}
	return true
}

func (f *Facts) scenario(why *reasons, id sandbox.ScenarioID) *grant.Scenario {
	g := f.Scenarios[id]
	if g == nil || g.ID != id {
		why.no(CodeScenario, "", "a question names a filed scenario", listLaw, "file a scenario, or name one that is")
		return nil
	}
	return g
}

// granted checks the grant and its purpose.
func (f *Facts) granted(why *reasons, g *grant.Scenario, purpose string) {
	switch state := g.At(f.Now); {
	case state == grant.Refused:
		why.no(CodeRefused, "", "the scenario was refused", grantLaw, "file it again without what it was refused for")
	case state == grant.Expired:
		why.no(CodeExpired, "", "the grant's term is over", grantLaw, "file the scenario again")
	case state == grant.Ended:
		why.no(CodeEnded, "", "the grant was ended by the agency", grantLaw, "file the scenario again")
	case state != grant.Granted:
		why.no(CodePending, "", fmt.Sprintf("every step is approved and every party has signed; the scenario is %s", state), grantLaw, "wait for the open step; silence is never consent")
	case !g.Live(f.Now):
		why.no(CodeNotYet, "", "the grant's term has not begun", grantLaw, "ask from its first second on")
	}
	if purpose != g.Purpose {
		why.no(CodePurpose, "", "a question is asked for the purpose its scenario was granted for, not for another scenario's", sceneLaw,
			fmt.Sprintf("ask with the purpose %q, or under the scenario filed for yours", g.Purpose))
	}
}

// inForce checks what holds for every class: the grant, the purpose and the class.
func (f *Facts) inForce(why *reasons, g *grant.Scenario, purpose string, c sandbox.Class) {
	f.granted(why, g, purpose)
	if !slices.Contains(g.Classes, c) {
		why.no(CodeClass, "", fmt.Sprintf("the scenario was granted for other classes of output than %s", c), sceneLaw, fmt.Sprintf("file a scenario that asks for class %s", c))
	}
}

// columns holds every column a question opens to the matrix and the district's limit. The protected subject is opened as
// a pseudonym to count by, so it counts as used with the grade of its column.
func (f *Facts) columns(why *reasons, class sandbox.Class, d query.Derivation) {
	change, counted := "ask without this column, or compute under MPC or HE", "compute under MPC or HE: every answer counts this subject"
	if class == sandbox.ClassD { // neither trains
		change, counted = "ask without this column", "ask for the model where the agency hosts the domain (P1): whose rows they are is always read"
	}
	for _, c := range d.Columns {
		f.column(why, class, c.Column, c.Grade, c.Personal, change)
	}
	for i := range d.Inputs {
		in := &d.Inputs[i]
		c, ok := in.Described.Column(in.Described.Subject)
		if !ok || !in.Subject {
			continue
		}
		at := string(in.Dataset) + "." + c.Name
		if !slices.ContainsFunc(d.Columns, func(x query.DerivedColumn) bool { return x.Column == at }) {
			f.column(why, class, at, c.Effective(), c.Personal, counted)
		}
	}
}

// agreed holds a column to the level it had when the scenario was filed: parties that agreed on less have not agreed on this.
func agreed(why *reasons, g *grant.Scenario, at string, grade sandbox.Grade, personal bool) {
	l, ok := g.Listed(at)
	if !ok || l.Covers(grade, personal) {
		return
	}
	rule := fmt.Sprintf("the column was of grade %d when the scenario was filed and is of grade %d now", l.Grade, grade)
	if grade <= l.Grade {
		rule = "the column was not personal when the scenario was filed and is now"
	}
	why.no(CodeRaised, at, rule, raisedLaw, "ask without this column, or file the scenario again, which the agency and the units decide on")
}

// column holds one column to the matrix, then to the district's own limit.
func (f *Facts) column(why *reasons, class sandbox.Class, at string, g sandbox.Grade, personal bool, change string) {
	r := Matrix(f.Engine, class, f.Hosting, g, personal)
	switch {
	case !r.Allow:
		why.no(CodeGrade, at, r.Rule, gradeLaw, change)
		return
	case r.Form != Raw && r.Form != Protected:
		why.no(CodeForm, at, fmt.Sprintf("this engine gets the column as %s only", r.Form), gradeLaw, "ask without this column, or through the domain engine")
		return
	}
	limit := f.Profile.Engine.MaxGradeP1
	if f.Hosting == sandbox.P2 {
		limit = f.Profile.Engine.MaxGradeP2
	}
	if personal {
		g = max(g, sandbox.Grade3)
	}
	if r.Form == Raw && g > limit.Value {
		why.no(CodeGrade, at, fmt.Sprintf("the district opens columns up to grade %d here", limit.Value), limit.Article, change)
	}
}

// engine checks once that the engine gives the class at all; without that no column can be judged.
func (f *Facts) engine(why *reasons, class sandbox.Class) bool {
	if !gives(f.Engine, class) {
		why.no(CodeEngine, "", fmt.Sprintf("this engine gives no output of class %s", class), gradeLaw, "use the domain engine")
		return false
	}
	return true
}

// ClaimQuestion (单一主体查询) is a question about one person's claim, resolved inside the domain.
type ClaimQuestion struct {
	Scenario sandbox.ScenarioID
	Purpose  string
	Dataset  sandbox.DatasetID
	Fields   []string
	Subject  sandbox.IdentityID // whom it is about
	Claim    []byte             // commitment, see consent.Commitment
	Consent  consent.Record     // the one the asker names; zero if there is none
}

// DecideClaim says whether one consenting person's record (class B) may be answered: the same checks, every field listed
// for consent, then the consent. Both authorisations must be there, the unit's by the grant and the person's by the
// receipt. It spends no bit budget: without a live consent nothing about data is answered, and the receipt bounds its uses.
func DecideClaim(f Facts, q ClaimQuestion) sandbox.Decision {
	var why reasons
	refuse := func() sandbox.Decision {
		return sandbox.Decision{Engine: f.Engine, Class: sandbox.ClassB, Reasons: why}
	}
	if !f.complete(&why) {
		return refuse()
	}
	if f.Asker.Role != sandbox.Insurer {
		why.no(CodeRole, "", fmt.Sprintf("an insurer asks about a person, not the role %q", f.Asker.Role), roleLaw, "have the scenario's insurer ask")
		return refuse()
	}
	g := f.scenario(&why, q.Scenario)
	if g == nil {
		return refuse()
	}
	if !slices.Contains(g.Insurers, f.Asker.ID) {
		why.no(CodeParty, "", "the asker is not an insurer of this scenario, and no right is passed on", roleLaw, "ask under a scenario that names you, or have one filed")
		return refuse()
	}
	f.inForce(&why, g, q.Purpose, sandbox.ClassB)
	f.fields(&why, g, q)
	order := Order() // fields are judged one by one, reasons stand by check
	slices.SortStableFunc(why, func(a, b sandbox.Reason) int { return slices.Index(order, a.Code) - slices.Index(order, b.Code) })
	if reason, ok := consent.Check(q.Consent, consent.ClaimCheck{Subject: q.Subject, Grantee: f.Asker.ID, Scenario: q.Scenario, Purpose: q.Purpose,
		Dataset: q.Dataset, Fields: q.Fields, Claim: q.Claim, At: f.Now}); !ok {
		why = append(why, reason)
	} else if f.Datasets[q.Dataset].Unit != q.Consent.Receipt.Unit {
		why.no(consent.CodeDataset, "", "the consent names another owner of the dataset", consentLaw, "ask the person for a new consent")
	}
	if len(why) > 0 {
		return refuse()
	}
	return sandbox.Decision{Allow: true, Engine: f.Engine, Class: sandbox.ClassB}
}

// fields checks each field of a claim question against dataset, list and matrix. The record is a person's, so each
// column counts as personal.
func (f *Facts) fields(why *reasons, g *grant.Scenario, q ClaimQuestion) {
	if len(q.Fields) == 0 || len(q.Fields) > consent.MaxFields {
		why.no(CodeQuestion, "", fmt.Sprintf("a question about a person names 1 to %d fields", consent.MaxFields), consentLaw, "name the fields that are needed")
		return
	}
	item, ok := g.Item(q.Dataset)
	d, known := f.Datasets[q.Dataset]
	if !ok || !known {
		why.no(CodeDataset, string(q.Dataset), "a question names datasets of its scenario's list only", listLaw, "ask for a listed dataset")
		return
	}
	able := f.engine(why, sandbox.ClassB)
	for i, name := range q.Fields {
		at := string(q.Dataset) + "." + name
		c, exists := d.Column(name)
		rule, listed := item.Rule(name)
		switch {
		case slices.Contains(q.Fields[:i], name):
			why.no(CodeQuestion, at, "a field is named once", consentLaw, "name each field once")
		case sandbox.CheckID("field", name) != nil:
			why.no(CodeUnknown, "", "a field is a column of the dataset", listLaw, "name columns as the catalogue lists them")
		case !exists:
			why.no(CodeUnknown, at, "a field is a column of the dataset", listLaw, "name columns as the catalogue lists them")
		case !listed:
			why.no(CodeColumn, at, "a column stands in the scenario's list", listLaw, "ask without "+at+", or have its unit add it to the list")
		case !rule.AllowsParty(f.Asker.ID):
			why.no(CodeGrantee, at, "the list gives this column to certain parties of the scenario, and the asker is none of them", listLaw,
				"ask without "+at+", or have its unit add the asker to its grantees")
		case !rule.Allows(sandbox.UseConsent):
			why.no(CodeUse, at, "the list does not allow this column in an answer about a person", listLaw, "ask without "+at+", or have its unit add \"consent\" to its uses")
		case able:
			f.column(why, sandbox.ClassB, at, c.Effective(), true, "ask without this column")
			agreed(why, g, at, c.Effective(), c.Personal)
		}
	}
}
