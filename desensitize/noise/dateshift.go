package noise

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strconv"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Deriver (密钥派生器) is a key that derives others, as *keys.Key of attest/keys and Key of package token are.
type Deriver interface {
	Derive(n int, context ...string) ([]byte, error)
}

// DateShift (日期平移) moves the dates of one subject by one number of whole days, drawn from HMAC-SM3 of the subject's pseudonym: the
// intervals between a person's dates are kept, in every table shifted under the same key and span, and times of day with
// them. A shift is never 0; each of the other 2·span is alike but for 2^-50.
type DateShift struct {
	mac    *sm.MAC
	span   uint64
	masked atomic.Int64
}

// MaxShift bounds the span in days, about a century.
const MaxShift = 36525

// NewDateShift takes the key of the scope and the largest shift in days, 1 to MaxShift. The span is part of the key's label.
func NewDateShift(k Deriver, span int) (*DateShift, error) {
	if span < 1 || span > MaxShift {
		return nil, refuse("date shift", "span", "1 to 36525 days")
	}
	if k == nil {
		return nil, refuse("date shift", "key", "the operation has no key")
	}
	b, err := k.Derive(sm.Size, "opdomain/date-shift/v1", strconv.Itoa(span))
	if err != nil {
		return nil, err
	}
	m, err := sm.NewMAC(b)
	if err != nil {
		return nil, err
	}
	return &DateShift{mac: m, span: uint64(span)}, nil
}

// Format keeps the key out of every verb.
func (*DateShift) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "date shift(redacted)") }

// Masked counts the dates that became null: rows without a subject (the zero pseudonym), and dates that left their type's range.
func (o *DateShift) Masked() int64 { return o.masked.Load() }

const shiftChunk = 1024

// shifts gives the days of up to shiftChunk rows. Neighbours of one subject are computed once.
type shifts struct {
	ids     [shiftChunk * 16]byte
	offsets [shiftChunk + 1]int32
	tags    [shiftChunk * 8]byte
	days    [shiftChunk]int32 // 0: no subject
}

func (o *DateShift) days(s *shifts, subjects []sandbox.Pseudonym) {
	distinct := 0
	for i := range subjects {
		if i == 0 || subjects[i] != subjects[i-1] {
			copy(s.ids[distinct*16:], subjects[i][:])
			distinct++
			s.offsets[distinct] = int32(distinct * 16)
		}
	}
	o.mac.Rows(s.tags[:distinct*8], 8, s.offsets[:distinct+1], s.ids[:])
	at := -1
	var days int32
	for i := range subjects {
		if i == 0 || subjects[i] != subjects[i-1] {
			at++
			n, _ := bits.Mul64(binary.BigEndian.Uint64(s.tags[at*8:]), 2*o.span)
			if days = int32(n) - int32(o.span); days >= 0 {
				days++
			}
			if subjects[i] == (sandbox.Pseudonym{}) {
				days = 0
			}
		}
		s.days[i] = days
	}
}

// Apply shifts a Date32 or Timestamp column (of any unit) by the subjects of its rows. Invalid where there is not one
// subject a row.
func (o *DateShift) Apply(mem memory.Allocator, a arrow.Array, subjects []sandbox.Pseudonym) (arrow.Array, error) {
	if len(subjects) != a.Len() {
		return nil, refuse("date shift", "subjects", "one for each row")
	}
	switch a := a.(type) {
	case *array.Date32:
		v := newValues(mem, a, 4)
		defer v.release()
		move(o, v, a, a.Date32Values(), arrow.Date32Traits.CastFromBytes(v.data.Bytes()), subjects, 1, math.MinInt32, math.MaxInt32)
		return v.array(a.DataType()), nil
	case *array.Timestamp:
		day := int64(86400)
		switch a.DataType().(*arrow.TimestampType).Unit {
		case arrow.Millisecond:
			day *= 1e3
		case arrow.Microsecond:
			day *= 1e6
		case arrow.Nanosecond:
			day *= 1e9
		}
		v := newValues(mem, a, 8)
		defer v.release()
		move(o, v, a, a.TimestampValues(), arrow.TimestampTraits.CastFromBytes(v.data.Bytes()), subjects, day, math.MinInt64, math.MaxInt64)
		return v.array(a.DataType()), nil
	}
	return nil, refuse("date shift", "column", "takes date32 or timestamp")
}

func move[T arrow.Date32 | arrow.Timestamp](o *DateShift, v *values, a arrow.Array, in, out []T, subjects []sandbox.Pseudonym, day, low, high int64) {
	s := new(shifts)
	masked := int64(0)
	whole := a.NullN() == 0
	for at := 0; at < len(in); at += shiftChunk {
		n := min(shiftChunk, len(in)-at)
		o.days(s, subjects[at:at+n])
		for i := range n {
			r := at + i
			x, d := int64(in[r]), int64(s.days[i])*day
			if d != 0 && (d > 0 && x <= high-d || d < 0 && x >= low-d) {
				out[r] = T(x + d)
				continue
			}
			out[r] = 0
			if whole || a.IsValid(r) {
				v.drop(r)
				masked++
			}
		}
		// Values under nulls are moved with the others; nothing reads them.
	}
	o.masked.Add(masked)
}
