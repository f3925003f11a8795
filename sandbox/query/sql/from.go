package sql

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/pingcap/tidb/pkg/parser/ast"
	"github.com/pingcap/tidb/pkg/parser/opcode"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// source is one dataset as a part of the text sees it: some columns, perhaps renamed, of rows that meet conditions.
type source struct {
	alias   string
	set     *catalog.Dataset
	version uint64
	columns map[string]string // name in the text → column; nil: every column under its own name
	where   []predicate       // their scope is this source alone
	same    bool              // its subject is that of the scanned row
	left    bool              // LEFT JOIN: all of it may be missing
}

// column resolves a name; the pseudo-column gives the subject's.
func (s *source) column(n string) (string, bool) {
	if n == Subject { // whatever was selected of a common table, its rows are someone's
		return s.set.Subject, true
	}
	if s.columns != nil {
		col, ok := s.columns[n]
		return col, ok
	}
	_, ok := s.set.Column(n)
	return n, ok
}

// scope is what names in a part of the text can mean.
type scope struct {
	sources []*source
}

// column is a resolved column of a scope.
type column struct {
	in   *source
	name string
	desc *catalog.Column
	at   int
}

func (c column) ref() string   { return c.in.alias + "." + c.name }
func (c column) subject() bool { return c.name == c.in.set.Subject }
func (c column) same(o column) bool {
	return c.in == o.in && c.name == o.name
}

// shown is how a hint names a column; it is one the asker may see.
func (c column) shown() string { return identifier(c.in.alias) + "." + identifier(c.name) }

// resolve finds what a column name means.
func (c *compiler) resolve(sc *scope, e *ast.ColumnNameExpr) column {
	at := e.OriginTextPosition()
	if e.Name.Name.L == Subject && e.Name.Table.O == "" && e.Name.Schema.O == "" {
		sc = &scope{sc.sources[:1]} // the scanned row's
	}
	if e.Name.Schema.O != "" {
		c.refuse(at, "sql.column", "name in three parts", "a column is written name, or alias.name", "alias.name")
	}
	var found []column
	for _, s := range sc.sources {
		if t := e.Name.Table.L; t != "" && t != s.alias {
			continue
		}
		if n, ok := s.column(e.Name.Name.L); ok {
			d, _ := s.set.Column(n)
			found = append(found, column{in: s, name: n, desc: d, at: at})
		}
	}
	switch {
	case len(found) == 1:
		return found[0]
	case len(found) > 1:
		c.refuse(at, "sql.ambiguous", "column name", "a column that several inputs have is written with its input's alias", found[0].shown()+", or "+found[1].shown())
	}
	if t := e.Name.Table.L; t != "" && !slices.ContainsFunc(sc.sources, func(s *source) bool { return s.alias == t }) {
		c.refuse(at, "sql.alias", "unknown alias", "a column is of an input in FROM or JOIN", "one of "+aliases(sc))
	}
	c.refuse(at, "sql.column", "unknown column", "a column is one the input's dataset describes", "see the columns: opdomain catalog show "+string(sc.sources[0].set.ID))
	return column{}
}

func aliases(sc *scope) string {
	var out []string
	for _, s := range sc.sources {
		out = append(out, identifier(s.alias))
	}
	return strings.Join(out, ", ")
}

// with reads the common tables of a statement in their order. One may use those before it.
func (c *compiler) with(w *ast.WithClause) {
	if w == nil {
		return
	}
	at := c.find(0, "WITH")
	if w.IsRecursive {
		c.refuse(c.find(at, "RECURSIVE"), "sql.cyclic", "WITH RECURSIVE", "a common table does not use itself", "WITH name AS (SELECT column, … FROM \"dataset\" WHERE …)")
	}
	if len(w.CTEs) > maxTables {
		c.refuse(at, "sql.size", "WITH", fmt.Sprintf("at most %d common tables", maxTables), "take some out")
	}
	c.open = map[string]bool{}
	for _, t := range w.CTEs {
		if c.open[t.Name.L] {
			c.refuse(at, "sql.alias", "common table", "a common table has a name of its own", "name it otherwise")
		}
		c.open[t.Name.L] = true
	}
	for _, t := range w.CTEs {
		at, _ := c.named(at, t.Name.L)
		q, ok := t.Query.Query.(*ast.SelectStmt)
		if !ok {
			c.refuse(at, "sql.set", "common table", "a common table is one SELECT", "SELECT column, … FROM \"dataset\" WHERE …")
		}
		s := c.flatten(at, q)
		if len(t.ColNameList) > 0 {
			names := s.names
			if len(names) != len(t.ColNameList) {
				c.refuse(at, "sql.with", "list of column names", "a common table names each of its columns once", "as many names as columns")
			}
			columns := map[string]string{}
			for i, n := range t.ColNameList {
				if _, twice := columns[n.L]; twice {
					c.refuse(at, "sql.alias", "column name", "a common table names each of its columns once", "name one otherwise")
				}
				columns[n.L] = s.columns[names[i]]
			}
			s.columns = columns
		}
		delete(c.open, t.Name.L)
		c.tables[t.Name.L] = &s.source
	}
}

