package mask

import (
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// BenchmarkKeep masks 32768 identity numbers 6 + 4, of one width and of two.
func BenchmarkKeep(b *testing.B) {
	for _, odd := range []bool{false, true} {
		b.Run(fmt.Sprintf("odd=%v", odd), func(b *testing.B) {
			s := array.NewStringBuilder(memory.NewGoAllocator())
			for i := range 32 << 10 {
				v := fmt.Sprintf("440305%08d%04d", 19000101+i%10000, i%10000)
				if odd && i%100 == 0 {
					v = v[:15]
				}
				s.Append(v)
			}
			in := s.NewArray()
			op := Must(Keep(6, 4, Style{}))
			b.SetBytes(18 * 32 << 10)
			b.ReportAllocs()
			for b.Loop() {
				out, err := op.Apply(memory.DefaultAllocator, in)
				if err != nil {
					b.Fatal(err)
				}
				out.Release()
			}
		})
	}
}

// BenchmarkShapes masks 32768 values of each kind.
func BenchmarkShapes(b *testing.B) {
	for name, c := range map[string]struct {
		op *Text
		v  string
	}{
		"mobile": {Must(Mobile(Style{})), "13000000000"}, "name": {Must(Name(Surname, Style{})), "欧阳娜娜"}, "address": {Must(Address(Style{})), "广东省深圳市龙华区民治街道春华路1号"},
		"email": {Must(Email(1, false, Style{})), "li.lei@example.com"}, "plate": {Must(Plate(Style{})), "粤B12345"}, "keep, Chinese": {Must(Keep(1, 1, Style{})), "诸葛孔明"},
	} {
		b.Run(name, func(b *testing.B) {
			s := array.NewStringBuilder(memory.NewGoAllocator())
			for range 32 << 10 {
				s.Append(c.v)
			}
			in := s.NewArray()
			for b.Loop() {
				out, err := c.op.Apply(memory.DefaultAllocator, in)
				if err != nil {
					b.Fatal(err)
				}
				out.Release()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(32<<10), "ns/row")
		})
	}
}
