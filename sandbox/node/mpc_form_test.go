package node

import (
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// TestSharesKind: the zones are told of which kind the identifiers are, so that they join them in the form in which the domain does.
func TestSharesKind(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	for kind, want := range map[catalog.SubjectKind]catalog.SubjectKind{catalog.Opaque: "", catalog.ResidentID: catalog.ResidentID} {
		f, d := o.factsOf(uplift("sc-m"))
		for i := range d.Inputs {
			d.Inputs[i].Described.SubjectKind = kind
		}
		form, why := o.n.sharesForm(f, d)
		if len(why) > 0 || form.question.SubjectKind != want || form.own.Dataset.SubjectKind != kind {
			t.Errorf("%s: %v", kind, why)
		}
	}
}
