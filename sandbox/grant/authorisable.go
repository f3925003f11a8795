package grant

import (
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// authorisable says whether what is listed may be authorised at all, by what the catalogue says of it: a listed column has its whole
// dictionary entry (龙华区实施方案 五(三)4), and where the district has the rule, data that are not open have a recorded legal basis
// (福田区公共数据授权运营暂行管理办法 第二条).
func (r *Rules) authorisable(a Application, in map[sandbox.DatasetID]catalog.Dataset) error {
	for _, item := range a.List {
		d := in[item.Dataset]
		if rule := r.profile.Catalogue.ExcludeNotOpen; rule.Value && d.Card.Excluded() {
			return &sandbox.Error{Op: "grant: file", Kind: sandbox.Denied, Object: string(d.ID), Detail: "data that are not open are not authorised (" + rule.Article + ")",
				Hint: "have the owner record the legal basis, if there is one: opdomain catalog revise"}
		}
		for _, c := range item.Columns {
			if col, ok := d.Column(c.Column); ok && !col.Defined() {
				return &sandbox.Error{Op: "grant: file", Kind: sandbox.Invalid, Object: "list " + string(d.ID) + "." + c.Column,
					Detail: "a listed column has a title, a range and, for a number, a unit in the field dictionary",
					Hint:   "have the owner complete it: opdomain catalog revise"}
			}
		}
	}
	return nil
}
