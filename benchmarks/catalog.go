package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/benchmarks/datagen"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/quality"
)

const catalogTables = 10_000

// catalogSection measures the catalogue: the index of 10,000 cards that a start builds, searches over it, and the quality pass over
// the rows that the engine's lines scan.
func catalogSection(rows, repeat int) (string, error) {
	all := datagen.Cards(catalogTables)
	began, cpu := time.Now(), processorTime()
	x := catalog.NewIndex()
	for i := range all {
		x.Put(&all[i])
	}
	built, builtCPU := time.Since(began), processorTime()-cpu
	var took []time.Duration
	found := 0
	for range repeat {
		for _, text := range datagen.Searches {
			began := time.Now()
			_, total, err := x.Search(catalog.Query{Text: text, Limit: catalog.MaxPage}, nil)
			if err != nil {
				return "", err
			}
			took, found = append(took, time.Since(began)), found+total
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	out := fmt.Sprintf("\n## The catalogue\n\n%d cards of %d columns in memory: index built in %.0f ms (%.0f ms of CPU); %d searches, %d tables found on average: median %.2f ms, slowest %.1f ms.\n\n",
		catalogTables, datagen.CardColumns, ms(built), ms(builtCPU), len(took), found/len(took), ms(took[len(took)/2]), ms(took[len(took)-1]))
	line, err := qualityLine(rows, repeat)
	return out + line, err
}

// qualityLine is the quality pass, by rows and by cells.
func qualityLine(rows, repeat int) (string, error) {
	t := generate(rows, func(row int) int { return row / rowsPerSubject }, pseudonym)["claims"]
	d := t.described
	d.Columns = slices.Clone(d.Columns)
	for i, values := range map[int]string{1: "len[1,12]", 2: "len[1,8]", 3: "[2000-01-01,2030-12-31]", 4: "[0,)", 5: "[0,)"} {
		d.Columns[i].Values = values
	}
	best := time.Duration(0)
	for range repeat {
		p, err := quality.New(d)
		if err != nil {
			return "", err
		}
		cpu := processorTime()
		for _, rec := range t.records {
			if err := p.Observe(rec); err != nil {
				return "", err
			}
		}
		if took := processorTime() - cpu; best == 0 || took < best {
			best = took
		}
	}
	perS := float64(rows) / best.Seconds() / 1e6
	return fmt.Sprintf("Quality pass over %d rows of %d columns (3 texts, a date, 2 amounts; 5 ranges, whole rows hashed for uniqueness): %.1f M rows/CPU-s, %.0f M cells/CPU-s.\n",
		rows, len(d.Columns), perS, perS*float64(len(d.Columns))), nil
}
