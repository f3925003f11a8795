package spec

import (
	"encoding/binary"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Agreed (名册约定) is all that others than the two holders, and whoever made the list, know of it: what it is called by, and how long it is. The people
// are known by pseudonyms under a secret of the list, so that its digest tells nothing to who guesses who stands on it.
type Agreed struct {
	Digest []byte `json:"digest"`         // SM3, List.Digest
	People int    `json:"people"`         // who stand on it, at places from 0
	Rows   int    `json:"rows,omitempty"` // most rows of one person at a unit; 0: 1,024
}

// Placement says, for CompileJoined, which units hold the inputs.
func (a Agreed) Placement(holders [2]int) Placement {
	return Placement{Holders: holders, Subjects: a.People, List: a.Digest, Rows: a.Rows}
}

// Canonical is a question as its identity and its run have it: over another list it is another question. nil: over no list.
func (a *Agreed) Canonical(q query.Spec) []byte {
	if a == nil {
		return q.Canonical()
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(a.People))
	return sm.Frame([]byte("opdomain/he/joined/v1"), q.Canonical(), a.Digest, binary.BigEndian.AppendUint64(b, uint64(a.Rows)))
}
