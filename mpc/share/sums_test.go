package share

import "testing"

// TestInputSumsOfManyParts: columns of many message parts, of unequal and of no length, add up to what they are, whoever is done first.
func TestInputSumsOfManyParts(t *testing.T) {
	for _, rows := range [][3]int{{(2*ahead+3)*chunk + 5, ahead * chunk, 0}, {3, 0, (3*ahead - 1) * chunk}, {chunk, ahead*chunk + 1, (ahead-1)*chunk - 1}} {
		want := make([]uint64, 3)
		for owner, n := range rows {
			for i := range n {
				want[owner] += uint64(i+owner) << 40
			}
		}
		out, errs, _ := run(t, setup{}, func(e *Engine, o *Opener) ([]uint64, error) {
			v := make([]uint64, rows[e.me])
			for i := range v {
				v[i] = uint64(i+e.me) << 40
			}
			s := e.InputSums(v, rows)
			return o.Open(Concat(s[0], s[1], s[2]))
		})
		same(t, "sums", out, errs, want)
	}
}
