package token

import (
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// maxLengths bounds Alphabet's values in characters.
const maxLengths = 256

// Digits, and digits with lower-case letters: alphabets of radix 10 and 36.
const (
	Decimal = "0123456789"
	Base36  = "0123456789abcdefghijklmnopqrstuvwxyz"
)

// Alphabet (字母表保留格式令牌) is the reversible token over any alphabet: a value of n characters has a token of n characters of the same
// alphabet, by FF1-SM4 with an empty tweak. A value with other characters, or shorter or longer than stated, does not fit.
type Alphabet struct {
	runes    []rune
	places   map[rune]uint16
	ascii    [128]int32 // place, -1 for none
	min, max int
	shapes   []*sm.FF1 // by length, from min
	masked   atomic.Int64
	open     bool
}

// NewAlphabet takes an alphabet of 2 to 65536 different characters and the lengths of values in characters. Denied where the
// shortest values are fewer than 1,000,000.
func NewAlphabet(k Key, alphabet string, shortest, longest int) (*Alphabet, error) {
	o := &Alphabet{runes: []rune(alphabet), places: map[rune]uint16{}, min: shortest, max: longest}
	if !utf8.ValidString(alphabet) || len(o.runes) < 2 || len(o.runes) > 1<<16 || shortest < 2 || longest < shortest || longest > maxLengths {
		return nil, &sandbox.Error{Op: "token: alphabet", Kind: sandbox.Invalid, Object: "alphabet", Detail: "2 to 65536 characters, values of 2 to 256 characters"}
	}
	for i := range o.ascii {
		o.ascii[i] = -1
	}
	for i, r := range o.runes {
		if _, double := o.places[r]; double {
			return nil, &sandbox.Error{Op: "token: alphabet", Kind: sandbox.Invalid, Object: "alphabet", Detail: "a character stands twice"}
		}
		if Normal(string(r)) != string(r) {
			return nil, &sandbox.Error{Op: "token: alphabet", Kind: sandbox.Invalid, Object: "alphabet", Detail: "characters are in normal form: half-width, in NFC, no space"}
		}
		o.places[r] = uint16(i)
		if r < 128 {
			o.ascii[r] = int32(i)
		}
	}
	key, err := k.derive(sm.KeySize, "alphabet", alphabet)
	if err != nil {
		return nil, err
	}
	for n := shortest; n <= longest; n++ {
		c, err := sm.NewFF1(key, len(o.runes), n, 0)
		if err != nil {
			return nil, err
		}
		o.shapes = append(o.shapes, c)
	}
	return o, nil
}

// Apply gives the tokens of a column of strings or a dictionary of them. Integers would lose leading zeros.
func (o *Alphabet) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	if a.DataType().ID() == arrow.INT64 {
		return nil, refuse("alphabet", "an integer column would lose leading zeros of its tokens")
	}
	return toText("alphabet", mem, a, o)
}

// Masked counts the values that did not fit, over all calls of Apply.
func (o *Alphabet) Masked() int64 { return o.masked.Load() }

func (o *Alphabet) reverse(k Key) (encoder, error) {
	a, err := NewAlphabet(k, string(o.runes), o.min, o.max)
	if err == nil {
		a.open = true
	}
	return a, err
}

// read appends a value's numerals; on failure x is as it was.
func (o *Alphabet) read(x []uint16, v []byte) ([]uint16, bool) {
	was := len(x)
	for at := 0; at < len(v); {
		p, size := int32(-1), 1
		if c := v[at]; c < utf8.RuneSelf {
			p = o.ascii[c]
		} else {
			var r rune
			r, size = utf8.DecodeRune(v[at:])
			if place, ok := o.places[r]; ok && !(r == utf8.RuneError && size == 1) {
				p = int32(place)
			}
		}
		if p < 0 || len(x)-was == o.max {
			return x[:was], false
		}
		x = append(x, uint16(p))
		at += size
	}
	return x, len(x)-was >= o.min
}

func (o *Alphabet) encode(w *writer, t *texts) error {
	const rows = 256
	var lengths [rows]int // numerals of a row, 0 for none
	all := make([]uint16, 0, rows*o.max)
	was := make([]uint16, 0, rows*o.max)
	group := make([]uint16, 0, rows*o.max)
	masked := int64(0)
	for at := 0; at < t.len(); at += rows {
		n := min(rows, t.len()-at)
		all = all[:0]
		seen := make([]bool, o.max+1)
		for i := range n {
			lengths[i] = 0
			if t.null(at + i) {
				continue
			}
			from := len(all)
			x, ok := o.read(all, t.row(at+i))
			if all = x; !ok {
				all = all[:from]
				continue
			}
			lengths[i] = len(all) - from
			seen[lengths[i]] = true
		}
		was = append(was[:0], all...)
		for length, used := range seen {
			if used {
				if err := o.crypt(all, group, lengths[:n], length); err != nil {
					return err
				}
			}
		}
		if err := w.grow(len(all)*utf8.UTFMax + n*len(Masked)); err != nil {
			return err
		}
		x, y := all, was
		for i := range n {
			k := lengths[i]
			switch {
			case t.null(at + i):
				w.next(0)
			case k > 0 && (o.open || !slices.Equal(x[:k], y[:k])):
				size := 0
				for _, p := range x[:k] {
					size += utf8.RuneLen(o.runes[p])
				}
				out := w.next(size)[:0]
				for _, p := range x[:k] {
					out = utf8.AppendRune(out, o.runes[p])
				}
			case o.open:
				w.drop()
			default:
				w.mask()
				masked++
			}
			x, y = x[k:], y[k:]
		}
	}
	o.masked.Add(masked)
	return nil
}

// crypt puts the rows of one length through FF1.
func (o *Alphabet) crypt(all, group []uint16, lengths []int, length int) error {
	group = group[:0]
	from := 0
	for _, k := range lengths {
		if k == length {
			group = append(group, all[from:from+k]...)
		}
		from += k
	}
	f := o.shapes[length-o.min]
	var err error
	if o.open {
		err = f.OpenStrings(group, nil)
	} else {
		err = f.Strings(group, nil)
	}
	if err != nil {
		return err
	}
	from = 0
	for _, k := range lengths {
		if k == length {
			group = group[copy(all[from:from+k], group):]
		}
		from += k
	}
	return nil
}

// Format keeps the key out of every verb.
func (*Alphabet) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "alphabet token(redacted)") }
