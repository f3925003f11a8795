package tlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/transparency-dev/merkle"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// hash is one SM3 digest of the tree.
type hash = [sm.Size]byte

// hasher is RFC 6962 hashing with SM3 (GB/T 32905) in the place of SHA-256.
type hasher struct{}

var _ merkle.LogHasher = hasher{}

func (hasher) EmptyRoot() []byte { d := sm.Sum(); return d[:] }
func (hasher) HashLeaf(leaf []byte) []byte {
	d := sm.Sum([]byte{0}, leaf)
	return d[:]
}
func (hasher) HashChildren(l, r []byte) []byte {
	d := sm.Sum([]byte{1}, l, r)
	return d[:]
}
func (hasher) Size() int { return sm.Size }

func invalid(op, rule string) error {
	return &sandbox.Error{Op: "log: " + op, Kind: sandbox.Invalid, Object: "proof", Detail: rule}
}

// Root (根哈希) grows a tree entry by entry and keeps only its edge: what a reader of a long bundle needs. The zero Root
// is the empty tree.
type Root struct {
	edge *compact.Range
}

// Append adds one entry.
func (r *Root) Append(entry [sm.Size]byte) {
	if r.edge == nil {
		r.edge = (&compact.RangeFactory{Hash: hasher{}.HashChildren}).NewEmptyRange(0)
	}
	// Append fails only for a range that does not begin at zero.
	_ = r.edge.Append(hasher{}.HashLeaf(entry[:]), nil)
}

// Size gives the number of entries.
func (r *Root) Size() uint64 {
	if r.edge == nil {
		return 0
	}
	return r.edge.End()
}

// Sum gives the root over the entries so far.
func (r *Root) Sum() [sm.Size]byte {
	if r.Size() == 0 {
		return hash(hasher{}.EmptyRoot())
	}
	b, err := r.edge.GetRootHash(nil)
	if err != nil { // it begins at zero, so it has a root; a zero root equals no checkpoint
		return hash{}
	}
	return hash(b)
}

// VerifyInclusion checks that entry is leaf index of the tree with the given size and root.
func VerifyInclusion(entry [sm.Size]byte, index, size uint64, path [][]byte, root [sm.Size]byte) error {
	if err := proof.VerifyInclusion(hasher{}, index, size, hasher{}.HashLeaf(entry[:]), path, root[:]); err != nil {
		return &sandbox.Error{Op: "log: inclusion", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", index), Detail: "the path does not lead to the root"}
	}
	return nil
}

// VerifyConsistency checks that the tree of size1 is a prefix of the tree of size2.
func VerifyConsistency(size1, size2 uint64, path [][]byte, root1, root2 [sm.Size]byte) error {
	if err := proof.VerifyConsistency(hasher{}, size1, size2, path, root1[:], root2[:]); err != nil {
		return &sandbox.Error{Op: "log: consistency", Kind: sandbox.Tampered, Object: fmt.Sprintf("%d to %d", size1, size2), Detail: "the smaller tree is not a prefix of the larger"}
	}
	return nil
}

// ContextCheckpoint is what a checkpoint is signed under.
const ContextCheckpoint = "opdomain/checkpoint/v1"

// Checkpoint (检查点) is a signed statement of a log's size and root, in the shape of a C2SP signed note:
//
//	<origin>\n<size>\n<base64 root>\n\n— <origin> <base64 of 4-byte key hash ‖ signature>\n
type Checkpoint struct {
	Origin    string
	Size      uint64
	Root      [sm.Size]byte
	Signature []byte
	keyHash   [4]byte
}

func (c Checkpoint) body() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

func keyHash(origin string, pub *sm.VerifyKey) (out [4]byte) {
	d := sm.Sum(sm.Frame([]byte(origin), []byte("SM2"), pub.Bytes()))
	copy(out[:], d[:])
	return out
}

// String gives the note.
func (c Checkpoint) String() string {
	return c.body() + "\n— " + c.Origin + " " + base64.StdEncoding.EncodeToString(append(c.keyHash[:], c.Signature...)) + "\n"
}

func validOrigin(s string) bool {
	return s != "" && len(s) <= 128 && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == '+' || r == 0x7f || r == '\ufffd' })
}

// MaxCheckpoint bounds a checkpoint's text in bytes.
const MaxCheckpoint = 1024

// ParseCheckpoint reads a note in its one form; it does not check the signature.
func ParseCheckpoint(text string) (Checkpoint, error) {
	var c Checkpoint
	err := func() error {
		if len(text) > MaxCheckpoint {
			return errors.New("too long")
		}
		lines := strings.Split(text, "\n")
		if len(lines) != 6 || lines[3] != "" || lines[5] != "" || !validOrigin(lines[0]) {
			return errors.New("lines")
		}
		c.Origin = lines[0]
		size, err := strconv.ParseUint(lines[1], 10, 64)
		if err != nil {
			return err
		}
		c.Size = size
		root, err := base64.StdEncoding.Strict().DecodeString(lines[2])
		if err != nil || len(root) != sm.Size {
			return errors.New("root")
		}
		c.Root = hash(root)
		sig, ok := strings.CutPrefix(lines[4], "— "+c.Origin+" ")
		b, err := base64.StdEncoding.Strict().DecodeString(sig)
		if !ok || err != nil || len(b) < 4+8 {
			return errors.New("signature")
		}
		copy(c.keyHash[:], b)
		c.Signature = b[4:]
		if c.String() != text {
			return errors.New("form")
		}
		return nil
	}()
	if err != nil {
		return Checkpoint{}, &sandbox.Error{Op: "log: checkpoint", Kind: sandbox.Invalid, Object: "checkpoint", Detail: "origin, size, root and one signature in the form of a signed note"}
	}
	return c, nil
}

// Verify checks the signature and that it is by this key for this origin.
func (c Checkpoint) Verify(pub *sm.VerifyKey) error {
	if c.keyHash != keyHash(c.Origin, pub) {
		return &sandbox.Error{Op: "log: checkpoint", Kind: sandbox.Tampered, Object: c.Origin, Detail: "signed by another key"}
	}
	return pub.Verify(ContextCheckpoint, []byte(c.body()), c.Signature)
}
