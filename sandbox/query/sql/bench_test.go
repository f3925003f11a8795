package sql

import (
	"strings"
	"testing"
)

// BenchmarkCompile shows what a question costs, and what the largest texts cost that are still read to their end.
func BenchmarkCompile(b *testing.B) {
	for _, x := range []struct{ name, text string }{
		{"question", `SELECT BIN(p.born, 'age-band') AS age, p.sex, COUNT(DISTINCT _subject) AS people, SUM(c.amount) AS cost FROM "ds-claims" c JOIN "ds-persons" p ON c._subject = p._subject WHERE c.amount >= 100 AND c.amount < 1000 GROUP BY age, p.sex HAVING COUNT(DISTINCT _subject) >= 20 ORDER BY cost DESC LIMIT 10`},
		{"labels", `SELECT COUNT(*) FROM "ds-claims" WHERE days IN (` + number(MaxTokens/2-20) + `)`},
		{"outputs", "SELECT " + strings.Repeat("COUNT(*),", 6000) + `COUNT(*) FROM "ds-claims"`},
		{"nesting", `SELECT COUNT(*) FROM "ds-claims" WHERE ` + strings.Repeat("NOT ", MaxTokens-20) + "urgent"},
		{"MiB", `SELECT COUNT(*) FROM "ds-claims" WHERE icd10 IN (` + strings.Repeat("'"+strings.Repeat("x", 60)+"',", MaxTokens/2-20) + `'x')`},
	} {
		b.Run(x.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Compile(x.text, described(), "sc-1", "research")
			}
		})
	}
}