// flat is a common or derived table that was found to be one dataset with fewer columns and rows.
type flat struct {
	source
	names []string // its columns in order
}

// flatten reads a SELECT that only leaves out, renames or filters.
func (c *compiler) flatten(at int, q *ast.SelectStmt) flat {
	const rule, change = "a common or derived table flattens: columns of one dataset, renamed or filtered, nothing computed", "SELECT column AS name, … FROM \"dataset\" WHERE …"
	for _, x := range []struct {
		bad  bool
		what string
	}{{q.With != nil, "WITH inside"}, {q.GroupBy != nil, "GROUP BY inside"}, {q.Having != nil, "HAVING inside"}, {q.OrderBy != nil, "ORDER BY inside"}, {q.Limit != nil, "LIMIT inside"}} {
		if x.bad {
			c.refuse(c.find(at, strings.Fields(x.what)[0]), "sql.with", x.what, rule, change)
		}
	}
	j := q.From.TableRefs
	t, ok := j.Left.(*ast.TableSource)
	if j.Right != nil || !ok {
		c.refuse(c.find(at, "JOIN", ","), "sql.with", "join inside", rule, "join outside: FROM a JOIN b ON …")
	}
	in := c.table(at, t)
	sc := &scope{[]*source{in}}
	out := flat{source: source{set: in.set, version: in.version, columns: map[string]string{}}}
	for _, f := range q.Fields.Fields {
		if f.WildCard != nil {
			var names []string
			if in.columns != nil {
				names = slices.Sorted(maps.Keys(in.columns))
			} else {
				for i := range in.set.Columns {
					names = append(names, in.set.Columns[i].Name)
				}
			}
			for _, n := range names {
				col, _ := in.column(n)
				out.put(c, at, n, col)
			}
			continue
		}
		e, ok := bare(f.Expr).(*ast.ColumnNameExpr)
		if !ok {
			c.refuse(f.Expr.OriginTextPosition(), "sql.with", "expression", rule, change)
		}
		col := c.resolve(sc, e)
		n := f.AsName.L
		if n == "" {
			n = e.Name.Name.L
		}
		out.put(c, e.OriginTextPosition(), n, col.name)
	}
	out.where = append(slices.Clone(in.where), c.where(sc, q.Where)...)
	return out
}

func (f *flat) put(c *compiler, at int, name, column string) {
	if _, twice := f.columns[name]; twice {
		c.refuse(at, "sql.alias", "column name", "a common table names each of its columns once", "rename one with AS")
	}
	f.columns[name] = column
	f.names = append(f.names, name)
}

