package vector

// The filters in pure Go. Each row is written and the end moved by whether it passes, so that no branch depends on data; a branch that
// guesses wrong costs as much as ten rows.

// whereGo writes the rows that meet all terms, at most a chunk of them, and gives how many they are: the first condition writes the
// selection, the others narrow it.
func whereGo(terms []Term, from, n int, sel []int32) int {
	var buf [chunk / 64]uint64
	mask := buf[:(n+63)/64]
	nulls := validity(mask, terms, from, n)
	if !nulls {
		mask = nil
	}
	out, first := sel[:n], true
	if nulls && count(mask) < n/8 { // few rows: they are written, then all conditions narrow them
		out, first, nulls = out[:rowsGo(mask, from, out)], false, false
	}
	for i := range terms {
		t := &terms[i]
		if t.kind == always {
			continue
		}
		if t.kind == never {
			return 0
		}
		if first {
			out, first = out[:denseGo(t, from, n, mask, out)], false
			continue
		}
		out = keep(t, out)
	}
	switch {
	case first && nulls:
		return rowsGo(mask, from, out)
	case first:
		Fill(out, from)
	}
	return len(out)
}

// validity writes which of the rows from…from+n-1 are valid in every term, and says whether any is not.
func validity(mask []uint64, terms []Term, from, n int) bool {
	nulls := false
	for i := range terms {
		t := &terms[i]
		if t.valid == nil {
			continue
		}
		var more [chunk / 64]uint64
		Words(more[:], t.valid, t.off+from, n)
		if t.null {
			for w := range mask {
				more[w] = ^more[w]
			}
			if n%64 > 0 {
				more[n/64] &= 1<<(n%64) - 1
			}
		}
		if !nulls {
			nulls = copy(mask, more[:]) > 0
			continue
		}
		for w := range mask {
			mask[w] &= more[w]
		}
	}
	if !nulls {
		return false
	}
	full := n / 64
	all := ^uint64(0)
	for _, m := range mask[:full] {
		all &= m
	}
	return all != ^uint64(0) || n%64 > 0 && mask[full] != 1<<(n%64)-1
}

// denseGo writes those of the rows from…from+n-1 that pass t and, where mask is not nil, have their bit in it.
func denseGo(t *Term, from, n int, mask []uint64, sel []int32) int {
	switch t.kind {
	case intRange:
		v := t.ints[from : from+n]
		if mask == nil {
			return denseInts(sel, v, int32(from), t.lo, t.span)
		}
		return masked(mask, v, sel, from, func(sel []int32, v []int64, from int32, m uint64) int {
			return denseIntsMasked(sel, v, from, t.lo, t.span, m)
		}, func(sel []int32, v []int64, from int32) int { return denseInts(sel, v, from, t.lo, t.span) })
	case dayRange:
		v := t.days[from : from+n]
		if mask == nil {
			return denseDays(sel, v, int32(from), int32(t.lo), uint32(t.span))
		}
		return masked(mask, v, sel, from, func(sel []int32, v []int32, from int32, m uint64) int {
			return denseDaysMasked(sel, v, from, int32(t.lo), uint32(t.span), m)
		}, func(sel []int32, v []int32, from int32) int {
			return denseDays(sel, v, from, int32(t.lo), uint32(t.span))
		})
	case daySet:
		return denseSets(t.days[from:from+n], t.set, from, mask, sel)
	default:
		return denseSets(t.codes[from:from+n], t.set, from, mask, sel)
	}
}

func denseSets[T int32 | uint32](v []T, s *Set, from int, mask []uint64, sel []int32) int {
	if mask == nil {
		return denseSet(sel, v, int32(from), s)
	}
	return masked(mask, v, sel, from, func(sel []int32, v []T, from int32, m uint64) int {
		return denseSetMasked(sel, v, from, s, m)
	}, func(sel []int32, v []T, from int32) int { return denseSet(sel, v, from, s) })
}

// masked goes through a column 64 rows at a time, by what their word of the mask is: none, all, or some.
func masked[T any](mask []uint64, v []T, sel []int32, from int, some func([]int32, []T, int32, uint64) int, all func([]int32, []T, int32) int) int {
	n := 0
	for w, m := range mask {
		part := v[w*64 : min(w*64+64, len(v))]
		switch at := int32(from + w*64); m {
		case 0:
		case ^uint64(0):
			n += all(sel[n:], part, at)
		default:
			n += some(sel[n:], part, at, m)
		}
	}
	return n
}

