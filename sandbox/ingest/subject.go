package ingest

import (
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// Pseudonymizer (域内假名器) turns identifiers of protected subjects into domain-internal pseudonyms: the first 16 bytes
// of HMAC-SM3 under the domain's key over the kind and the normalised identifier, so that one person is one pseudonym in
// every table. Deterministic inside the domain, useless without its key (an unkeyed hash of an identity number is not).
type Pseudonymizer struct{ key []byte }

// NewPseudonymizer takes the domain's pseudonym key.
func NewPseudonymizer(key []byte) *Pseudonymizer { return &Pseudonymizer{key: key} }

// String keeps the key out of logs.
func (*Pseudonymizer) String() string { return "pseudonymizer(redacted)" }

// GoString keeps the key out of %#v.
func (*Pseudonymizer) GoString() string { return "pseudonymizer(redacted)" }

// Pseudonym gives the pseudonym of an identifier, or false if it breaks the rule of its kind.
func (p *Pseudonymizer) Pseudonym(kind catalog.SubjectKind, id string) (out sandbox.Pseudonym, ok bool) {
	switch kind {
	case catalog.ResidentID:
		id, ok = classify.NormalizeResidentID(id)
	case catalog.Opaque:
		id = strings.TrimSpace(id)
		ok = id != "" && len(id) <= 256
	}
	if !ok {
		return sandbox.Pseudonym{}, false
	}
	mac := sm.HMAC(p.key, sm.Frame([]byte("subject"), []byte(kind), []byte(id)))
	copy(out[:], mac[:])
	return out, true
}

// session gives a pseudonymizer for one batch: rows of one person often follow each other, and the last answer is kept.
func (p *Pseudonymizer) session() *session { return &session{p: p} }

type session struct {
	p    *Pseudonymizer
	last string
	id   sandbox.Pseudonym
	ok   bool
}

func (s *session) pseudonym(kind catalog.SubjectKind, id string) (sandbox.Pseudonym, bool) {
	if id != s.last || !s.ok {
		s.last = id
		s.id, s.ok = s.p.Pseudonym(kind, id)
	}
	return s.id, s.ok
}

func subjectRule(kind catalog.SubjectKind) string {
	if kind == catalog.ResidentID {
		return "a resident identity number has 18 characters, a real date of birth and the right check character (GB 11643)"
	}
	return "a subject identifier has 1 to 256 bytes"
}
