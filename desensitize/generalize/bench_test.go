package generalize

import (
	"context"
	"fmt"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// BenchmarkAdult searches the reference table.
func BenchmarkAdult(b *testing.B) {
	table := loadAdult(b).table(b)
	for _, g := range []Goal{{K: 5, Metric: AverageClass}, {K: 5}, {K: 5, Suppression: 0.04, Metric: AverageClass}, {K: 5, Suppression: 0.04}} {
		b.Run(fmt.Sprintf("%s-%g", g.Metric, g.Suppression), func(b *testing.B) {
			for b.Loop() {
				if _, err := table.Search(context.Background(), g); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAdd reads rows into combinations.
func BenchmarkAdd(b *testing.B) {
	a := loadAdult(b)
	table, err := NewTable(a.config())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := table.Add(a.record); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(table.Rows())/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

// BenchmarkColumn applies one level to a text column.
func BenchmarkColumn(b *testing.B) {
	a := loadAdult(b)
	for _, name := range []string{"age", "native-country"} {
		b.Run(name, func(b *testing.B) {
			c, err := NewColumn(a.hier[name], 1)
			if err != nil {
				b.Fatal(err)
			}
			in := a.record.Column(a.record.Schema().FieldIndices(name)[0])
			for b.Loop() {
				out, err := c.Apply(memory.DefaultAllocator, in)
				if err != nil {
					b.Fatal(err)
				}
				out.Release()
			}
			b.ReportMetric(float64(in.Len())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
		})
	}
}
