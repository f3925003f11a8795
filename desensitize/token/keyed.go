package token

import (
	"encoding/binary"
	"fmt"
	"io"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
)

const (
	tagSize   = 16
	hexSize   = 2 * tagSize
	chunkRows = 1024
)

// Keyed (密钥杂凑令牌) is the irreversible token: the first 16 bytes of HMAC-SM3 over the value's bytes, as 32 lower-case
// hexadecimal digits. Every value fits, the empty one too. An Int64 has the token of its decimal text, so a number has one
// token whether a table stores it as integer or as text. A value equals its token with probability 2^-128. Who holds the
// key can try values; who does not, cannot.
type Keyed struct{ mac *sm.MAC }

// NewKeyed makes the operation; its key is derived under the name keyed.
func NewKeyed(k Key) (*Keyed, error) {
	b, err := k.derive(sm.Size, "keyed")
	if err != nil {
		return nil, err
	}
	m, err := sm.NewMAC(b)
	if err != nil {
		return nil, err
	}
	return &Keyed{m}, nil
}

// Apply gives the tokens of a column.
func (o *Keyed) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	return toText("keyed", mem, a, o)
}

// Masked is always 0: every value has a token.
func (o *Keyed) Masked() int64 { return 0 }

func (o *Keyed) encode(w *writer, t *texts) error {
	if err := w.grow((t.len() - t.nulls) * hexSize); err != nil {
		return err
	}
	var tags [chunkRows * tagSize]byte
	for at := 0; at < t.len(); at += chunkRows {
		n := min(chunkRows, t.len()-at)
		if err := w.grow(n * hexSize); err != nil {
			return err
		}
		o.mac.Rows(tags[:n*tagSize], tagSize, t.offsets[at:at+n+1], t.data)
		for i := range n {
			if t.null(at + i) {
				w.next(0)
			} else {
				toHex(w.next(hexSize), tags[i*tagSize:(i+1)*tagSize])
			}
		}
	}
	return nil
}

// toHex writes b in hexadecimal, a multiple of four bytes at a time: nibbles into bytes of a word, then digits and letters.
func toHex(out, b []byte) {
	_ = out[2*len(b)-1]
	for i := 0; i < len(b); i += 4 {
		x := uint64(binary.BigEndian.Uint32(b[i:]))
		x = (x | x<<16) & 0x0000ffff0000ffff
		x = (x | x<<8) & 0x00ff00ff00ff00ff
		x = (x | x<<4) & 0x0f0f0f0f0f0f0f0f
		letters := (x + 0x0606060606060606) >> 4 & 0x0101010101010101
		binary.BigEndian.PutUint64(out[2*i:], x+0x3030303030303030+letters*('a'-'0'-10))
	}
}

// Format keeps the key out of every verb.
func (*Keyed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keyed token(redacted)") }
