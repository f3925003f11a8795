package grant

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Bounds of one application.
const (
	MaxItems   = 64   // datasets in a data list
	MaxParties = 16   // partners, and insurers, of one scenario
	MaxModels  = 16   // scoring models of one scenario
	MaxRuns    = 1000 // runs of secret models of one scenario
	MaxText    = 4096 // bytes of one free text
)

// Fees (收费约定) is what the agreement says about money; prices themselves stand in the district's price book.
type Fees struct {
	Standard string `json:"standard"` // 费用标准: which price book or fee applies
	Method   string `json:"method"`   // 计费方式: how it is counted and settled
}

// Terms (协议条款) are the clauses a service agreement holds beside scenario, data list and term.
// 依据: 福田区公共数据授权运营暂行管理办法 第十九条; 光明区公共数据授权运营管理暂行办法 第十九条.
type Terms struct {
	Calling     string `json:"calling"`     // 数据调用方式
	Fees        Fees   `json:"fees"`        // 费用标准、计费方式
	Supervision string `json:"supervision"` // 责任及监督机制
	Secrecy     string `json:"secrecy"`     // 保密条款
}

// Application (场景申请) is what an operator or partner files.
type Application struct {
	ID          sandbox.ScenarioID `json:"id"`
	Title       string             `json:"title"`
	Applicant   sandbox.PartyID    `json:"applicant"`
	Operator    sandbox.PartyID    `json:"operator"`    // 运营机构: decides first; the applicant itself, or the one a partner works under
	Agency      sandbox.PartyID    `json:"agency"`      // 实施机构
	Purpose     string             `json:"purpose"`     // 用途 code; a question names exactly this one
	Description string             `json:"description"` // 应用场景 in words
	List        []sandbox.ListItem `json:"list"`        // 数据清单
	Partners    []sandbox.PartyID  `json:"partners,omitempty"`
	Insurers    []sandbox.PartyID  `json:"insurers,omitempty"` // 保险机构: may ask class B under a consent; customers, so they do not sign
	TermMonths  int                `json:"term_months"`
	Classes     []sandbox.Class    `json:"classes"` // 出域类别 asked for: A, B, D, E, F
	Terms       Terms              `json:"terms"`
	Models      []ModelUse         `json:"models,omitempty"` // 密态评分模型: beside the data list

	// PartnerRuns (保密模型运行次数) is how often operator and partners, all together, run secret models of their own over approved results; 0: never.
	PartnerRuns int64 `json:"partner_runs,omitempty"`
}

// ModelUse (模型使用) lets operator, partners and insurers of a scenario have customers of their own scored by an approved model of the
// domain, without showing them. Whoever scores more customers than a model has features learns it, together with whoever it pools with, and
// whoever sends made-up ciphertexts with half as many (an answer tells up to 47 bits): so the customers are bounded, of all the scenario's
// parties together.
type ModelUse struct {
	Model  sandbox.ModelID `json:"model"`
	PerDay int64           `json:"per_day"` // customers a day, Asia/Shanghai
	Total  int64           `json:"total"`   // customers over the grant's life
}

// unmade refuses a class that this domain makes nothing of, by its name, with what to ask for instead.
func unmade(c sandbox.Class) error {
	e := &sandbox.Error{Op: "grant: file", Kind: sandbox.Invalid, Object: "classes", Detail: "classes are A to F, and this domain makes all but C"}
	if c == sandbox.ClassC {
		e.Detail, e.Hint = "class C 标签或预警 has no checks in this domain", "ask for counts of people by label as class A, or for one consenting person's record as class B"
	}
	return e
}

