// Package reduce makes a statistical answer out of what a Map yields (逐主体算法归约): the domain's own half of the contract, in which every
// cell carries the evidence that the gate decides on, as the columnar engine's answers do.
//
// A yield counts its subject in one group and adds its clipped, quantised values there. Groups are those declared; one that nobody yields is
// no cell. A subject whose Map trapped or yielded what was not declared adds nothing, and is counted for reviewers and owners (Faults): who
// else is in a cell does not depend on it. It imports nothing that runs foreign code, and errors never hold values.
package reduce

import (
	"fmt"
	"math"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

// Job (归约任务) is one run of a Map.
type Job struct {
	Algorithm   string // its name, as approved
	Declaration mapper.Declaration
	Input       sandbox.InputVersion
}

// Reducer (归约器) takes yields subject by subject and keeps, per group, who adds what. It is used by one goroutine. Its memory grows with
// subjects and groups: 8 bytes a value of each subject in each of its groups.
type Reducer struct {
	job    Job
	cells  []cell // by number of the group
	who    []sandbox.Pseudonym
	faults int
	read   []mapper.Yielded
	last   sandbox.Pseudonym
}

type cell struct {
	rows   int64
	people []uint32
	counts []int64   // yields of each
	adds   [][]int64 // per value, of each
}

// New begins a reduction.
func New(j Job) (*Reducer, error) {
	if err := j.Declaration.Check(); err != nil {
		return nil, &sandbox.Error{Op: "reduce", Kind: sandbox.Invalid, Object: j.Algorithm, Detail: err.Error()}
	}
	if sandbox.CheckID("algorithm", j.Algorithm) != nil || j.Input.Dataset == "" || j.Input.Version == 0 {
		return nil, &sandbox.Error{Op: "reduce", Kind: sandbox.Invalid, Object: "job", Detail: "an approved algorithm over one version of a dataset"}
	}
	n := 1
	for _, g := range j.Declaration.Groups {
		n *= len(g.Labels)
	}
	return &Reducer{job: j, cells: make([]cell, n)}, nil
}

// Add takes what one subject yielded; nil where its Map trapped. Subjects come in the order of their pseudonyms, each once: the order in which they
// are kept, which tells nothing.
func (r *Reducer) Add(who sandbox.Pseudonym, yielded []byte, trapped bool) error {
	if n := len(r.who); n > 0 && slices.Compare(r.last[:], who[:]) >= 0 || n == math.MaxUint32 {
		return &sandbox.Error{Op: "reduce", Kind: sandbox.Invalid, Object: r.job.Algorithm, Detail: "subjects come in order, each once"}
	}
	at := uint32(len(r.who))
	r.who, r.last = append(r.who, who), who
	if trapped {
		r.faults++
		return nil
	}
	var err error
	if r.read, err = mapper.ReadYields(yielded, &r.job.Declaration, r.read); err != nil {
		r.faults++ // what a Map does with data is no error of the run
		return nil
	}
	for _, y := range r.read {
		i := 0
		for g, l := range y.Labels {
			i = i*len(r.job.Declaration.Groups[g].Labels) + l
		}
		c := &r.cells[i]
		c.rows++
		if n := len(c.people); n == 0 || c.people[n-1] != at {
			c.people, c.counts = append(c.people, at), append(c.counts, 0)
			if c.adds == nil {
				c.adds = make([][]int64, len(y.Values))
			}
			for v := range c.adds {
				c.adds[v] = append(c.adds[v], 0)
			}
		}
		n := len(c.people) - 1
		c.counts[n]++
		for v, x := range y.Values {
			c.adds[v][n] += x
		}
	}
	return nil
}

// Faults (故障主体数) counts subjects whose Map trapped or yielded what was not declared.
func (r *Reducer) Faults() int { return r.faults }

// Answer gives the answer: subjects and yields of each group, and what was declared of each value. It is called once.
func (r *Reducer) Answer() (*sandbox.Answer, error) {
	d := r.job.Declaration
	a := &sandbox.Answer{Population: r.who, Inputs: []sandbox.InputVersion{r.job.Input}}
	a.Measures = append(a.Measures, sandbox.Measure{Name: "subjects", Func: sandbox.Subjects}, sandbox.Measure{Name: "yields", Func: sandbox.Count})
	a.Sources = append(a.Sources, nil, nil)
	for _, v := range d.Values {
		a.Measures = append(a.Measures, sandbox.Measure{Name: v.Name, Func: Func(v), Unit: v.Unit, Scale: v.Scale})
		a.Sources = append(a.Sources, []string{fmt.Sprintf("%s.map:%s:%s", r.job.Input.Dataset, r.job.Algorithm, v.Name)})
	}
	for _, g := range d.Groups {
		a.Dimensions = append(a.Dimensions, g.Name)
	}
	for i := range r.cells {
		c := &r.cells[i]
		if c.rows == 0 {
			continue
		}
		ones := make([]int64, len(c.people))
		for k := range ones {
			ones[k] = 1
		}
		out := sandbox.Cell{Labels: labels(d.Groups, i), Rows: c.rows, Contributors: c.people, Values: []int64{int64(len(c.people)), c.rows}, NonMissing: []int64{c.rows, c.rows},
			Contributions: [][]int64{ones, c.counts}}
		for v := range d.Values {
			total, ok := int64(0), true
			for _, x := range c.adds[v] {
				if total, ok = add(total, x, ok); !ok {
					return nil, &sandbox.Error{Op: "reduce", Kind: sandbox.TooLarge, Object: r.job.Algorithm, Detail: "a total beyond 64 bits"}
				}
			}
			if d.Values[v].Of == mapper.Mean {
				total = rounded(total, c.rows)
			}
			out.Values, out.NonMissing, out.Contributions = append(out.Values, total), append(out.NonMissing, c.rows), append(out.Contributions, c.adds[v])
		}
		a.Cells = append(a.Cells, out)
	}
	slices.SortFunc(a.Cells, func(x, y sandbox.Cell) int { return slices.Compare(x.Labels, y.Labels) })
	return a, nil
}

// Func is what becomes of a value over a group.
func Func(v mapper.Value) sandbox.MeasureFunc {
	if v.Of == mapper.Mean {
		return sandbox.Mean
	}
	return sandbox.Sum
}

func labels(groups []mapper.Group, i int) []string {
	out := make([]string, len(groups))
	for g := len(groups) - 1; g >= 0; g-- {
		n := len(groups[g].Labels)
		out[g], i = groups[g].Labels[i%n], i/n
	}
	return out
}

func add(a, b int64, ok bool) (int64, bool) {
	s := a + b
	return s, ok && (s > a) == (b > 0)
}

// rounded divides, half away from zero.
func rounded(a, by int64) int64 {
	q, rest := a/by, a%by
	switch {
	case rest >= 0 && rest >= by-rest:
		q++
	case rest < 0 && -rest >= by+rest:
		q--
	}
	return q
}
