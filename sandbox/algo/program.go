package algo

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Program (程序) records what an author writes. It is used by one goroutine.
type Program struct {
	g     Graph
	t     checker
	known map[string]int // encoded node → its number: the same operator on the same values is one node
	err   *Error
}

// Record runs f and gives the encoded graph, or the first mistake.
func Record(name string, f func(*Program)) ([]byte, error) {
	p := &Program{g: Graph{SDK: Version, Program: name}, known: map[string]int{}}
	p.t = checker{g: &p.g, t: &Types{}}
	f(p)
	if p.err != nil {
		return nil, p.err
	}
	return p.g.Encode()
}

// Main records f, writes the graph to standard output and ends the process: status 0, or 1 with the mistake on standard error. Nothing
// else is to be written to standard output.
func Main(name string, f func(*Program)) {
	b, err := Record(name, f)
	if err == nil {
		_, err = os.Stdout.Write(b)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// node adds a node, or gives the number of an equal one; -1 once there was a mistake.
func (p *Program) node(n Node) int {
	if p.err != nil {
		return -1
	}
	for _, a := range n.Args {
		if a < 0 {
			return p.fail("takes values of this Program")
		}
	}
	key, err := json.Marshal(n)
	if err != nil {
		return p.fail("has a JSON form")
	}
	if i, ok := p.known[string(key)]; ok && n.Op != OpInput && n.Op != OpReveal && n.Op != OpRevealModel {
		return i
	}
	if len(p.g.Nodes) == MaxNodes {
		i := p.fail(fmt.Sprintf("a Program has at most %d nodes", MaxNodes))
		p.err.TooLarge = true
		return i
	}
	i := len(p.g.Nodes)
	p.g.Nodes = append(p.g.Nodes, n)
	p.t.at, p.t.n = i, &p.g.Nodes[i]
	t, err := p.t.node()
	if err != nil {
		e := err.(*Error)
		p.err = &Error{Place: place(), Rule: string(n.Op) + ": " + e.Rule, TooLarge: e.TooLarge}
		return -1
	}
	if t.depth > MaxDepth {
		i := p.fail(fmt.Sprintf("an operator stands at most %d deep", MaxDepth))
		p.err.TooLarge = true
		return i
	}
	p.t.t.Of = append(p.t.t.Of, t)
	p.known[string(key)] = i
	return i
}

func (p *Program) fail(rule string) int {
	if p.err == nil {
		p.err = &Error{Place: place(), Rule: rule}
	}
	return -1
}

// own gives the node of a handle, which is of this Program.
func (p *Program) own(q *Program, at int) int {
	if q != p {
		return p.fail("takes values of this Program")
	}
	return at
}

func (p *Program) decimals(v []float64) []Decimal {
	out := make([]Decimal, len(v))
	for i, x := range v {
		d, ok := NewDecimal(x)
		if !ok {
			p.fail(decimalRule)
		}
		out[i] = d
	}
	return out
}

// place is the author's line that called into this package.
func place() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		f, more := frames.Next()
		if !strings.Contains(f.Function, "/sandbox/algo.") || strings.HasSuffix(f.File, "_test.go") {
			return fmt.Sprintf("%s:%d", filepath.Base(f.File), f.Line)
		}
		if !more {
			return "program"
		}
	}
}
