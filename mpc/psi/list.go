package psi

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ListContext is what a list's root is signed under.
const ListContext = "opdomain/psi/list/v1"

// SaltSize is the length of a leaf's salt in bytes. Each leaf has its own: a proof shows the leaf beside it, and who knew that leaf's
// salt could test guesses of a neighbour.
const SaltSize = 16

// SignedList (签名名单) is what an agency says about the elements that one side may ask about: the root of a Merkle tree over SM3 (the
// hashing of RFC 6962) over salted digests of the elements, in ascending order. It shows no element.
type SignedList struct {
	Agency sandbox.PartyID
	Name   string
	Until  time.Time // 有效期: not after
	Count  uint64
	Root   [sm.Size]byte
	Sig    []byte
}

func (l *SignedList) statement() []byte {
	return sm.Frame([]byte(l.Agency), []byte(l.Name), []byte(l.Until.UTC().Format(time.RFC3339)), fmt.Appendf(nil, "%d", l.Count), l.Root[:])
}

// SignList signs what an agency says of a list: its name, and its term in whole seconds.
func SignList(rand io.Reader, key *sm.SigningKey, agency sandbox.PartyID, name string, until time.Time, l *List) (*SignedList, error) {
	s := &SignedList{Agency: agency, Name: name, Until: until.UTC().Truncate(time.Second), Count: l.Count(), Root: l.Root()}
	var err error
	s.Sig, err = key.Sign(rand, ListContext, s.statement())
	return s, err
}

// Verify holds the list to its agency's key and its term.
func (l *SignedList) Verify(key *sm.VerifyKey, now time.Time) error {
	if now.After(l.Until) {
		return &sandbox.Error{Op: "psi: list", Kind: sandbox.Expired, Object: l.Name, Detail: "the list is past its term"}
	}
	return key.Verify(ListContext, l.statement(), l.Sig)
}

// Proof (成员证明) shows that an element is on a list: its salt, its place and the hashes beside its path, from the leaf up.
type Proof struct {
	Salt  [SaltSize]byte
	Index uint64
	Path  [][sm.Size]byte
}

func leafHash(salt *[SaltSize]byte, element []byte) [sm.Size]byte {
	return sm.Sum([]byte{0}, salt[:], element)
}

func nodeHash(a, b *[sm.Size]byte) [sm.Size]byte { return sm.Sum([]byte{1}, a[:], b[:]) }

// Member gives Denied where the proof does not show that the element is on the list.
func (l *SignedList) Member(element []byte, p Proof) error {
	no := &sandbox.Error{Op: "psi: list", Kind: sandbox.Denied, Object: l.Name, Detail: "every element of the set is on the list"}
	if p.Index >= l.Count {
		return no
	}
	h := leafHash(&p.Salt, element)
	// RFC 9162, 2.1.3.2.
	fn, sn := p.Index, l.Count-1
	for _, sibling := range p.Path {
		if sn == 0 {
			return no
		}
		if fn&1 == 1 || fn == sn {
			h = nodeHash(&sibling, &h)
			for fn&1 == 0 && fn != 0 {
				fn, sn = fn>>1, sn>>1
			}
		} else {
			h = nodeHash(&h, &sibling)
		}
		fn, sn = fn>>1, sn>>1
	}
	if sn != 0 || h != l.Root {
		return no
	}
	return nil
}

// List (授权名单) is a list as its agency keeps it: leaves in order and the key of their salts.
type List struct {
	key    []byte
	levels [][][sm.Size]byte // from the leaves up
}

// NewList makes the tree over the distinct elements of a set, with salts under a key of 16 bytes or more that stays with the agency;
// Invalid for no elements.
func NewList(elements Set, key []byte) (*List, error) {
	if len(key) < sm.KeySize {
		return nil, &sandbox.Error{Op: "psi: list", Kind: sandbox.Invalid, Object: "key", Detail: "16 bytes or more"}
	}
	rows, err := elements.distinct()
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, &sandbox.Error{Op: "psi: list", Kind: sandbox.Invalid, Detail: "a list has elements"}
	}
	l := &List{key: bytes.Clone(key)}
	leaves := make([][sm.Size]byte, len(rows))
	for i, r := range rows {
		salt := l.salt(elements.row(r))
		leaves[i] = leafHash(&salt, elements.row(r))
	}
	slices.SortFunc(leaves, func(a, b [sm.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	for l.levels = append(l.levels, leaves); len(leaves) > 1; l.levels = append(l.levels, leaves) {
		up := make([][sm.Size]byte, 0, (len(leaves)+1)/2)
		for i := 0; i+1 < len(leaves); i += 2 {
			up = append(up, nodeHash(&leaves[i], &leaves[i+1]))
		}
		if len(leaves)%2 == 1 {
			up = append(up, leaves[len(leaves)-1]) // a node without a sibling goes up as it is
		}
		leaves = up
	}
	return l, nil
}

func (l *List) salt(element []byte) [SaltSize]byte {
	h := sm.HMAC(l.key, element)
	return [SaltSize]byte(h[:])
}

// Format keeps the key out of every verb.
func (*List) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "psi list(redacted)") }

// Root and Count are what is signed.
func (l *List) Root() [sm.Size]byte { return l.levels[len(l.levels)-1][0] }

// Count gives the number of elements.
func (l *List) Count() uint64 { return uint64(len(l.levels[0])) }

// Prove gives the proof for an element; NotFound where it is not on the list.
func (l *List) Prove(element []byte) (Proof, error) {
	salt := l.salt(element)
	h := leafHash(&salt, element)
	i, ok := slices.BinarySearchFunc(l.levels[0], h, func(a, b [sm.Size]byte) int { return bytes.Compare(a[:], b[:]) })
	if !ok {
		return Proof{}, &sandbox.Error{Op: "psi: list", Kind: sandbox.NotFound, Detail: "the element is not on the list"}
	}
	p := Proof{Salt: salt, Index: uint64(i)}
	for _, level := range l.levels[:len(l.levels)-1] {
		if s := i ^ 1; s < len(level) {
			p.Path = append(p.Path, level[s])
		}
		i /= 2
	}
	return p, nil
}
