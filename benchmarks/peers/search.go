package main

import (
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	_ "modernc.org/sqlite"

	"github.com/opdomain/opdomain/benchmarks/datagen"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// fullText measures SQLite's FTS5 over the same cards in memory. It cannot serve the product: bodies in the store are sealed, and an
// index in the file would lay them open. Its trigrams do not hold words of one and two characters, which are most Chinese ones; such
// a search reads the table.
func fullText(repeat int) (string, error) {
	all := datagen.Cards(10_000)
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		return "", err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE VIRTUAL TABLE card USING fts5(words, tokenize = 'trigram')`); err != nil {
		return "", err
	}
	began := time.Now()
	tx, err := db.Begin()
	if err != nil {
		return "", err
	}
	for i := range all {
		d := &all[i]
		words := []string{string(d.ID), string(d.Unit), d.Title, d.Card.Description, d.Card.Source, strings.Join(d.Card.Tags, "\n")}
		for _, c := range d.Columns {
			words = append(words, c.Name, c.Title)
		}
		if _, err := tx.Exec(`INSERT INTO card VALUES (?)`, strings.Join(words, "\n")); err != nil {
			return "", err
		}
	}
	if err := tx.Commit(); err != nil {
		return "", err
	}
	built := time.Since(began)
	var took []time.Duration
	for range repeat {
		for _, text := range datagen.Searches {
			query, args := "SELECT count(*) FROM card WHERE true", []any{}
			for _, w := range strings.Fields(text) {
				query, args = query+" AND words LIKE ?", append(args, "%"+w+"%")
			}
			began := time.Now()
			var n int
			if err := db.QueryRow(query, args...).Scan(&n); err != nil {
				return "", err
			}
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	x := catalog.NewIndex()
	began = time.Now()
	for i := range all {
		x.Put(&all[i])
	}
	ourBuilt, ours := time.Since(began), []time.Duration(nil)
	for range repeat {
		for _, text := range datagen.Searches {
			began := time.Now()
			if _, _, err := x.Search(catalog.Query{Text: text, Limit: catalog.MaxPage}, nil); err != nil {
				return "", err
			}
			ours = append(ours, time.Since(began))
		}
	}
	slices.Sort(ours)
	return fmt.Sprintf("\nSearch over 10,000 cards in memory, %d searches.\n\n| what | index built, ms | median, ms | slowest, ms |\n|---|---:|---:|---:|\n"+
		"| SQLite FTS5, trigrams, counting without ranking | %.0f | %.2f | %.1f |\n| ours, ranked | %.0f | %.2f | %.1f |\n",
		len(took), ms(built), ms(took[len(took)/2]), ms(took[len(took)-1]), ms(ourBuilt), ms(ours[len(ours)/2]), ms(ours[len(ours)-1])), nil
}
