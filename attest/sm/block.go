package sm

import (
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm4"

	"github.com/opdomain/opdomain/sandbox"
)

// BlockSize is the length of an SM4 block in bytes.
const BlockSize = 16

// Blocks (分组加密) is SM4 on independent blocks under one key: a keyed permutation of 16 bytes, not a mode of encryption.
// Equal blocks stay equal; it is for tokens and as the round function of FF1. Many blocks in one call go through the
// kernel where NewGCM has it, in constant time even for one, and through the library's parallel path elsewhere. Safe for
// concurrent use.
type Blocks struct {
	block    cipher.Block
	enc, dec cipher.BlockMode // nil where the library has none
	kernel   *ecb             // nil where there is none
}

// NewBlocks takes a key of KeySize bytes.
func NewBlocks(key []byte) (*Blocks, error) {
	if len(key) != KeySize {
		return nil, &sandbox.Error{Op: "sm: blocks", Kind: sandbox.Invalid, Detail: "an SM4 key has 16 bytes"}
	}
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: blocks", Kind: sandbox.Internal, Err: err}
	}
	b := blocksOf(block)
	b.kernel = newECB(key)
	return b, nil
}

func blocksOf(block cipher.Block) *Blocks {
	b := &Blocks{block: block}
	if e, ok := block.(interface{ NewECBEncrypter() cipher.BlockMode }); ok {
		b.enc = e.NewECBEncrypter()
	}
	if d, ok := block.(interface{ NewECBDecrypter() cipher.BlockMode }); ok {
		b.dec = d.NewECBDecrypter()
	}
	return b
}

// library is the same permutation without the kernel.
func (b *Blocks) library() *Blocks {
	l := *b
	l.kernel = nil
	return &l
}

// Encrypt encrypts each block of buf in place. The length is a multiple of BlockSize; it panics otherwise.
func (b *Blocks) Encrypt(buf []byte) {
	if b.kernel != nil {
		whole(buf)
		b.kernel.encrypt(buf)
		return
	}
	if b.enc != nil {
		b.enc.CryptBlocks(buf, buf)
		return
	}
	for i := 0; i < len(buf); i += BlockSize {
		b.block.Encrypt(buf[i:], buf[i:])
	}
}

// Decrypt undoes Encrypt.
func (b *Blocks) Decrypt(buf []byte) {
	if b.kernel != nil {
		whole(buf)
		b.kernel.decrypt(buf)
		return
	}
	if b.dec != nil {
		b.dec.CryptBlocks(buf, buf)
		return
	}
	for i := 0; i < len(buf); i += BlockSize {
		b.block.Decrypt(buf[i:], buf[i:])
	}
}

// whole panics as cipher.Block does where the caller breaks its contract: no length from outside comes here unchecked.
func whole(buf []byte) {
	if len(buf)%BlockSize != 0 {
		panic("sm: not whole blocks")
	}
}

// String keeps the key out of logs.
func (Blocks) String() string { return "sm4 blocks(redacted)" }

// Format keeps the key out of every verb.
func (b Blocks) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, b.String()) }
