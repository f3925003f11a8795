package columnar

import (
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// score writes the codes of a dimension by bands, from those of its parts. The codes of a band follow their order.
func (s *scanner) score(d int, x *score, n int) {
	if s.sums == nil {
		s.sums, s.points = make([]int64, piece), make([][]int64, len(s.r.labels))
	}
	sums, out := s.sums[:n], s.codes[d][:n]
	clear(sums)
	for k, l := range x.parts {
		points := s.points[l]
		for names := s.coders[l].labels; len(points) < names.size(); { // of an open coder they grow
			points = append(points, x.Parts[k].Of(names.spelled(uint32(len(points)))))
		}
		s.points[l] = points
		for j, code := range s.codes[l][:n] {
			sums[j] += points[code]
		}
	}
	if len(x.Edges) == 1 {
		for j, v := range sums {
			out[j] = 0
			if v+x.Base >= x.Edges[0] {
				out[j] = 1
			}
		}
		return
	}
	for j, v := range sums {
		out[j] = uint32(x.Band(v))
	}
}

// multiply gives the products of two values for the rows of a frame.
func (s *scanner) multiply(at, n int) error {
	r := s.r
	f := r.values[at].factors
	a, b, out := s.values[f[0]][:n], s.values[f[1]][:n], s.scratch[at][:n]
	s.values[at], s.valid[at] = out, nil
	if va, vb := s.valid[f[0]], s.valid[f[1]]; va != nil || vb != nil {
		flags := s.flags[at]
		for j := range out {
			flags[j] = 1
		}
		for _, v := range [][]uint8{va, vb} {
			for j := range v[:min(n, len(v))] {
				flags[j] &= v[j]
			}
		}
		s.valid[at] = flags
	}
	over := false
	for j, x := range a {
		hi, lo := bits.Mul64(uint64(x), uint64(b[j]))
		hi -= uint64(x>>63)&uint64(b[j]) + uint64(b[j]>>63)&uint64(x) // of signed numbers
		out[j] = int64(lo)
		over = over || hi != uint64(int64(lo)>>63) && (s.valid[at] == nil || s.valid[at][j] != 0)
	}
	if over {
		v := r.values[f[0]]
		return fail(sandbox.TooLarge, string(r.d.Inputs[v.input].Dataset)+"."+v.name, "a product stays within 64 bits")
	}
	return nil
}
