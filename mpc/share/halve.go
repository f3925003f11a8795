package share

// Halve is a round of a contest for the two largest of each stretch of width rows: the first half of each stretch plays the second, an odd row goes on
// unplayed. It gives the largest and the second largest of each pair, for two stretches of half the width: two LT and four Select of half the rows.
func (e *Engine) Halve(first, second Words, stretches, width int) (Words, Words) {
	pairs := width / 2
	var a1, a2, b1, b2 []Words
	for g := range stretches {
		lo := g * width
		a1, a2 = append(a1, first.Slice(lo, lo+pairs)), append(a2, second.Slice(lo, lo+pairs))
		b1, b2 = append(b1, first.Slice(lo+pairs, lo+2*pairs)), append(b2, second.Slice(lo+pairs, lo+2*pairs))
	}
	xa, xb, ya, yb := JoinWords(a1...), JoinWords(a2...), JoinWords(b1...), JoinWords(b2...)
	less := e.LT(xa, ya)
	high, low := e.Select(less, ya, xa), e.Select(less, xa, ya)
	rest := e.Select(less, yb, xb) // the winner's second
	next := e.Select(e.LT(low, rest), rest, low)
	if width%2 == 0 {
		return high, next
	}
	var h, s []Words
	for g := range stretches {
		odd := (g+1)*width - 1
		h = append(h, high.Slice(g*pairs, (g+1)*pairs), first.Slice(odd, odd+1))
		s = append(s, next.Slice(g*pairs, (g+1)*pairs), second.Slice(odd, odd+1))
	}
	return JoinWords(h...), JoinWords(s...)
}

// Repeat puts a column behind itself so many times, without a message.
func Repeat(v Vec, times int) Vec {
	all := make([]Vec, times)
	for i := range all {
		all[i] = v
	}
	return Concat(all...)
}

// Constant is a public column of n rows of one value, without a message.
func (e *Engine) Constant(n, value int) Vec {
	v := make([]uint64, n)
	for i := range v {
		v[i] = uint64(value)
	}
	return e.Public(v)
}
