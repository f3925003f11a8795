package share

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"io"
	"unsafe"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Generator (伪随机数发生器) names the block cipher whose counter mode makes the pairs' common randomness.
type Generator string

// The generators. A plan names one; nobody falls back to the other.
const (
	AESGenerator Generator = "aes-128-ctr"
	SM4Generator Generator = "sm4-ctr"
)

// maxCounter bounds the blocks of one key.
const maxCounter = 1 << 48

// Span (计数区间) is a range of counters that one use took from one key.
type Span struct {
	First, Blocks uint64
}

// stream is the common randomness of two neighbours.
type stream struct {
	aes  cipher.Block
	ctr  cipher.Stream // of aes, at counter pos
	pos  uint64
	sm4  *sm.Blocks
	next uint64
	used []Span
	hook func(at uint64, words int) // tests only: sees what is really generated
}

// newStream derives the key of one purpose from a secret of 32 bytes.
func newStream(g Generator, secret []byte, purpose string) (*stream, error) {
	key, err := sm.HKDF(secret, nil, sm.Frame([]byte("opdomain/mpc/share/v1"), []byte(g), []byte(purpose)), 16)
	if err != nil {
		return nil, err
	}
	s := &stream{}
	switch g {
	case AESGenerator:
		s.aes, err = aes.NewCipher(key)
	case SM4Generator:
		s.sm4, err = sm.NewBlocks(key)
	default:
		err = &sandbox.Error{Op: "share: generator", Kind: sandbox.Invalid, Object: "generator", Detail: "aes-128-ctr or sm4-ctr"}
	}
	return s, err
}

// Format keeps the key out of every verb.
func (*stream) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "share stream(redacted)") }

// take reserves counters for so many words and gives the first. What it gave once it never gives again.
func (s *stream) take(words int) (uint64, bool) {
	blocks := uint64(words+1) / 2
	if blocks > maxCounter-s.next {
		return 0, false
	}
	at := s.next
	s.next += blocks
	if n := len(s.used); n > 0 && s.used[n-1].First+s.used[n-1].Blocks == at {
		s.used[n-1].Blocks += blocks // neighbours are one span, so that the ledger stays short
	} else {
		s.used = append(s.used, Span{at, blocks})
	}
	return at, true
}

var zeros [8 * piece]byte // never written

// fill writes the words of the counters from at. Only what take gave is asked for: a second time by the check alone, which
// recomputes masks and sends none of them.
func (s *stream) fill(dst []uint64, at uint64) {
	if len(dst) == 0 {
		return
	}
	if s.hook != nil {
		s.hook(at, len(dst))
	}
	if len(dst)%2 == 1 {
		var last [2]uint64
		s.fill1(last[:], at+uint64(len(dst)/2))
		dst[len(dst)-1] = last[0]
		dst = dst[:len(dst)-1]
	}
	s.fill1(dst, at)
}

func (s *stream) fill1(dst []uint64, at uint64) {
	if len(dst) == 0 {
		return
	}
	b := asBytes(dst)
	if s.aes != nil {
		if s.ctr == nil || s.pos != at {
			var iv [16]byte
			binary.BigEndian.PutUint64(iv[8:], at)
			s.ctr = cipher.NewCTR(s.aes, iv[:])
		}
		s.pos = at + uint64(len(b)/16)
		for len(b) > 0 {
			n := min(len(b), len(zeros))
			s.ctr.XORKeyStream(b[:n], zeros[:n])
			b = b[n:]
		}
		return
	}
	for i := 0; i < len(b); i += 16 {
		binary.BigEndian.PutUint64(b[i:], 0)
		binary.BigEndian.PutUint64(b[i+8:], at)
		at++
	}
	s.sm4.Encrypt(b)
}

// asBytes is the memory of a column, as it is sent.
func asBytes(v []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*8)
}

// littleEndian says whether this machine's words are the messages' words.
func littleEndian() bool {
	v := []uint64{1}
	return asBytes(v)[0] == 1
}
