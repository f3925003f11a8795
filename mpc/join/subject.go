package join

import (
	"strings"

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
