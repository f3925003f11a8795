package query

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Derivation (字段推导) is a Spec with every column resolved and its use found allowed. An engine opens the columns named
// here and no others (最小必要). Only Derive makes a complete one.
type Derivation struct {
	Spec     Spec
	Inputs   []DerivedInput  // as in Spec.Inputs
	Columns  []DerivedColumn // every column used, by dataset and name
	Highest  sandbox.Grade   // strictest effective grade of Columns; at least 1
	Personal bool            // some column of Columns is personal information

	// What the owners' rules ask of the gate beside the district's thresholds, the strictest of all columns used and of the protected
	// subject's; 0 where no rule says. They hold for every cell, the one over everything too.
	MinSubjects int
	MaxShare    int // percent
	PPercent    int // percent
	Prior       int // percent
	MaxBits     int

	// Noise is the strictest noise rule of the columns used and of the protected subject's.
	Noise sandbox.Noise

	complete bool
	asker    sandbox.Party      // whom it was derived for
	list     []sandbox.ListItem // by which rules
}

// Complete says whether Derive accepted the whole question. The zero Derivation is not.
func (d Derivation) Complete() bool { return d.complete }

// Holding (控股集团字段) is a column that says who controls a dataset's subjects.
type Holding struct {
	Dataset sandbox.DatasetID
	Column  string
}

