package spec

import (
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// labeler numbers the label of a value: its place among names, -1 for any other.
type labeler struct {
	column string // of its input
	desc   *catalog.Column
	bin    *catalog.Bin
	at     time.Time // of an age bin
	index  map[string]int32
	edges  []string // labels of an edge bin
	codes  map[string]string
	words  map[int64]int32 // seen ones
	texts  map[string]int32
	null   int32
}

// cached bounds what a labeler remembers of values.
const cached = 1 << 16

func newLabeler(c *catalog.Column, b *catalog.Bin, names []string) *labeler {
	l := &labeler{column: c.Name, desc: c, bin: b, index: map[string]int32{}, words: map[int64]int32{}, texts: map[string]int32{}}
	for i, n := range names {
		if _, ok := l.index[n]; !ok {
			l.index[n] = int32(i)
		}
	}
	l.null = l.code(catalog.Missing)
	if b != nil {
		l.edges = b.Labels()
		l.at, _ = time.Parse(time.DateOnly, b.At) // a registered bin has been validated
		l.codes = map[string]string{}
		for _, g := range b.Groups {
			for _, code := range g.Codes {
				l.codes[code] = g.Label
			}
		}
	}
	return l
}

func (l *labeler) code(label string) int32 {
	if c, ok := l.index[label]; ok {
		return c
	}
	return -1
}

// word numbers the label of a value that is no text.
func (l *labeler) word(v int64) int32 {
	if c, ok := l.words[v]; ok {
		return c
	}
	c := l.code(l.wordLabel(v))
	if len(l.words) < cached {
		l.words[v] = c
	}
	return c
}

func (l *labeler) wordLabel(v int64) string {
	switch {
	case l.bin == nil:
		return query.Label(l.desc, v)
	case l.bin.Kind == catalog.Amount:
		return l.edge(v)
	}
	y, m, d := time.Unix(0, 0).UTC().AddDate(0, 0, int(v)).Date()
	if l.bin.Kind == catalog.Year {
		if y < 1 || y > 9999 {
			return catalog.Other
		}
		return strconv.Itoa(y)
	}
	age := l.at.Year() - y // reached on the birthday, of 29 February on 1 March in common years
	if l.at.Month() < m || l.at.Month() == m && l.at.Day() < d {
		age--
	}
	return l.edge(int64(age))
}

func (l *labeler) edge(v int64) string {
	return l.edges[sort.Search(len(l.bin.Edges), func(i int) bool { return l.bin.Edges[i] > v })]
}

// text numbers the label of a text.
func (l *labeler) text(s string) int32 {
	if c, ok := l.texts[s]; ok {
		return c
	}
	c := l.code(l.textLabel(s))
	if len(l.texts) < cached {
		l.texts[strings.Clone(s)] = c // s aliases a batch
	}
	return c
}

func (l *labeler) textLabel(s string) string {
	if l.bin == nil {
		return s
	}
	if l.bin.Kind == catalog.Codes {
		if g, ok := l.codes[s]; ok {
			return g
		}
		return catalog.Other
	}
	for n := len(s); n > 0; n-- { // the longest prefix wins
		if g, ok := l.codes[s[:n]]; ok {
			return g
		}
	}
	return catalog.Other
}

// points is a grouping by the bands of a score: what the labels of its parts are worth together.
type points struct {
	score *query.Score
	parts []*labeler
	worth [][]int64 // by part and code; a label without points has code -1 and is worth 0
}

func newPoints(x *query.Score, column func(ref string) (*catalog.Column, *catalog.Dataset)) *points {
	p := &points{score: x}
	for _, part := range x.Parts {
		c, ds := column(part.Column)
		var b *catalog.Bin
		if part.Bin != "" {
			b, _ = ds.Bin(part.Bin)
		}
		var names []string
		var worth []int64
		for _, pts := range part.Points {
			for _, l := range pts.In {
				names, worth = append(names, l), append(worth, part.Of(l))
			}
		}
		p.parts, p.worth = append(p.parts, newLabeler(c, b, names)), append(p.worth, worth)
	}
	return p
}

// binOf finds a registered bin; nil for a public column by itself.
func binOf(ds *catalog.Dataset, id sandbox.BinID) *catalog.Bin {
	b, _ := ds.Bin(id)
	return b
}
