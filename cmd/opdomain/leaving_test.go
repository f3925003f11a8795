package main

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/grant"
)

// granted ADDR DIR FILE files an application with a domain and takes it through every decision and signature.
func granted(ts *testscript.TestScript, _ bool, args []string) {
	var a grant.Application
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[2])), &a))
	p := &play{app: &app{in: os.Stdin, out: io.Discard, err: io.Discard, rand: testRand{}, now: time.Now, json: true}, server: "http://" + ts.Getenv(args[0]), sessions: map[sandbox.IdentityID]*session{}, people: map[sandbox.IdentityID]*identity{}}
	folders, err := os.ReadDir(ts.MkAbs(filepath.Join(args[1], "identities")))
	ts.Check(err)
	for _, f := range folders {
		id, err := openIdentity(ts.MkAbs(filepath.Join(args[1], "identities", f.Name())), []byte(ts.Getenv("OPDOMAIN_PASSPHRASE")), testRand{})
		ts.Check(err)
		p.people[id.ID] = id
	}
	_, err = p.grant(context.Background(), a)
	ts.Check(err)
}

// visits FILE PEOPLE writes a table of so many people, two of three with two rows: who, born, area, amount, visited. The same every time.
func visits(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w, r := csv.NewWriter(f), rand.New(rand.NewPCG(7, 7))
	ts.Check(w.Write([]string{"who", "born", "area", "amount", "visited"}))
	for i := range n {
		born := fmt.Sprintf("%d-%02d-%02d", 1950+r.IntN(40), 1+r.IntN(12), 1+r.IntN(28))
		area := []string{"440304", "440309", "440311"}[r.IntN(3)]
		for range 1 + min(1, i%3) {
			ts.Check(w.Write([]string{fmt.Sprintf("person-%04d", i), born, area, fmt.Sprintf("%d.%02d", r.IntN(50_000), r.IntN(100)), fmt.Sprintf("2025-%02d-%02d", 1+r.IntN(12), 1+r.IntN(28))}))
		}
	}
	w.Flush()
	ts.Check(w.Error())
	ts.Check(f.Close())
}

// leaked FROM TO COLUMN... writes every other row of a CSV with these columns alone, in another order.
func leaked(ts *testscript.TestScript, _ bool, args []string) {
	in, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	all, err := csv.NewReader(in).ReadAll()
	ts.Check(err)
	ts.Check(in.Close())
	var keep []int
	for _, name := range args[2:] {
		for i, h := range all[0] {
			if h == name {
				keep = append(keep, i)
			}
		}
	}
	out := [][]string{}
	for i, row := range all {
		if i > 0 && i%2 == 0 {
			continue
		}
		var cut []string
		for _, k := range keep {
			cut = append(cut, row[k])
		}
		out = append(out, cut)
	}
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(out)-1, func(i, j int) { out[i+1], out[j+1] = out[j+1], out[i+1] })
	f, err := os.Create(ts.MkAbs(args[1]))
	ts.Check(err)
	w := csv.NewWriter(f)
	ts.Check(w.WriteAll(out))
	ts.Check(f.Close())
}
