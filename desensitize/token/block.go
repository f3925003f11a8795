package token

import (
	"encoding/hex"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
)

// MaxBlock is the longest value of a Block token, in bytes.
const MaxBlock = sm.BlockSize - 1

// Block (单分组令牌) is the reversible token of a short value: one SM4 block, as 32 lower-case hexadecimal digits. The block is
// the value's length in one byte, the value, zeros up to 16: every value of up to 15 bytes has a block of its own. A token is
// longer than any value, so none equals its value. Longer values do not fit. An Int64 is read as its decimal text; numbers
// beyond 15 characters do not fit.
type Block struct {
	blocks *sm.Blocks
	masked atomic.Int64
}

// NewBlock makes the operation; its key is derived under the name block.
func NewBlock(k Key) (*Block, error) {
	b, err := k.derive(sm.KeySize, "block")
	if err != nil {
		return nil, err
	}
	c, err := sm.NewBlocks(b)
	if err != nil {
		return nil, err
	}
	return &Block{blocks: c}, nil
}

// Apply gives the tokens of a column.
func (o *Block) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	return toText("block", mem, a, o)
}

// Masked counts the values that did not fit, over all calls of Apply.
func (o *Block) Masked() int64 { return o.masked.Load() }

func (o *Block) encode(w *writer, t *texts) error {
	if err := w.grow((t.len() - t.nulls) * hexSize); err != nil {
		return err
	}
	buf := make([]byte, chunkRows*sm.BlockSize)
	masked := int64(0)
	for at := 0; at < t.len(); at += chunkRows {
		n := min(chunkRows, t.len()-at)
		if err := w.grow(n * hexSize); err != nil {
			return err
		}
		clear(buf[:n*sm.BlockSize])
		for i := range n {
			if v := t.row(at + i); len(v) <= MaxBlock {
				b := buf[i*sm.BlockSize : (i+1)*sm.BlockSize]
				b[0] = byte(len(v))
				copy(b[1:], v)
			}
		}
		o.blocks.Encrypt(buf[:n*sm.BlockSize])
		for i := range n {
			switch {
			case t.null(at + i):
				w.next(0)
			case len(t.row(at+i)) > MaxBlock:
				w.mask()
				masked++
			default:
				toHex(w.next(hexSize), buf[i*sm.BlockSize:(i+1)*sm.BlockSize])
			}
		}
	}
	o.masked.Add(masked)
	return nil
}

func (o *Block) reverse(k Key) (encoder, error) {
	b, err := NewBlock(k)
	return (*openBlock)(b), err
}

// openBlock is Block backwards. What is no token of this key becomes null: length and zeros are its check.
type openBlock Block

func (o *openBlock) encode(w *writer, t *texts) error {
	buf := make([]byte, chunkRows*sm.BlockSize)
	for at := 0; at < t.len(); at += chunkRows {
		n := min(chunkRows, t.len()-at)
		if err := w.grow(n * MaxBlock); err != nil {
			return err
		}
		var ok [chunkRows]bool
		for i := range n {
			v := t.row(at + i)
			if len(v) != hexSize || t.null(at+i) {
				continue
			}
			_, err := hex.Decode(buf[i*sm.BlockSize:(i+1)*sm.BlockSize], v)
			ok[i] = err == nil
			for _, c := range v { // one spelling of a token
				ok[i] = ok[i] && (c < 'A' || c > 'F')
			}
		}
		o.blocks.Decrypt(buf[:n*sm.BlockSize])
		for i := range n {
			b := buf[i*sm.BlockSize : (i+1)*sm.BlockSize]
			size := int(b[0])
			good := ok[i] && size <= MaxBlock
			for j := 1 + size; good && j < sm.BlockSize; j++ {
				good = b[j] == 0
			}
			switch {
			case t.null(at + i):
				w.next(0)
			case good:
				copy(w.next(size), b[1:])
			default:
				w.drop()
			}
		}
	}
	return nil
}

// Format keeps the key out of every verb.
func (*Block) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "block token(redacted)") }
