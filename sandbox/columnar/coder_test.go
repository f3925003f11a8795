package columnar

import (
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestAges has the cases people argue about: a birthday, the day before, 29 February, a birth after the reference date.
func TestAges(t *testing.T) {
	for _, c := range []struct{ at, born, want string }{
		{"2026-01-01", "2008-01-01", "≥18"},
		{"2026-01-01", "2008-01-02", "1-18"},
		{"2026-02-28", "2008-02-29", "1-18"}, // full years on 1 March in a common year
		{"2026-03-01", "2008-02-29", "≥18"},
		{"2024-02-29", "2023-03-01", "<1"},
		{"2024-02-29", "2023-02-28", "1-18"},
		{"2024-02-29", "2030-01-01", "<1"},
		{"2024-02-29", "1066-10-14", "≥18"},
	} {
		day, _ := query.Value(&catalog.Column{Type: catalog.Date}, c.born)
		k := newCoder(memory.NewGoAllocator(), "", &catalog.Column{Type: catalog.Date}, &catalog.Bin{Kind: catalog.Age, Edges: []int64{1, 18}, At: c.at}, nil, 9)
		var code [1]uint32
		if err := k.encode(&column{days: []int32{int32(day)}}, []int32{0}, code[:]); err != nil || k.names[code[0]] != c.want {
			t.Errorf("born %s at %s: %s, want %s; %v", c.born, c.at, k.names[code[0]], c.want, err)
		}
	}
}

// TestGrouperBeyond64Bits gives combinations whose numbers would wrap.
func TestGrouperBeyond64Bits(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	defer mem.AssertSize(t, 0)
	const dims, rows = 7, 64
	spaces, codes := make([]uint64, dims), make([][]uint32, dims)
	for d := range spaces {
		spaces[d], codes[d] = 1<<31, make([]uint32, rows)
		for j := range codes[d] {
			codes[d][j] = uint32(j >> d & 1)
		}
	}
	for j := range rows {
		codes[0][j] = uint32(j)
	}
	g := newGrouper(mem, spaces, 1<<24)
	defer g.free()
	out := make([]uint32, rows)
	if err := g.cells(codes, out); err != nil || g.n != rows {
		t.Errorf("%d combinations became %d cells, %v", rows, g.n, err)
	}
	if err := g.cells(codes, out); err != nil || g.n != rows || out[rows-1] != rows-1 {
		t.Errorf("the same combinations became %d cells, %v", g.n, err)
	}
}
