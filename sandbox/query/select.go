package query

import (
	"cmp"
	"fmt"
	"slices"
)

// ref writes a column as rules name it.
func (d *deriver) ref(i int, name string) string {
	return string(d.out.Inputs[i].Dataset) + "." + name
}

// equated says whether an inner join of the question equates the column, so that only values both sides hold are left.
func (d *deriver) equated(i int, name string) bool {
	for j, in := range d.out.Inputs[1:] {
		if in.Join != "" {
			continue
		}
		w := d.out.Spec.input(in.With)
		for _, k := range in.On {
			if i == j+1 && k.Right == name || i == w && k.Left == name {
				return true
			}
		}
	}
	return false
}

// compares bounds how many groupings one question holds a subject's value to: what two registered bins of one column cut out
// together is finer than either, and with enough of them is the value.
func (d *deriver) compares() {
	for _, u := range d.inOrder() {
		if n := u.Compares(); n > u.Rule.Compares {
			d.refuse("column.compares", u.Column, fmt.Sprintf("one question holds a subject's value of this column to at most %d groupings, not to %d", u.Rule.Compares, n),
				articleNeed, fmt.Sprintf("keep %d of %s, or have its unit allow \"compare\" with more", u.Rule.Compares, groupings(u)))
		}
	}
}

// groupings names what a column is grouped or filtered through.
func groupings(u *DerivedColumn) string {
	words := slices.Clone(u.Bins)
	if u.Itself {
		words = append(words, "the column itself")
	}
	if u.Maps > 0 {
		words = append(words, "the Map's groupings")
	}
	return join(words)
}

// selections holds what is measured to the columns that may not select or weigh it. Filters and dimensions select. So do the columns
// of a join where a row without a partner goes or shows: of an inner join, and of a left one that something beyond it is filtered,
// grouped or measured by. The other columns of a measure weigh it.
func (d *deriver) selections() {
	selecting := map[string]string{}
	mark := func(in map[string]string, ref, how string) {
		if in[ref] == "" {
			in[ref] = how
		}
	}
	reach := func(in map[string]string, i int) {
		for ; i > 0; i = d.out.Spec.input(d.out.Inputs[i].With) {
			for _, ref := range d.joinedBy(i) {
				mark(in, ref, "joins by it")
			}
		}
	}
	for _, f := range d.out.Spec.Filters {
		i, name := d.out.Spec.split(f.Column)
		mark(selecting, d.ref(i, name), "filters by it")
		reach(selecting, i)
	}
	for _, dim := range d.out.Spec.Dimensions {
		for _, p := range dim.groupings() {
			i, name := d.out.Spec.split(p.Column)
			mark(selecting, d.ref(i, name), "groups by it")
			reach(selecting, i)
		}
	}
	for i, in := range d.out.Inputs {
		if in.Join == "" {
			reach(selecting, i)
		}
	}
	for _, m := range d.out.Spec.Measures {
		if m.Column == "" {
			continue
		}
		here, all := map[string]string{}, append([]string{m.Column}, m.With...)
		for _, c := range all {
			i, name := d.out.Spec.split(c)
			if len(all) > 1 {
				mark(here, d.ref(i, name), "weighs it by that column")
			}
			reach(here, i)
		}
		for _, c := range all {
			i, name := d.out.Spec.split(c)
			d.selected(i, name, selecting, here)
		}
	}
}

// selected refuses what the rule of a measured column forbids of the columns that select it.
func (d *deriver) selected(i int, name string, selecting, here map[string]string) {
	u := d.column(i, name)
	if u == nil {
		return // refused already
	}
	ref := d.ref(i, name)
	for _, by := range u.Rule.NoFilterOn {
		how := selecting[by]
		if how == "" && by != ref {
			how = here[by]
		}
		if how != "" {
			d.refuse("column.no-filter-on", ref, fmt.Sprintf("what is measured of this column is not selected or weighed by %s, and the question %s", by, how),
				articleNeed, "ask without "+by+", or measure another column")
		}
	}
}

// joinedBy lists the columns of both sides that input i is joined by.
func (d *deriver) joinedBy(i int) []string {
	in := d.out.Inputs[i]
	w := d.out.Spec.input(in.With)
	var out []string
	if in.BySubject() {
		out = append(out, d.ref(w, d.out.Inputs[w].Described.Subject), d.ref(i, in.Described.Subject))
	}
	for _, k := range in.On {
		out = append(out, d.ref(w, k.Left), d.ref(i, k.Right))
	}
	return out
}

// inOrder lists the columns used by name.
func (d *deriver) inOrder() []*DerivedColumn {
	out := make([]*DerivedColumn, 0, len(d.used))
	for _, u := range d.used {
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b *DerivedColumn) int { return cmp.Compare(a.Column, b.Column) })
	return out
}
