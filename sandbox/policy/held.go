package policy

import (
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Held says whether the domain may bring its own columns to a computation over shares (分享方自有数据): it opens them to share them, so
// that for those it holds the domain engine's cells of the matrix count, with the district's limit. The others stay with the parties that
// hold them. here says which datasets the domain holds.
func Held(f Facts, d query.Derivation, here func(sandbox.DatasetID) bool) []sandbox.Reason {
	f.Engine = sandbox.Domain
	d.Columns = slices.DeleteFunc(slices.Clone(d.Columns), func(c query.DerivedColumn) bool {
		id, _, _ := strings.Cut(c.Column, ".")
		return !here(sandbox.DatasetID(id))
	})
	d.Inputs = slices.DeleteFunc(slices.Clone(d.Inputs), func(in query.DerivedInput) bool { return !here(in.Dataset) })
	var why reasons
	f.columns(&why, sandbox.ClassA, d)
	for i := range why {
		why[i].Change = "ask without this column, or have its owner take part with a party of its own"
	}
	return why
}
