package token

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// BenchmarkNormal: looking for other forms in a column that has none, beside the tokens of the same column.
func BenchmarkNormal(b *testing.B) {
	const rows = 100_000
	for _, v := range []string{"13800138000", "11010519491231002X"} {
		build := array.NewStringBuilder(memory.DefaultAllocator)
		for range rows {
			build.Append(v)
		}
		a := build.NewStringArray()
		for name, f := range map[string]func(){
			"look": func() {
				if t := textsOf(a); t.changed() >= 0 {
					b.Fatal("a form changes")
				}
			},
			"block": func() {
				o, err := NewBlock(normalKey(b))
				if err != nil {
					b.Fatal(err)
				}
				out, err := o.Apply(memory.DefaultAllocator, a)
				if err != nil {
					b.Fatal(err)
				}
				out.Release()
			},
		} {
			b.Run(name+"-"+v[:1]+"x"+text(len(v)), func(b *testing.B) {
				for b.Loop() {
					f()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/rows, "ns/value")
			})
		}
	}
}
