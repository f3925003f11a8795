package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opdomain/opdomain/sandbox/egress"
)

// fees FILE SEED ROWS writes a unit's table: who, district, disease, fee. people come again, in other units too. fees FILE + FILE... puts tables together.
func fees(ts *testscript.TestScript, _ bool, args []string) {
	out, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w := csv.NewWriter(out)
	ts.Check(w.Write([]string{"who", "district", "disease", "fee"}))
	if args[1] == "+" {
		for _, name := range args[2:] {
			f, err := os.Open(ts.MkAbs(name))
			ts.Check(err)
			rows, err := csv.NewReader(f).ReadAll()
			ts.Check(err)
			ts.Check(f.Close())
			ts.Check(w.WriteAll(rows[1:]))
		}
	} else {
		seed, err := strconv.Atoi(args[1])
		ts.Check(err)
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		r := rand.New(rand.NewPCG(uint64(seed), 9))
		for range n {
			ts.Check(w.Write([]string{fmt.Sprintf("person-%05d", r.IntN(40_000)), []string{"longhua", "futian", "guangming"}[r.IntN(3)], []string{"circulatory", "respiratory", "injury"}[r.IntN(3)],
				fmt.Sprintf("%d.%02d", 20+r.IntN(600), r.IntN(100))}))
		}
	}
	w.Flush()
	ts.Check(w.Error())
	ts.Check(out.Close())
}

// lists SEED writes what two units hold of people in part the same: incomes.csv (who, income) and fees.csv (who, ward, fee), in no order, some people
// twice; ids.txt, 200 of them; and listed-incomes.csv and listed-fees.csv, the rows of those.
func lists(ts *testscript.TestScript, _ bool, args []string) {
	seed, err := strconv.Atoi(args[0])
	ts.Check(err)
	r := rand.New(rand.NewPCG(uint64(seed), 11))
	tables := map[string][][]string{}
	add := func(table string, who int, fields ...string) {
		row := append([]string{fmt.Sprintf("person-%05d", who)}, fields...)
		if tables[table] = append(tables[table], row); who < 200 {
			tables["listed-"+table] = append(tables["listed-"+table], row)
		}
	}
	money := func(v int64) string { return fmt.Sprintf("%d.%02d", v/100, v%100) }
	for who := range 400 {
		income := 200_000 + r.Int64N(500_000)
		for range 1 + who%5/4 {
			if who%10 != 0 {
				add("incomes", who, money(income+r.Int64N(100)))
			}
			if who%8 != 0 {
				add("fees", who, []string{"east", "west"}[who%2], money(income/10+r.Int64N(30_000)))
			}
		}
		if who < 200 {
			tables["ids"] = append(tables["ids"], []string{fmt.Sprintf("person-%05d", who)})
		}
	}
	for name, rows := range tables {
		r.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		head, file := map[int][]string{2: {"who", "income"}, 3: {"who", "ward", "fee"}}[len(rows[0])], name+".csv"
		if head == nil {
			file = name + ".txt"
		} else {
			rows = append([][]string{head}, rows...)
		}
		out, err := os.Create(ts.MkAbs(file))
		ts.Check(err)
		ts.Check(csv.NewWriter(out).WriteAll(rows))
		ts.Check(out.Close())
	}
}

// alike A B holds two opened results to the same cells, by label and by value.
func alike(ts *testscript.TestScript, neg bool, args []string) {
	read := func(name string) []string {
		var r egress.Result
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &r))
		var out []string
		for _, row := range r.Rows {
			b, err := json.Marshal(row)
			ts.Check(err)
			out = append(out, string(b))
		}
		slices.Sort(out)
		if len(out) == 0 {
			ts.Fatalf("%s has no cells", name)
		}
		return out
	}
	if same := slices.Equal(read(args[0]), read(args[1])); same == neg {
		ts.Fatalf("alike: %v\n%v\n%v", same, read(args[0]), read(args[1]))
	}
}
