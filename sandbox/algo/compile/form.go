package compile

import (
	"cmp"
	"maps"
	"math"
	"math/big"
	"slices"
	"strings"
)

// Bounds of what a number becomes.
const (
	maxTerms  = 32  // of a polynomial
	maxBits   = 256 // of a coefficient, above and below the line
	maxDegree = 2
)

// poly is a polynomial in columns: coefficient by monomial, "" for the constant, names joined by a space for a product. No coefficient is
// zero.
type poly map[string]*big.Rat

func constant(v *big.Rat) poly {
	if v.Sign() == 0 {
		return poly{}
	}
	return poly{"": v}
}

func (p poly) add(q poly, times *big.Rat) poly {
	out := maps.Clone(p)
	if out == nil {
		out = poly{}
	}
	for m, c := range q {
		v := new(big.Rat).Mul(c, times)
		if have := out[m]; have != nil {
			v.Add(v, have)
		}
		if out[m] = v; v.Sign() == 0 {
			delete(out, m)
		}
	}
	return out
}

func (p poly) mul(q poly) poly {
	out := poly{}
	for a, c := range p {
		for b, d := range q {
			names := slices.Sorted(slices.Values(append(strings.Fields(a), strings.Fields(b)...)))
			out = out.add(poly{strings.Join(names, " "): new(big.Rat).Mul(c, d)}, one)
		}
	}
	return out
}

// number gives the value of a constant polynomial.
func (p poly) number() (*big.Rat, bool) {
	if len(p) == 0 {
		return new(big.Rat), true
	}
	c := p[""]
	return c, c != nil && len(p) == 1
}

// column gives the column that the polynomial is, where it is one and nothing else.
func (p poly) column() string {
	for m, c := range p {
		if len(p) == 1 && m != "" && !strings.Contains(m, " ") && c.Cmp(one) == 0 {
			return m
		}
	}
	return ""
}

func (p poly) equal(q poly) bool {
	return maps.EqualFunc(p, q, func(a, b *big.Rat) bool { return a.Cmp(b) == 0 })
}

// wide names the bound that a polynomial passes, empty if none.
func (p poly) wide() string {
	if len(p) > maxTerms {
		return "more than 32 terms"
	}
	for m, c := range p {
		if c.Num().BitLen() > maxBits || c.Denom().BitLen() > maxBits {
			return "a constant of more than 256 bits"
		}
		if len(strings.Fields(m)) > maxDegree {
			return "a product of more than two columns"
		}
	}
	return ""
}

var one = big.NewRat(1, 1)

// source is where labels come from: a column through a bin, or itself; or the bands of a score, by its encoding.
type source struct {
	column, bin, score string
}

func compareSources(a, b source) int {
	return cmp.Or(cmp.Compare(a.column, b.column), cmp.Compare(a.bin, b.bin), cmp.Compare(a.score, b.score))
}

// pieces is a polynomial for each label of a source.
type pieces struct {
	points map[string]poly
	others poly
}

func (f pieces) of(label string) poly {
	if p, ok := f.points[label]; ok {
		return p
	}
	return f.others
}

// form is the normal form of a number of rows: a polynomial, and for each source one that depends on its label; all of them added up.
type form struct {
	base  poly
	parts map[source]pieces
}

func (f form) sources() []source {
	return slices.SortedFunc(maps.Keys(f.parts), compareSources)
}

// at gives the form as pieces of one source; false where others take part.
func (f form) at(s source) (pieces, bool) {
	out := pieces{points: map[string]poly{}, others: f.base}
	for have, part := range f.parts {
		if have != s {
			return out, false
		}
		for l, p := range part.points {
			out.points[l] = f.base.add(p, one)
		}
		out.others = f.base.add(part.others, one)
	}
	return out, true
}

// only gives the one source of both forms, or none; false where there are several.
func only(forms ...form) (s source, ok bool) {
	for _, f := range forms {
		for x := range f.parts {
			if s != (source{}) && s != x {
				return s, false
			}
			s = x
		}
	}
	return s, true
}

// pointwise applies f to pieces of one source.
func pointwise(s source, f func(...poly) poly, of ...pieces) form {
	if s == (source{}) {
		var args []poly
		for _, p := range of {
			args = append(args, p.others)
		}
		return form{base: f(args...)}
	}
	out := pieces{points: map[string]poly{}}
	at := func(get func(pieces) poly) poly {
		var args []poly
		for _, p := range of {
			args = append(args, get(p))
		}
		return f(args...)
	}
	out.others = at(func(p pieces) poly { return p.others })
	for _, p := range of {
		for l := range p.points {
			out.points[l] = at(func(p pieces) poly { return p.of(l) })
		}
	}
	for l, p := range out.points {
		if p.equal(out.others) {
			delete(out.points, l)
		}
	}
	if len(out.points) == 0 { // it does not depend on the label after all
		return form{base: out.others}
	}
	return form{base: poly{}, parts: map[source]pieces{s: out}}
}

// linear gives a + times·b.
func linear(a, b form, times *big.Rat) form {
	out := form{base: a.base.add(b.base, times), parts: map[source]pieces{}}
	maps.Copy(out.parts, a.parts)
	for s, p := range b.parts {
		have := out.parts[s]
		sum := pointwise(s, func(x ...poly) poly { return x[0].add(x[1], times) }, have, p)
		if out.parts[s] = sum.parts[s]; len(sum.parts) == 0 {
			delete(out.parts, s)
			out.base = out.base.add(sum.base, one)
		}
	}
	return out
}

// size counts its terms.
func (f form) size() int {
	n := 1 + len(f.base)
	for _, p := range f.parts {
		n += 1 + len(p.others)
		for _, x := range p.points {
			n += 1 + len(x)
		}
	}
	return n
}

// wide names the bound that a form passes.
func (f form) wide() string {
	why := f.base.wide()
	for _, p := range f.parts {
		why = cmp.Or(why, p.others.wide())
		for _, x := range p.points {
			why = cmp.Or(why, x.wide())
		}
	}
	return why
}

// sigmoid rounds to 9 decimals: what a machine adds in the last bit of a float does not show.
func sigmoid(x *big.Rat) *big.Rat {
	v, _ := x.Float64()
	return rounded(1 / (1 + math.Exp(-v)))
}

// logit is its inverse, above 0 and below 1.
func logit(x *big.Rat) *big.Rat {
	v, _ := x.Float64()
	return rounded(math.Log(v) - math.Log1p(-v))
}

func rounded(v float64) *big.Rat {
	return big.NewRat(int64(math.Round(v*1e9)), 1e9)
}

// scaled gives v·10^scale, half away from zero; false beyond 50 bits.
func scaled(v *big.Rat, scale int) (int64, bool) {
	x := new(big.Rat).Mul(v, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	n, ok := new(big.Int).SetString(x.FloatString(0), 10)
	return n.Int64(), ok && n.BitLen() <= 50
}

// decimals gives how many digits behind the point all values have, at most 9: what is finer is rounded.
func decimals(values []*big.Rat) int {
	out := 0
	for _, v := range values {
		s := strings.TrimRight(v.FloatString(9), "0")
		_, frac, _ := strings.Cut(s, ".")
		out = max(out, len(frac))
	}
	return out
}