// Holdings names the columns of the datasets used whose subject is the row's that say who controls it, where their owners named one. They
// are opened for the gate, which judges what a holding adds as one contributor's; no question uses them by that.
func (d Derivation) Holdings() []Holding {
	var out []Holding
	for i, in := range d.Inputs {
		h := Holding{in.Dataset, in.Described.Holding}
		if h.Column != "" && (i == 0 || in.Same) && !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}

// DerivedInput (推导输入) is one input with its description and the columns that must be opened.
type DerivedInput struct {
	Input
	Described catalog.Dataset
	Needed    []string // columns to open, sorted; the subject column is never opened
	Subject   bool     // the pseudonym is needed: the first input, and both sides of a join by subject
	Same      bool     // its subject is the protected subject of the row
}

// DerivedColumn (推导字段) says how one column is used.
type DerivedColumn struct {
	Column   string // dataset.column
	Title    string
	Type     catalog.Type
	Grade    sandbox.Grade // effective: the stricter of declared and detected
	Personal bool
	Uses     []sandbox.Use
	Funcs    []sandbox.MeasureFunc
	Bins     []sandbox.BinID
	Itself   bool               // grouped or filtered by itself, a public column
	Maps     int                // groupings of a Map that sees it
	Rule     sandbox.ColumnRule // the owner's, within the grade
}

// Compares counts the groupings that the question holds one subject's value to.
func (c *DerivedColumn) Compares() int { return len(c.Bins) + one(c.Itself) + c.Maps }

// Articles cited by Reasons.
const (
	articleList  = "龙华区实施方案 三(三) 一场景一清单一授权"
	articleNeed  = "龙华区实施方案 七、九(二) 最小必要、场景限制"
	articleRaw   = "龙华区实施方案 九(一); 福田区公共数据授权运营暂行管理办法 第四条 原始数据不出域、数据可用不可见"
	articleGrade = "龙华区实施方案 三(四) 数据分级开发"
	articleEvery = "出域安全规则: 每个单元格按受保护主体计数"
)

// Derive is DeriveFor an asker that is nobody: no column given to certain parties is allowed.
func Derive(s Spec, in map[sandbox.DatasetID]catalog.Dataset, list []sandbox.ListItem) (Derivation, []sandbox.Reason) {
	return DeriveFor(sandbox.Party{}, s, in, list)
}

// DeriveFor resolves s over the described datasets and a scenario's list, for one of the scenario's parties, whose affiliates are named
// in it. Reasons is empty exactly when the Derivation is complete. The order of checks is fixed: form, inputs, joins, filters, dimensions, measures, then what holds over all
// of them; within each as written.
//
// Codes: question.invalid, dataset.unknown, dataset.not-listed, dataset.own, column.unknown, column.not-listed, column.subject,
// column.grantee, column.use, column.grade, column.func, column.not-public, column.other-subject, join.key, join.type, join.subject,
// bin.unknown, bin.column, bin.open, filter.label, score.label, measure.type, measure.outputs, measure.name, rows.raw, column.compares,
// column.no-filter-on, noise.func, noise.bound.
func DeriveFor(asker sandbox.Party, s Spec, in map[sandbox.DatasetID]catalog.Dataset, list []sandbox.ListItem) (Derivation, []sandbox.Reason) {
	d := &deriver{asker: asker, list: list, used: map[columnKey]*DerivedColumn{}, needed: map[int]map[string]bool{}, told: map[sandbox.Reason]bool{}}
	d.out.Spec, d.out.Highest = s, sandbox.Grade1
	d.out.asker, d.out.list = asker, list
	if err := s.Validate(); err != nil {
		d.refuse("question.invalid", "", "a question is well formed: "+err.Error(), articleList, "write the question as its schema says")
		return d.out, d.reasons
	}
	for i, input := range s.Inputs {
		d.input(i, input, in)
	}
	if len(d.reasons) > 0 { // columns cannot be judged without their datasets
		return d.out, d.reasons
	}
	for i := range d.out.Inputs[1:] {
		d.join(i + 1)
	}
	for _, f := range s.Filters {
		d.filter(f)
	}
	for _, dim := range s.Dimensions {
		d.dimension(dim)
	}
	d.measures()
	d.compares()
	d.selections()
	d.finish()
	return d.out, d.reasons
}

type deriver struct {
	asker   sandbox.Party
	list    []sandbox.ListItem
	out     Derivation
	reasons []sandbox.Reason
	told    map[sandbox.Reason]bool
	used    map[columnKey]*DerivedColumn
	needed  map[int]map[string]bool // input → columns to open
}

// columnKey keeps apart what "dataset.column" does not: both may hold dots.
type columnKey struct {
	dataset sandbox.DatasetID
	name    string
}

func (d *deriver) column(i int, name string) *DerivedColumn {
	return d.used[columnKey{d.out.Inputs[i].Dataset, name}]
}

func (d *deriver) refuse(code, column, rule, article, change string) {
	r := sandbox.Reason{Code: code, Column: column, Rule: rule, Article: article, Change: change}
	if !d.told[r] {
		d.told[r] = true
		d.reasons = append(d.reasons, r)
	}
}

func (d *deriver) input(i int, input Input, in map[sandbox.DatasetID]catalog.Dataset) {
	id := string(input.Dataset)
	ds, known := in[input.Dataset]
	d.out.Inputs = append(d.out.Inputs, DerivedInput{Input: input, Described: ds, Subject: i == 0, Same: i == 0})
	if d.item(input.Dataset) == nil {
		// Told before "unknown": what exists outside the list is not for this asker.
		d.refuse("dataset.not-listed", id, "a question names datasets of its scenario's list only", articleList,
			"ask without "+id+", or file it in the scenario's list")
	} else if !known {
		d.refuse("dataset.unknown", id, "a listed dataset is registered", articleList, "have its unit register "+id)
	} else if ds.Unit != "" && sandbox.Affiliated(d.asker, sandbox.Party{ID: ds.Unit}) {
		// Whoever writes the rows of an input chooses which rows of others it keeps, weighs and multiplies, and who is counted.
		d.refuse("dataset.own", id, "a question uses no rows that its asker, or an affiliate of it, supplied: they would select, weigh and multiply the rows of others",
			articleEvery, "ask without "+id+", or have the scenario's other party ask")
	}
}

// byRecord says whether an input gives at most one row for each it joins.
func byRecord(in Input, ds catalog.Dataset) bool {
	return ds.RecordKey != "" && slices.ContainsFunc(in.On, func(k Key) bool { return k.Right == ds.RecordKey })
}

func (d *deriver) item(id sandbox.DatasetID) *sandbox.ListItem {
	for i := range d.list {
		if d.list[i].Dataset == id {
			return &d.list[i]
		}
	}
	return nil
}

// bounded says whether an input's unit asks thresholds of its own for a column, or for every answer about its subjects.
func (d *deriver) bounded(in *DerivedInput, rule sandbox.ColumnRule) bool {
	if in.Described.Subject == "" {
		return false
	}
	every, _ := d.item(in.Dataset).Rule(in.Described.Subject)
	asks := func(r sandbox.ColumnRule) bool {
		return r.MinSubjects > 0 || r.MaxShare > 0 || r.PPercent > 0 || r.Prior > 0
	}
	return asks(rule) || asks(every)
}

// use resolves one column of input i and checks its rule. It gives nil when refused.
func (d *deriver) use(i int, name string, use sandbox.Use, fn sandbox.MeasureFunc) *catalog.Column {
	input := &d.out.Inputs[i]
	ref := string(input.Dataset) + "." + name
	c, ok := input.Described.Column(name)
	if !ok {
		d.refuse("column.unknown", ref, "a column is one the dataset describes", articleList, "name a column of "+string(input.Dataset))
		return nil
	}
	rule, ok := d.item(input.Dataset).Rule(name)
	if !ok {
		d.refuse("column.not-listed", ref, "a column stands in the scenario's list", articleList,
			"ask without "+ref+", or have its unit add it to the list")
		return nil
	}
	if name == input.Described.Subject && use != sandbox.UseJoin {
		d.refuse("column.subject", ref, "the column that identifies the protected subject is only joined by, never grouped, filtered or computed on",
			articleRaw, "group by a registered bin of another column, or measure subjects")
		return nil
	}
	if !rule.AllowsParty(d.asker.ID) {
		d.refuse("column.grantee", ref, "the list gives this column to certain parties of the scenario, and the asker is none of them", articleList,
			"have a party ask that it is given to, or have its unit add the asker to the grantees of "+ref)
		return nil
	}
	agreed := rule
	rule = rule.Within(c.Effective())
	if use == sandbox.UseGroup && !rule.Allows(use) && rule.Allows(sandbox.UseReveal) && d.equated(i, name) {
		use = sandbox.UseReveal
	}
	if agreed.Allows(use) && !rule.Allows(use) {
		d.refuse("column.grade", ref, fmt.Sprintf("the list allows this column for %s, which its grade %d does not bear", use, c.Effective()), articleGrade,
			"ask without "+ref+", or group by a registered bin of it")
		return nil
	}
	if !rule.Allows(use) {
		change := fmt.Sprintf("have its unit add %q to the uses of %s", use, ref)
		if use == sandbox.UseGroup && rule.Allows(sandbox.UseReveal) {
			change = "attach an input by an inner join on " + ref
		}
		d.refuse("column.use", ref, fmt.Sprintf("the list allows this column for %s, not for %s", join(rule.Uses), use), articleList, change)
		return nil
	}
	if use == sandbox.UseAggregate && !rule.AllowsFunc(fn) {
		d.refuse("column.func", ref, fmt.Sprintf("the list allows the functions %s on this column, not %s", join(rule.Funcs), fn), articleList,
			fmt.Sprintf("have its unit add %q to the functions of %s", fn, ref))
		return nil
	}
	if !input.Same && c.Effective() > sandbox.Grade2 {
		// Counting protects the subject of the scanned row. Ten rows that all look up one person would pass a count of ten.
		d.refuse("column.other-subject", ref, "an input joined by keys is about another subject than the one counted, so it lends columns up to grade 2 only",
			articleEvery, "join "+string(input.Dataset)+" by the protected subject, or scan it first")
		return nil
	}
	if bound := d.bounded(input, rule); !input.Same && use == sandbox.UseAggregate && bound {
		d.refuse("column.other-subject", ref, "its unit asks for a number of subjects, or a share, of an input's own subjects; an input joined by keys is about other subjects than the ones counted",
			articleEvery, "scan "+string(input.Dataset)+" first, or join it by the protected subject")
		return nil
	}
	u := d.column(i, name)
	if u == nil {
		u = &DerivedColumn{Column: ref, Title: c.Title, Type: c.Type, Grade: c.Effective(), Personal: c.Personal, Rule: rule}
		d.used[columnKey{input.Dataset, name}] = u
	}
	u.Uses = add(u.Uses, use)
	if fn != "" {
		u.Funcs = add(u.Funcs, fn)
	}
	if name != input.Described.Subject {
		if d.needed[i] == nil {
			d.needed[i] = map[string]bool{}
		}
		d.needed[i][name] = true
	}
	return c
}

func (d *deriver) join(i int) {
	right := &d.out.Inputs[i]
	w := d.out.Spec.input(right.With)
	left := &d.out.Inputs[w]
	if right.BySubject() {
		right.Same = left.Same
		if left.Described.SubjectKind != right.Described.SubjectKind {
			d.refuse("join.subject", string(right.Dataset), "inputs joined by subject identify it the same way", articleNeed,
				"join by declared keys, or leave out "+string(right.Dataset))
			return
		}
		left.Subject, right.Subject = true, true
		d.use(w, left.Described.Subject, sandbox.UseJoin, "")
		d.use(i, right.Described.Subject, sandbox.UseJoin, "")
	}
	for _, k := range right.On {
		l, r := d.key(w, k.Left), d.key(i, k.Right)
		if l == nil || r == nil {
			continue
		}
		if l.Type != r.Type || l.Scale != r.Scale {
			d.refuse("join.type", string(right.Dataset)+"."+k.Right, "joined columns have one type and scale", articleNeed,
				"join columns of the same type")
		}
	}
}

func (d *deriver) key(i int, name string) *catalog.Column {
	input := &d.out.Inputs[i]
	if name == input.Described.Subject {
		d.refuse("join.key", string(input.Dataset)+"."+name, "the protected subject is joined as such, not as a key", articleNeed,
			"leave \"on\" empty to join by the protected subject")
		return nil
	}
	c := d.use(i, name, sandbox.UseJoin, "")
	if c != nil && !c.JoinKey {
		d.refuse("join.key", string(input.Dataset)+"."+name, "inputs join on declared join keys or the protected subject", articleNeed,
			"join by the protected subject, or have the unit declare "+name+" a join key")
		return nil
	}
	return c
}

// split resolves "alias.column"; Validate has checked its form.
func (s Spec) split(ref string) (int, string) {
	alias, column, _ := strings.Cut(ref, ".")
	return s.input(alias), column
}

// label checks a grouping or filter through a bin or a public column, and gives the bin, or nil for the column itself.
func (d *deriver) label(ref string, id sandbox.BinID, use sandbox.Use, fn sandbox.MeasureFunc) (*catalog.Column, *catalog.Bin, bool) {
	i, name := d.out.Spec.split(ref)
	c := d.use(i, name, use, fn)
	if c == nil {
		return nil, nil, false
	}
	input := &d.out.Inputs[i]
	at := string(input.Dataset) + "." + name
	if id == "" {
		if !c.Public {
			d.refuse("column.not-public", at, "a column that is not a public code list is grouped and filtered through a registered bin only",
				articleNeed, d.binHint(input, name))
			return nil, nil, false
		}
		d.column(i, name).Itself = true
		return c, nil, true
	}
	b, ok := input.Described.Bin(id)
	if !ok {
		d.refuse("bin.unknown", at, "a bin is one the unit registered", articleNeed, d.binHint(input, name))
		return nil, nil, false
	}
	if b.Column != name {
		d.refuse("bin.column", at, "a bin groups the column it is registered on", articleNeed, d.binHint(input, name))
		return nil, nil, false
	}
	u := d.column(i, name)
	u.Bins = add(u.Bins, id)
	return c, b, true
}

func (d *deriver) binHint(input *DerivedInput, column string) string {
	var ids []string
	for _, b := range input.Described.Bins {
		if b.Column == column {
			ids = append(ids, string(b.ID))
		}
	}
	if len(ids) == 0 {
		return "have the unit register a bin on " + column
	}
	return "use a registered bin: " + strings.Join(ids, ", ")
}

func (d *deriver) filter(f Filter) {
	c, b, ok := d.label(f.Column, f.Bin, sandbox.UseFilter, "")
	if !ok {
		return
	}
	i, name := d.out.Spec.split(f.Column)
	for n, l := range f.In {
		if !labelOf(c, b, l) {
			d.refuse("filter.label", string(d.out.Inputs[i].Dataset)+"."+name,
				fmt.Sprintf("label %d of the filter is one the bin or public column can give", n+1), articleNeed,
				"write labels as the catalogue lists them")
		}
	}
}

func (d *deriver) dimension(dim Dimension) {
	if dim.Score != nil {
		d.score(dim.Score)
		return
	}
	d.label(dim.Column, dim.Bin, sandbox.UseGroup, "")
}

func (d *deriver) finish() {
	for _, u := range d.used {
		d.out.Columns = append(d.out.Columns, *u)
		d.out.Highest = max(d.out.Highest, u.Grade)
		d.out.Personal = d.out.Personal || u.Personal
		d.out.stricter(u.Rule)
	}
	for _, in := range d.out.Inputs {
		// Every answer counts the first input's subject, whether or not a question names its column.
		if rule, ok := d.item(in.Dataset).Rule(in.Described.Subject); ok && in.Subject {
			d.out.stricter(rule)
		}
	}
	slices.SortFunc(d.out.Columns, func(a, b DerivedColumn) int { return strings.Compare(a.Column, b.Column) })
	for i := range d.out.Inputs {
		for name := range d.needed[i] {
			d.out.Inputs[i].Needed = append(d.out.Inputs[i].Needed, name)
		}
		slices.Sort(d.out.Inputs[i].Needed)
	}
	d.noise()
	if len(d.reasons) == 0 {
		d.once()
	}
	d.out.complete = len(d.reasons) == 0
}

// once refuses further copies of a dataset. Each multiplies a person's rows by how many there are: sums weighed by powers of that number are a
// linear system.
func (d *deriver) once() {
	for i, in := range d.out.Inputs {
		if slices.ContainsFunc(d.out.Inputs[:i], func(x DerivedInput) bool { return x.Dataset == in.Dataset }) && !byRecord(in.Input, in.Described) {
			id := string(in.Dataset)
			d.refuse("join.repeated", id, "a dataset stands once in a question, unless its further copies are looked up by their record key: copies of a person's rows weigh the person by their number",
				articleEvery, "ask without the second "+id)
		}
	}
}

// stricter takes over what a rule asks of the gate.
func (d *Derivation) stricter(r sandbox.ColumnRule) {
	d.MinSubjects = max(d.MinSubjects, r.MinSubjects)
	least := func(into *int, v int) {
		if v > 0 && (*into == 0 || v < *into) {
			*into = v
		}
	}
	least(&d.MaxShare, r.MaxShare)
	least(&d.Prior, r.Prior)
	least(&d.MaxBits, r.MaxBits)
	d.PPercent = max(d.PPercent, r.PPercent)
	d.Noise = d.Noise.Stricter(r.Noise)
}

func add[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// join lists words for a rule's text.
func join[T ~string](list []T) string {
	if len(list) == 0 {
		return "nothing"
	}
	words := make([]string, len(list))
	for i, v := range list {
		words[i] = string(v)
	}
	return strings.Join(words, ", ")
}
