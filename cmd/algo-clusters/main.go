// Command algo-clusters is an Opaque algorithm (企业集群图): where firms stand close together, whatever the borders of grid cells, streets or parks, with how many
// they are, how far they reach and which industry leads. It sees a view of firms and gives a chart of at most twelve clusters.
//
//	CGO_ENABLED=0 GOOS=linux go build -trimpath -o clusters ./cmd/algo-clusters
package main

import (
	"cmp"
	"math"
	"slices"

	"github.com/opdomain/opdomain/sandbox/algo/opaque"
)

func main() { opaque.Main(declaration, clusters) }

// Parameters of DBSCAN, and what a cluster must have to be shown.
const (
	reach  = 300 // metres: who stands no farther is a neighbour
	core   = 10  // firms within reach, itself too, that make a place dense
	least  = 30  // firms of a cluster that is shown
	shown  = 12
	leads  = 3 // tenths of a cluster's firms that are of an industry which leads there
	extent = 60_000
	none   = -100 // employees of a cluster whose two largest firms hold over 80 % of them
)

// industries are the sections of GB/T 4754 and what leads where none does.
var industries = []string{"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N", "O", "P", "Q", "R", "S", "T", "mixed"}

// declaration is what the manifest says of it. Coordinates are metres east and north of the district's corner.
var declaration = opaque.Declaration{
	Input: "firms",
	Columns: []opaque.Column{{Name: "east", Type: "int"}, {Name: "north", Type: "int"}, {Name: "industry", Type: "text"},
		{Name: "employees", Type: "int"}},
	Chart: &opaque.Chart{Name: "clusters", Rows: shown,
		Labels: []opaque.Label{{Name: "cluster", Of: []string{"01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11", "12"}}, {Name: "industry", Of: industries}},
		Values: []opaque.Value{
			{Name: "east", Unit: "m", Min: 0, Max: extent, Step: 250},
			{Name: "north", Unit: "m", Min: 0, Max: extent, Step: 250},
			{Name: "radius", Unit: "m", Min: 0, Max: 10_000, Step: 250},
			{Name: "firms", Unit: "firms", Min: 0, Max: 20_000, Step: 10},
			{Name: "employees", Unit: "people", Min: none, Max: 500_000, Step: 100},
		}},
}

// firm is a row with a place.
type firm struct {
	x, y     int64
	who      int // the subject, or the row where the view does not say
	industry string
	staff    int64
}

// clusters gives the largest ones, by firms, then by place.
func clusters(v *opaque.View, out *opaque.Output) error {
	var firms []firm
	for r := range v.Rows() {
		x, ok := v.Int(r, 0)
		y, placed := v.Int(r, 1)
		if !ok || !placed || x < 0 || x > extent || y < 0 || y > extent {
			continue
		}
		f := firm{x: x, y: y, who: r}
		if s := v.Subject(r); s >= 0 {
			f.who = s
		}
		f.industry, _ = v.Text(r, 2)
		if n, ok := v.Int(r, 3); ok {
			f.staff = min(max(n, 0), 1_000_000)
		}
		firms = append(firms, f)
	}
	of, n := dbscan(firms)
	parts := make([][]firm, n)
	for i, c := range of {
		if c >= 0 {
			parts[c] = append(parts[c], firms[i])
		}
	}
	var all []cluster
	for _, p := range parts {
		if c := summed(p); c.firms >= least {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b cluster) int {
		return cmp.Or(cmp.Compare(b.firms, a.firms), cmp.Compare(a.north, b.north), cmp.Compare(a.east, b.east))
	})
	for i, c := range all[:min(len(all), shown)] {
		if err := out.Row([]int{i, c.industry}, c.east, c.north, c.radius, c.firms, c.staff); err != nil {
			return err
		}
	}
	return nil
}

// cluster is what is said of one.
type cluster struct {
	east, north, radius, firms, staff int64
	industry                          int
}

// summed says it of the rows of one: the middle, the root of the mean squared distance from it, and who is in it, each firm once.
func summed(rows []firm) cluster {
	var x, y int64
	staff, kinds := map[int]int64{}, map[string]map[int]struct{}{}
	for _, f := range rows {
		x, y = x+f.x, y+f.y
		staff[f.who] = max(staff[f.who], f.staff)
		if kinds[f.industry] == nil {
			kinds[f.industry] = map[int]struct{}{}
		}
		kinds[f.industry][f.who] = struct{}{}
	}
	n := int64(len(rows))
	c := cluster{east: x / n, north: y / n, firms: int64(len(staff)), industry: len(industries) - 1}
	var square, total, first, second int64
	for _, f := range rows {
		square += (f.x-c.east)*(f.x-c.east) + (f.y-c.north)*(f.y-c.north)
	}
	c.radius = int64(math.Sqrt(float64(square / n)))
	for _, s := range staff {
		total += s
		first, second = max(first, s), max(second, min(first, s))
	}
	if c.staff = total; 5*(first+second) > 4*total {
		c.staff = none
	}
	lead := 0
	for i, name := range industries[:len(industries)-1] {
		if k := len(kinds[name]); 10*k >= leads*len(staff) && k > lead {
			lead, c.industry = k, i
		}
	}
	return c
}

// dbscan gives the cluster of each firm, from 0, and -1 for those that stand alone. Neighbours are found over a grid whose cells are as wide as the reach.
// Source: Ester, Kriegel, Sander and Xu 1996. A border point is of the first cluster that reaches it, in the order of the rows.
func dbscan(firms []firm) (of []int, n int) {
	const wide = extent/reach + 1
	grid := make(map[int64][]int32, len(firms)/4+1)
	at := func(f firm) int64 { return f.y/reach*wide + f.x/reach }
	for i, f := range firms {
		grid[at(f)] = append(grid[at(f)], int32(i))
	}
	near := func(into []int32, i int) []int32 {
		f := firms[i]
		for dy := int64(-1); dy <= 1; dy++ {
			for dx := int64(-1); dx <= 1; dx++ {
				if cx := f.x/reach + dx; cx < 0 || cx >= wide {
					continue
				}
				for _, k := range grid[at(f)+dy*wide+dx] {
					if g := firms[k]; (g.x-f.x)*(g.x-f.x)+(g.y-f.y)*(g.y-f.y) <= reach*reach {
						into = append(into, k)
					}
				}
			}
		}
		return into
	}
	of = make([]int, len(firms))
	for i := range of {
		of[i] = -1
	}
	dense := make([]bool, len(firms))
	var hood, queue []int32
	for i := range firms {
		hood = near(hood[:0], i)
		dense[i] = len(hood) >= core
	}
	for i := range firms {
		if !dense[i] || of[i] >= 0 {
			continue
		}
		of[i] = n
		queue = append(queue[:0], int32(i))
		for len(queue) > 0 {
			k := int(queue[len(queue)-1])
			queue = queue[:len(queue)-1]
			if !dense[k] {
				continue
			}
			hood = near(hood[:0], k)
			for _, j := range hood {
				if of[j] < 0 {
					of[j] = n
					queue = append(queue, j)
				}
			}
		}
		n++
	}
	return of, n
}