func denseInts(sel []int32, v []int64, from int32, lo int64, span uint64) int {
	n := 0
	for len(v) >= 4 {
		a, b, c, d := v[0], v[1], v[2], v[3]
		v = v[4:]
		sel[n] = from
		n += within(a, lo, span)
		sel[n] = from + 1
		n += within(b, lo, span)
		sel[n] = from + 2
		n += within(c, lo, span)
		sel[n] = from + 3
		n += within(d, lo, span)
		from += 4
	}
	for i, x := range v {
		sel[n] = from + int32(i)
		n += within(x, lo, span)
	}
	return n
}

// within gives 1 for a value from lo to lo+span, else 0; the compiler makes it a set, not a branch.
func within(x, lo int64, span uint64) int {
	n := 0
	if uint64(x)-uint64(lo) <= span {
		n = 1
	}
	return n
}

func within32(x, lo int32, span uint32) int {
	n := 0
	if uint32(x)-uint32(lo) <= span {
		n = 1
	}
	return n
}

func denseIntsMasked(sel []int32, v []int64, from int32, lo int64, span, m uint64) int {
	n := 0
	for i, x := range v {
		sel[n] = from + int32(i)
		n += within(x, lo, span) & int(m)
		m >>= 1
	}
	return n
}

func denseDays(sel, v []int32, from, lo int32, span uint32) int {
	n := 0
	for len(v) >= 4 {
		a, b, c, d := v[0], v[1], v[2], v[3]
		v = v[4:]
		sel[n] = from
		n += within32(a, lo, span)
		sel[n] = from + 1
		n += within32(b, lo, span)
		sel[n] = from + 2
		n += within32(c, lo, span)
		sel[n] = from + 3
		n += within32(d, lo, span)
		from += 4
	}
	for i, x := range v {
		sel[n] = from + int32(i)
		n += within32(x, lo, span)
	}
	return n
}

func denseDaysMasked(sel, v []int32, from, lo int32, span uint32, m uint64) int {
	n := 0
	for i, x := range v {
		sel[n] = from + int32(i)
		n += within32(x, lo, span) & int(m)
		m >>= 1
	}
	return n
}

func denseSet[T int32 | uint32](sel []int32, v []T, from int32, s *Set) int {
	n, pass, last := 0, s.pass, uint32(len(s.pass)-1)
	for i, x := range v {
		sel[n] = from + int32(i)
		n += int(pass[min(uint32(x)-s.base, last)])
	}
	return n
}

func denseSetMasked[T int32 | uint32](sel []int32, v []T, from int32, s *Set, m uint64) int {
	n, pass, last := 0, s.pass, uint32(len(s.pass)-1)
	for i, x := range v {
		sel[n] = from + int32(i)
		n += int(pass[min(uint32(x)-s.base, last)]) & int(m)
		m >>= 1
	}
	return n
}

func keepInts(sel []int32, v []int64, lo int64, span uint64) int {
	n := 0
	for _, i := range sel {
		sel[n] = i
		n += within(v[i], lo, span)
	}
	return n
}

func keepDays(sel, v []int32, lo int32, span uint32) int {
	n := 0
	for _, i := range sel {
		sel[n] = i
		n += within32(v[i], lo, span)
	}
	return n
}

func keepSet[T int32 | uint32](sel []int32, v []T, s *Set) int {
	n, pass, last := 0, s.pass, uint32(len(s.pass)-1)
	for _, i := range sel {
		sel[n] = i
		n += int(pass[min(uint32(v[i])-s.base, last)])
	}
	return n
}

func keepBits(sel []int32, bitmap []byte, off int, null bool) int {
	n, not := 0, 0
	if null {
		not = 1
	}
	for _, i := range sel {
		sel[n] = i
		n += bit(bitmap, off+int(i)) ^ not
	}
	return n
}

// bit gives one bit of a bitmap; the compiler makes it a bit test and a set.
func bit(bitmap []byte, i int) int {
	n := 0
	if uint32(bitmap[uint(i)>>3])&(1<<(uint(i)&7)) != 0 {
		n = 1
	}
	return n
}

// KeepCodes keeps of sel, in place, the rows j whose pass[codes[j]] is 1, not 0: codes stand by place in sel, not by row.
func KeepCodes(sel []int32, codes []uint32, pass []uint8) []int32 {
	codes = codes[:len(sel)]
	n := 0
	for j, i := range sel {
		sel[n] = i
		n += int(pass[codes[j]])
	}
	return sel[:n]
}
