package token

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Reversible (可逆令牌) is an operation whose tokens open with the key: Block, Format and Alphabet.
type Reversible interface {
	Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error)
	Masked() int64
	reverse(Key) (encoder, error)
}

// Reverse (去令牌化) gives back the values of a column of tokens. It re-identifies people: it is called only for a request that was
// approved and logged before, which is the caller's duty; that is why it takes the scope's key again and is no method of
// an operation. op says which operation and parameters made the tokens.
//
// What is no token becomes null. A Block token is checked; with the wrong key its rows become null but for about 2^-8
// each. Format tokens carry no check: with the wrong key they give other valid values.
func Reverse(mem memory.Allocator, k Key, op Reversible, a arrow.Array) (arrow.Array, error) {
	e, err := op.reverse(k)
	if err != nil {
		return nil, err
	}
	if _, ok := op.(*Block); ok {
		return toText("reverse", mem, a, e)
	}
	return toKind("reverse", mem, a, e)
}
