//go:build !purego

package sm

import "encoding/binary"

// sm4Pairs encrypts n times 64 blocks, each of two numbers: its first eight bytes and its last, big-endian.
//
//go:noescape
func sm4Pairs(rk *[32]uint32, high, low, outHigh, outLow *uint64, n int)

// pairs is SM4 under one key over blocks as pairs of numbers.
type pairs struct{ rk [32]uint32 }

// newPairs gives nil where the processor has not what it needs, or where the library does not agree on a group of blocks.
func newPairs(key []byte, library *Blocks) *pairs {
	if !hasKernel {
		return nil
	}
	p := &pairs{}
	sm4Expand(&p.rk, (*[KeySize]byte)(key))
	var high, low, outHigh, outLow [ff1Rows]uint64
	blocks := make([]byte, 0, ff1Group*BlockSize)
	for i := range ff1Group {
		high[i], low[i] = uint64(i+1)*0x9e3779b97f4a7c15, uint64(i+1)*0xbf58476d1ce4e5b9
		blocks = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(blocks, high[i]), low[i])
	}
	p.encrypt(&high, &low, &outHigh, &outLow, ff1Group)
	library.library().Encrypt(blocks)
	for i := range ff1Group {
		if b := blocks[i*BlockSize:]; outHigh[i] != binary.BigEndian.Uint64(b) || outLow[i] != binary.BigEndian.Uint64(b[8:]) {
			return nil
		}
	}
	return p
}

func (p *pairs) encrypt(high, low, outHigh, outLow *[ff1Rows]uint64, n int) {
	sm4Pairs(&p.rk, &high[0], &low[0], &outHigh[0], &outLow[0], (n+ff1Group-1)/ff1Group)
}
