// Command carry is a Map that attacks its host: it tries to carry one subject into another's values, and does as the rows of a subject say: it
// ends, never ends, fills its memory, yields what it did not declare, and prints what it saw. Started as a process of its own it shows what
// carrying is like where nothing is between subjects.
package main

import (
	"fmt"
	"os"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

var declaration = mapper.Declaration{Dataset: "codes", Columns: []mapper.Column{{Name: "code", Type: "text"}, {Name: "kind", Type: "text"}},
	Groups: []mapper.Group{{Name: "code", Labels: []string{"a", "b", "c"}}},
	Values: []mapper.Value{{Name: "carried", Of: mapper.Sum, Max: 1000, Step: 1}, {Name: "length", Of: mapper.Mean, Scale: 1, Max: 50, Step: 10}}, Yields: 2}

func init() { mapper.Handle(declaration, carry) }

// What one subject leaves for the next: globals, the heap behind them, a channel, the environment and a file.
var (
	seen  int64
	heap  []string
	queue = make(chan string, 1<<16)
)

func carry(s *mapper.Subject, y *mapper.Yields) {
	carried := seen + int64(len(heap)) + int64(len(queue))
	if os.Getenv("SEEN") != "" {
		carried++
	}
	if _, err := os.ReadFile("/tmp/seen"); err == nil {
		carried++
	}
	code, _ := s.Text(0, 0)
	kind, _ := s.Text(0, 1)
	seen++
	heap = append(heap, code)
	queue <- code
	_ = os.Setenv("SEEN", code)
	fmt.Println(code)
	fmt.Fprintln(os.Stderr, kind)
	group := map[string]int{"a": 0, "b": 1, "c": 2}[code]
	switch kind {
	case "trap":
		panic(code)
	case "exit":
		os.Exit(0)
	case "hang":
		for i := 0; ; i++ {
			if i < 0 {
				return
			}
		}
	case "memory":
		for {
			heap = append(heap, string(make([]byte, 1<<20)))
		}
	case "label":
		group = 99
	case "flood":
		for range 1000 {
			y.Yield([]int{group}, carried, 0)
		}
	case "twice":
		y.Yield([]int{(group + 1) % 3}, carried, 1<<60)
	}
	y.Yield([]int{group}, 100*carried+int64(s.Rows()), int64(10*s.Rows()))
}

func main() {
	for range 3 {
		w := mapper.NewWriter(2)
		w.Row()
		w.Text("a")
		w.Text("x")
		out, err := mapper.Run(carry, w.Bytes(), &declaration)
		if err != nil || len(out) != 1 {
			os.Exit(1)
		}
		fmt.Fprint(os.Stderr, "carried ", out[0].Values[0]/100, "\n")
	}
}
