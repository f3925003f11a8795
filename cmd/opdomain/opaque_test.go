package main

import (
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opdomain/opdomain/sandbox/jail"
)

// firms FILE NUMBER writes firms, four fifths of them around three places.
func firms(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w, r := csv.NewWriter(f), rand.New(rand.NewPCG(11, 7))
	ts.Check(w.Write([]string{"firm", "east", "north", "industry", "employees"}))
	for i := range n {
		east, north, industry := r.IntN(40_000), r.IntN(40_000), string(rune('A'+r.IntN(20)))
		if k := i % 5; k < 3 {
			east, north, industry = 8_000*(k+1)+r.IntN(500), 30_000-9_000*k+r.IntN(500), string(rune('C'+k))
		}
		ts.Check(w.Write([]string{fmt.Sprintf("firm-%05d", i), strconv.Itoa(east), strconv.Itoa(north), industry, strconv.Itoa(5 + r.IntN(90))}))
	}
	w.Flush()
	ts.Check(w.Error())
	ts.Check(f.Close())
}

// confines says whether this machine has the layers of tier T1.
func confines() (bool, error) {
	l, err := jail.New(jail.Config{})
	if err != nil {
		return false, err
	}
	defer l.Close()
	return len(l.Probe().Missing(jail.T1)) == 0, nil
}