// table reads one table of FROM: a dataset, a common table, or a SELECT that flattens.
func (c *compiler) table(from int, t *ast.TableSource) *source {
	alias := t.AsName.L
	var out source
	switch s := t.Source.(type) {
	case *ast.TableName:
		at, _ := c.named(from, s.Name.O)
		c.plainTable(at, s)
		common := c.tables[s.Name.L]
		switch {
		case c.open[s.Name.L]:
			c.refuse(at, "sql.cyclic", "common table", "a common table uses the ones before it only, never itself", "put it behind the tables it uses, and let none use itself")
		case common != nil:
			out = *common
		default:
			out = c.dataset(at, s.Name.L)
		}
		if alias == "" {
			if alias = s.Name.L; common == nil {
				alias = string(out.set.ID)
			}
		}
	case *ast.SelectStmt:
		at := c.find(from, "(")
		out = c.flatten(at, s).source
		if alias == "" {
			c.refuse(at, "sql.alias", "derived table", "a table in FROM has a name", "(SELECT …) AS name")
		}
	case *ast.Join:
		c.refuse(c.find(from, "("), "sql.join", "join in parentheses", "inputs are joined one after the other", "FROM a JOIN b ON … JOIN c ON …")
	default:
		c.refuse(from, "sql.join", "table", "an input is a dataset or a common table", `FROM "dataset" AS d`)
	}
	if sandbox.CheckID("alias", alias) != nil || strings.Contains(alias, ".") {
		at, _ := c.named(from, alias)
		c.refuse(at, "sql.alias", "alias", "an alias is 1 to 64 of a-z, 0-9, '_', '-', starting with a letter or digit", `FROM "dataset" AS d`)
	}
	out.alias = alias
	where := out.where
	out.where = nil
	in := &out
	for _, p := range where { // the conditions now speak of this use of it
		p.of.in = in
		in.where = append(in.where, p)
	}
	return in
}

// plainTable refuses what else may stand beside a table's name.
func (c *compiler) plainTable(at int, s *ast.TableName) {
	switch {
	case s.Schema.O != "":
		c.refuse(at, "sql.table", "name in two parts", "a dataset has one name; one with a dot is quoted", `FROM "dataset" AS d`)
	case len(s.IndexHints) > 0:
		c.refuse(c.find(at, "USE", "FORCE", "IGNORE"), "sql.hint", "index hint", "how a question is computed is the engine's to choose", "leave it out")
	case len(s.PartitionNames) > 0:
		c.refuse(c.find(at, "PARTITION"), "sql.table", "PARTITION", "rows are kept by conditions", "WHERE column IN (…)")
	case s.TableSample != nil:
		c.refuse(c.find(at, "TABLESAMPLE"), "sql.table", "TABLESAMPLE", "an answer is over every row that meets the conditions, the same each time", "leave it out")
	case s.AsOf != nil:
		c.refuse(c.find(at, "OF"), "sql.version", "AS OF", "a version is a number inside the quoted name", `FROM "dataset@3" AS d`)
	}
}

// dataset finds a described dataset by its name in the text, with or without a version.
func (c *compiler) dataset(at int, n string) source {
	id, v, versioned := strings.Cut(n, "@")
	var version uint64
	if versioned {
		var err error
		if version, err = strconv.ParseUint(v, 10, 63); err != nil || version == 0 || strconv.FormatUint(version, 10) != v {
			c.refuse(at, "sql.version", "version", "a version is a whole number from 1 behind @", `FROM "dataset@3" AS d`)
		}
	}
	set, ok := c.sets[sandbox.DatasetID(id)]
	if !ok {
		c.refuse(at, "sql.table", "unknown dataset", "an input is a dataset you may see, or a common table", "see them: opdomain catalog list")
	}
	return source{set: &set, version: version}
}

// from reads FROM into inputs, and gives the scope of the rest of the statement.
func (c *compiler) from(spec *query.Spec, from int, refs *ast.TableRefsClause) *scope {
	sc := &scope{}
	c.joined(spec, sc, c.find(from, "FROM"), refs.TableRefs)
	return sc
}

