package join

import (
	"errors"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// Normal gives the one form of an identifier of a kind that all owners make pseudonyms of: as the domain's are made at ingest; "" is opaque.
// Two forms of one person would not find each other, and nobody would see it. False where the identifier is none of its kind.
func Normal(kind catalog.SubjectKind, id string) (string, bool) {
	switch kind {
	case catalog.ResidentID:
		return classify.NormalizeResidentID(id)
	case "", catalog.Opaque:
		id = strings.TrimSpace(id)
		return id, id != "" && len(id) <= 256
	}
	return "", false
}

// Named says whether the question names its datasets, and for what and whom it is asked.
func (q Question) Named() bool { return q.Left.Dataset != "" }

// checkSubject checks whose rows, in which form, for what and for whom.
func (q Question) checkSubject() error {
	if q.SubjectKind != "" && q.SubjectKind != catalog.ResidentID {
		return invalid("subject_kind", "resident-id; opaque identifiers leave it out")
	}
	if !q.Named() {
		if q.Left.Version != 0 || q.Right.Dataset != "" || q.Right.Version != 0 || q.Scenario != "" || q.Purpose != "" || q.Asker != "" {
			return invalid("dataset", "both tables' datasets and versions, scenario, purpose and asker are named together, or none of them")
		}
		return nil
	}
	if q.Left.Version == 0 || q.Right.Version == 0 {
		return invalid("version", "each named dataset has its version, from 1")
	}
	if q.Left.Dataset == q.Right.Dataset {
		return invalid("dataset", "two datasets")
	}
	return errors.Join(sandbox.CheckID("left dataset", string(q.Left.Dataset)), sandbox.CheckID("right dataset", string(q.Right.Dataset)), sandbox.CheckID("scenario", string(q.Scenario)),
		sandbox.CheckID("purpose", q.Purpose), sandbox.CheckID("asker", string(q.Asker)))
}
