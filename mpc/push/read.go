package push

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

// Read gives a party's shares of the pushed columns from its file. want is what the statement must say but for the commitments; name stands in
// errors. Denied for a push that another signed or that is for something else, Tampered for bytes that are not what was signed.
func Read(r io.Reader, name string, want Body, unit *sm.VerifyKey, party int, key *sm.DecryptKey) (agg.Pushed, error) {
	cols, _, err := read(r, name, want, unit, party, key, true)
	if err != nil {
		return nil, err
	}
	var out agg.Pushed
	for _, c := range cols {
		out = append(out, share.VecOf(c[0], c[1]))
	}
	return out, nil
}

// Check reads as Read does, makes no columns of what it reads, and gives the push's digest.
func Check(r io.Reader, name string, want Body, unit *sm.VerifyKey, party int, key *sm.DecryptKey) (digest string, err error) {
	_, s, err := read(r, name, want, unit, party, key, false)
	if err != nil {
		return "", err
	}
	return Digest(s), nil
}

// read reads a party's file of a push, column by column: of each the party's two parts.
func read(r io.Reader, name string, want Body, unit *sm.VerifyKey, party int, key *sm.DecryptKey, columns bool) (cols [][2][]uint64, s attest.Statement, err error) {
	tampered := func(rule string) error {
		return &sandbox.Error{Op: "push", Kind: sandbox.Tampered, Object: name, Detail: rule}
	}
	denied := func(rule, hint string) error {
		return &sandbox.Error{Op: "push", Kind: sandbox.Denied, Object: name, Detail: rule, Hint: hint}
	}
	in := bufio.NewReaderSize(r, attest.MaxStatement)
	head, err := in.ReadSlice('\n')
	if err != nil {
		return nil, s, tampered("a statement, a line of JSON of at most 64 KiB")
	}
	var body Body
	if json.Unmarshal(head, &s) != nil {
		return nil, s, tampered("a statement, a line of JSON of at most 64 KiB")
	}
	if again, err := json.Marshal(s); err != nil || !bytes.Equal(append(again, '\n'), head) {
		return nil, s, tampered("a statement in its one encoding")
	}
	if err := s.Open(unit, contextPush, &body); err != nil {
		return nil, s, denied("the unit whose key the question names signed the push", "ask that unit for its push")
	}
	if body.Plan != want.Plan || body.Dataset != want.Dataset || body.Rows != want.Rows || body.Columns != want.Columns {
		return nil, s, denied("the push is for this plan, dataset, size and columns", "have the unit push for the plan that was approved")
	}
	frame := func(k, n, size int) ([]byte, error) {
		var length [4]byte
		if _, err := io.ReadFull(in, length[:]); err != nil {
			return nil, tampered("frames of both parts")
		}
		most := binary.BigEndian.Uint32(length[:])
		if most > maxFrame || int(most) < size || int(most) > size+256 {
			return nil, tampered("a frame has its length")
		}
		sealed := make([]byte, most)
		if _, err := io.ReadFull(in, sealed); err != nil {
			return nil, tampered("frames of both parts")
		}
		b, err := key.OpenMessage(frameContext(s, party, k, n), sealed)
		if err != nil || len(b) != size {
			return nil, tampered("a frame is sealed to this party, for its place in this push")
		}
		return b, nil
	}
	cols = make([][2][]uint64, body.Columns)
	for at, k := range heldParts(party) {
		seed := map[bool]int{true: sm.KeySize}[k < 2]
		first, err := frame(k, 0, saltSize+seed)
		if err != nil {
			return nil, s, err
		}
		x := part{first}
		if k == 2 {
			for c := range cols {
				b, err := frame(k, 1+c, 8*body.Rows)
				if err != nil {
					return nil, s, err
				}
				x = append(x, b)
				if columns {
					cols[c][at] = fromBytes(b)
				}
			}
		} else {
			stream, err := sm.NewKeystream(first[saltSize:])
			if err != nil {
				return nil, s, err
			}
			for c := range cols {
				if columns {
					cols[c][at] = words(stream, body.Rows)
				}
			}
		}
		if c := x.commitment(k); !bytes.Equal(c[:], body.Commitments[k]) {
			return nil, s, tampered("a part is the one that the unit signed")
		}
	}
	if _, err := in.ReadByte(); err != io.EOF {
		return nil, s, tampered("nothing stands behind the parts")
	}
	return cols, s, nil
}