func (c *compiler) joined(spec *query.Spec, sc *scope, from int, n ast.ResultSetNode) {
	j, ok := n.(*ast.Join)
	if !ok {
		t, ok := n.(*ast.TableSource)
		if !ok {
			c.refuse(from, "sql.join", "table", "an input is a dataset or a common table", `FROM "dataset" AS d`)
		}
		s := c.table(from, t)
		s.same = true
		c.attach(spec, sc, s, query.Input{})
		return
	}
	c.joined(spec, sc, from, j.Left)
	if j.Right == nil {
		return
	}
	t, ok := j.Right.(*ast.TableSource)
	if !ok {
		c.refuse(c.find(from, "("), "sql.join", "join in parentheses", "inputs are joined one after the other", "FROM a JOIN b ON … JOIN c ON …")
	}
	s := c.table(from, t)
	at, _ := c.named(from, s.alias)
	const change = "JOIN b ON a.key = b.key"
	switch {
	case j.Tp == ast.RightJoin:
		c.refuse(c.find(from, "RIGHT"), "sql.join", "RIGHT JOIN", "the first input is scanned, so it is never the one that may be missing", "put the tables the other way round, with LEFT JOIN")
	case j.NaturalJoin:
		c.refuse(c.find(from, "NATURAL"), "sql.join", "NATURAL JOIN", "a join names its keys", change)
	case j.StraightJoin:
		c.refuse(c.find(from, "STRAIGHT_JOIN"), "sql.join", "STRAIGHT_JOIN", "how a question is computed is the engine's to choose", change)
	case len(j.Using) > 0:
		c.refuse(c.find(at, "USING"), "sql.join", "USING", "a join names its keys on both sides", change)
	case j.On == nil:
		c.refuse(at, "sql.join", "join without ON", "inputs are joined by declared keys or the protected subject; every pair of rows is no question", change)
	}
	in := query.Input{}
	if j.Tp == ast.LeftJoin {
		in.Join, s.left = query.LeftJoin, true
		if len(s.where) > 0 {
			c.refuse(at, "sql.join", "LEFT JOIN of a filtered table", "a condition on the joined side of a LEFT JOIN would be lost or drop rows", "JOIN it, or filter the first table")
		}
	}
	c.unique(sc, s)
	c.on(&in, sc, s, j.On.Expr)
	c.attach(spec, sc, s, in)
}

func (c *compiler) unique(sc *scope, s *source) {
	if slices.ContainsFunc(sc.sources, func(o *source) bool { return o.alias == s.alias }) {
		at, _ := c.named(c.find(0, "JOIN"), s.alias)
		c.refuse(at, "sql.alias", "alias", "an alias stands once", `JOIN "dataset" AS other`)
	}
}

func (c *compiler) attach(spec *query.Spec, sc *scope, s *source, in query.Input) {
	in.Alias, in.Dataset, in.Version = s.alias, s.set.ID, s.version
	spec.Inputs = append(spec.Inputs, in)
	sc.sources = append(sc.sources, s)
}

// on reads the condition of a join: equalities of a column of one earlier input with one of the new input.
func (c *compiler) on(in *query.Input, sc *scope, s *source, e ast.ExprNode) {
	both := &scope{append(slices.Clone(sc.sources), s)}
	var with *source
	for _, part := range conjuncts(e) {
		at := part.OriginTextPosition()
		bad := func() {
			c.refuse(at, "sql.on", "condition of a join", "inputs are joined where a key of an earlier input equals one of the new input, and nothing else", "ON a.key = b.key AND …; other conditions in WHERE")
		}
		eq, ok := bare(part).(*ast.BinaryOperationExpr)
		if !ok || eq.Op != opcode.EQ {
			bad()
		}
		l, ok1 := bare(eq.L).(*ast.ColumnNameExpr)
		r, ok2 := bare(eq.R).(*ast.ColumnNameExpr)
		if !ok1 || !ok2 {
			bad()
		}
		left, right := c.resolve(both, l), c.resolve(both, r)
		if left.in == s {
			left, right = right, left
		}
		if left.in == s || right.in != s {
			bad()
		}
		if with != nil && with != left.in {
			c.refuse(at, "sql.on", "condition of a join", "an input joins one earlier input", "join by keys of one of them")
		}
		with = left.in
		if left.subject() != right.subject() {
			c.refuse(at, "sql.on", "condition of a join", "the protected subject is joined with the protected subject, a key with a key", left.in.alias+"."+Subject+" = "+s.alias+"."+Subject)
		}
		if left.subject() {
			in.Subject = true
			continue
		}
		k := query.Key{Left: left.name, Right: right.name}
		if !slices.Contains(in.On, k) {
			in.On = append(in.On, k)
		}
	}
	in.With = with.alias
	s.same = in.Subject && with.same
	if len(in.On) == 0 {
		in.Subject = false // said by having no keys
	}
}

// conjuncts lists what AND joins.
func conjuncts(e ast.ExprNode) []ast.ExprNode {
	if b, ok := bare(e).(*ast.BinaryOperationExpr); ok && b.Op == opcode.LogicAnd {
		return append(conjuncts(b.L), conjuncts(b.R)...)
	}
	return []ast.ExprNode{e}
}

// bare takes parentheses away.
func bare(e ast.ExprNode) ast.ExprNode {
	for {
		p, ok := e.(*ast.ParenthesesExpr)
		if !ok {
			return e
		}
		e = p.Expr
	}
}
