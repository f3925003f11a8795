package main

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
)

// patients FILE PEOPLE SEED writes a table of so many people with two rows each: who, claimed, age, visits. Who claims follows from age and visits by
// a law with chance, the same every time; of a seed below zero from age alone, without.
func patients(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	seed, err := strconv.Atoi(args[2])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w, r := csv.NewWriter(f), rand.New(rand.NewPCG(uint64(max(seed, 0)), 7))
	ts.Check(w.Write([]string{"who", "claimed", "age", "visits"}))
	for i := range n {
		age, visits := 18+r.IntN(73), r.IntN(21)
		for range 2 {
			claimed := r.Float64() < 0.15+0.4*float64(age-18)/72+0.3*float64(visits)/20
			if seed < 0 {
				claimed = age >= 50
			}
			ts.Check(w.Write([]string{fmt.Sprintf("person-%04d", i), strconv.FormatBool(claimed), strconv.Itoa(age), strconv.Itoa(visits)}))
		}
	}
	w.Flush()
	ts.Check(w.Error())
	ts.Check(f.Close())
}