func bad(object, rule string) error {
	return &sandbox.Error{Op: "grant: file", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// Validate checks an application against the catalogue. The error names the field, dataset or column and the rule.
// A list entry that no question could use is refused here, while it is cheap to correct.
func (a *Application) Validate(in map[sandbox.DatasetID]catalog.Dataset) error {
	return a.validate(in, nil)
}

func (a *Application) validate(in map[sandbox.DatasetID]catalog.Dataset, outside func(sandbox.DatasetID) bool) error {
	for _, id := range []struct{ what, id string }{
		{"scenario", string(a.ID)}, {"applicant", string(a.Applicant)}, {"operator", string(a.Operator)},
		{"agency", string(a.Agency)}, {"purpose", a.Purpose},
	} {
		if err := sandbox.CheckID(id.what, id.id); err != nil {
			return err
		}
	}
	for _, x := range []struct{ what, text string }{
		{"title", a.Title}, {"description", a.Description}, {"terms.calling", a.Terms.Calling}, {"terms.fees.standard", a.Terms.Fees.Standard},
		{"terms.fees.method", a.Terms.Fees.Method}, {"terms.supervision", a.Terms.Supervision}, {"terms.secrecy", a.Terms.Secrecy},
	} {
		if strings.TrimSpace(x.text) == "" || len(x.text) > MaxText || !utf8.ValidString(x.text) {
			return bad(x.what, fmt.Sprintf("a service agreement states it, in at most %d bytes (第十九条)", MaxText))
		}
	}
	if a.Operator == a.Agency {
		return bad("operator", "operator and agency are different parties")
	}
	seen := map[sandbox.PartyID]bool{a.Operator: true, a.Agency: true}
	for _, x := range []struct {
		what string
		list []sandbox.PartyID
	}{{"partners", a.Partners}, {"insurers", a.Insurers}} {
		if len(x.list) > MaxParties {
			return bad(x.what, fmt.Sprintf("at most %d", MaxParties))
		}
		for _, p := range x.list {
			if err := sandbox.CheckID(x.what, string(p)); err != nil {
				return err
			}
			if seen[p] {
				return bad(x.what, "each party has one part in a scenario")
			}
			seen[p] = true
		}
	}
	if a.Applicant != a.Operator && !slices.Contains(a.Partners, a.Applicant) {
		return bad("applicant", "the applicant is the operator or one of the partners")
	}
	if len(a.Classes) == 0 {
		return bad("classes", "an application asks for class A, B, D, E or F, or several")
	}
	for i, c := range a.Classes {
		if c != sandbox.ClassA && c != sandbox.ClassB && c != sandbox.ClassD && c != sandbox.ClassE && c != sandbox.ClassF {
			return unmade(c)
		}
		if slices.Contains(a.Classes[:i], c) {
			return bad("classes", "each class once")
		}
	}
	switch b := slices.Contains(a.Classes, sandbox.ClassB); {
	case b && len(a.Insurers) == 0, !b && len(a.Insurers) > 0 && len(a.Models) == 0:
		return bad("insurers", "class B names the insurers that may ask, and only class B or a scoring model does")
	}
	if err := a.validateModels(); err != nil {
		return err
	}
	if a.PartnerRuns < 0 || a.PartnerRuns > MaxRuns || a.PartnerRuns > 0 && !slices.Contains(a.Classes, sandbox.ClassA) {
		return bad("partner_runs", fmt.Sprintf("0 to %d runs, of a scenario that asks for class A", MaxRuns))
	}
	return a.validateList(in, outside)
}

// maxCustomers bounds what a scenario asks for of one model.
const maxCustomers = 1_000_000_000

func (a *Application) validateModels() error {
	if len(a.Models) > MaxModels {
		return bad("models", fmt.Sprintf("at most %d", MaxModels))
	}
	seen := map[sandbox.ModelID]bool{}
	for i, m := range a.Models {
		if err := sandbox.CheckID(fmt.Sprintf("model %d", i+1), string(m.Model)); err != nil {
			return err
		}
		at := "models " + string(m.Model)
		if seen[m.Model] {
			return bad(at, "a model is listed once")
		}
		seen[m.Model] = true
		if m.PerDay < 1 || m.Total < m.PerDay || m.Total > maxCustomers {
			return bad(at, fmt.Sprintf("customers a day are 1 at least and no more than in all, which are at most %d", maxCustomers))
		}
	}
	return nil
}

// Use finds what a scenario allows of a scoring model.
func (a *Application) Use(m sandbox.ModelID) (ModelUse, bool) {
	i := slices.IndexFunc(a.Models, func(x ModelUse) bool { return x.Model == m })
	if i < 0 {
		return ModelUse{}, false
	}
	return a.Models[i], true
}

func (a *Application) validateList(in map[sandbox.DatasetID]catalog.Dataset, outside func(sandbox.DatasetID) bool) error {
	if len(a.List) == 0 || len(a.List) > MaxItems {
		return bad("list", fmt.Sprintf("1 to %d datasets", MaxItems))
	}
	seen := map[sandbox.DatasetID]bool{}
	for _, item := range a.List {
		if err := sandbox.CheckID("list dataset", string(item.Dataset)); err != nil {
			return err
		}
		d, ok := in[item.Dataset]
		if !ok {
			return bad("list "+string(item.Dataset), "a listed dataset is registered")
		}
		if seen[item.Dataset] {
			return bad("list "+string(item.Dataset), "a dataset is listed once")
		}
		seen[item.Dataset] = true
		if len(item.Columns) == 0 || len(item.Columns) > catalog.MaxColumns {
			return bad("list "+string(item.Dataset), "a listed dataset names its columns")
		}
		columns := map[string]bool{}
		for _, r := range item.Columns {
			if err := sandbox.CheckID("list column of "+string(item.Dataset), r.Column); err != nil {
				return err
			}
			at := "list " + string(item.Dataset) + "." + r.Column
			if columns[r.Column] {
				return bad(at, "a column has one rule")
			}
			columns[r.Column] = true
			c, ok := d.Column(r.Column)
			if !ok {
				return bad(at, "a listed column is in the dataset")
			}
			if err := a.validateRule(at, r, &d, c, in, outside != nil && outside(d.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// owners lists the source units whose data are listed, sorted, each once.
func (a *Application) owners(in map[sandbox.DatasetID]catalog.Dataset) []sandbox.PartyID {
	var out []sandbox.PartyID
	for _, item := range a.List {
		out = append(out, in[item.Dataset].Unit)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// ListDigest (清单摘要) gives SM3 over the canonical data list: datasets, columns and what each rule lists sorted, so that two lists
// that allow the same have the same digest. Every field of a rule is in it, and so under the owner's signature.
func ListDigest(list []sandbox.ListItem) []byte {
	d := sm.Sum(sm.Frame([]byte("opdomain/list/v1"), canonical(sorted(list))))
	return d[:]
}

// AgreementDigest (协议摘要) gives SM3 over the whole filing: the application with its lists sorted, and the units that
// sign. It is what every party of the service agreement signs.
func AgreementDigest(a Application, units []sandbox.PartyID) []byte {
	a.List = sorted(a.List)
	a.Partners, a.Insurers, a.Classes = inOrder(a.Partners), inOrder(a.Insurers), inOrder(a.Classes)
	a.Models = slices.Clone(a.Models)
	slices.SortFunc(a.Models, func(x, y ModelUse) int { return strings.Compare(string(x.Model), string(y.Model)) })
	d := sm.Sum(sm.Frame([]byte("opdomain/agreement/v1"), canonical(a), canonical(inOrder(units))))
	return d[:]
}

// canonical writes v as JSON; struct order is fixed, so equal values give equal bytes.
func canonical(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("grant: identifiers and texts are always writable") // no type here has a failing encoder
	}
	return b
}

func inOrder[T ~string](in []T) []T {
	out := slices.Clone(in)
	slices.Sort(out)
	return out
}

func sorted(list []sandbox.ListItem) []sandbox.ListItem {
	out := make([]sandbox.ListItem, len(list))
	for i, item := range list {
		item.Columns = slices.Clone(item.Columns)
		for j := range item.Columns {
			r := &item.Columns[j]
			r.Uses, r.Funcs, r.Grantees, r.NoFilterOn = inOrder(r.Uses), inOrder(r.Funcs), inOrder(r.Grantees), inOrder(r.NoFilterOn)
		}
		slices.SortFunc(item.Columns, func(a, b sandbox.ColumnRule) int { return strings.Compare(a.Column, b.Column) })
		out[i] = item
	}
	slices.SortFunc(out, func(a, b sandbox.ListItem) int { return strings.Compare(string(a.Dataset), string(b.Dataset)) })
	return out
}
