package token

import (
	"fmt"
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
)

const (
	tagSize   = 16
	hexSize   = 2 * tagSize
	chunkRows = 1024
	hexDigits = "0123456789abcdef"
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

func toHex(out, b []byte) {
	_ = out[2*len(b)-1]
	for i, c := range b {
		out[2*i], out[2*i+1] = hexDigits[c>>4], hexDigits[c&15]
	}
}

// Format keeps the key out of every verb.
func (*Keyed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "keyed token(redacted)") }
