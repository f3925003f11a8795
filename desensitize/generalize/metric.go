package generalize

import "math"

// Metric (信息损失度量) is what the search makes least.
type Metric string

const (
	Discernibility Metric = "dm"      // 可辨识度: Σ|class|² + suppressed·n
	AverageClass   Metric = "aecs"    // 平均等价类大小: n/(classes + 1 if rows are suppressed)
	Height         Metric = "height"  // 泛化高度: sum of levels
	EntropyLoss    Metric = "entropy" // 非均匀熵: bits lost over all cells
)

// Loss (信息损失) is a solution by every metric.
type Loss struct {
	Discernibility float64 `json:"discernibility"`
	AverageClass   float64 `json:"average_class_size"`
	Height         int     `json:"height"`
	Entropy        float64 `json:"entropy_bits"`
}

// verdict is what one node comes to.
type verdict struct {
	feasible   bool  // every model holds with at most the limit suppressed
	grows      bool  // false: no finer node can be feasible either
	suppressed int64 // rows
	failing    int   // classes with rows that are suppressed
	kept       int   // classes published
	smallest   uint32
	uniques    int64
	loss       float64 // by the goal's metric
	bound      float64 // no node at or above this one loses less
}

// judge evaluates a node's classes.
func (s *search) judge(cl *classes) verdict {
	v := verdict{}
	c, k := s.check, uint64(min(int64(s.check.k), s.f.n))
	var squares, floor uint64 // Σ|class|² of kept classes; the bound of DM
	var growFail int64
	absent := false // people of whom no row exists, against a lower bound of δ-presence
	entropy := s.goal.Metric == EntropyLoss
	extra := 0.0
	for i, n := range cl.count {
		if n == 0 {
			absent = absent || c.presence != nil && c.presence.Min > 0
			continue
		}
		size := uint64(n)
		floor += size * max(size, k)
		grows := c.grows(cl, i)
		if !grows {
			growFail += int64(n)
		}
		if grows && (s.simple || c.rest(cl, i)) {
			v.kept++
			squares += size * size
			if v.smallest == 0 || n < v.smallest {
				v.smallest = n
			}
			if n == 1 {
				v.uniques++
			}
			continue
		}
		v.failing++
		v.suppressed += int64(n)
		if entropy {
			extra += s.starLoss(cl, i)
		}
	}
	v.feasible = v.suppressed <= s.limit && !absent
	v.grows = growFail <= s.limit && !absent
	if s.limit == 0 {
		v.grows = v.feasible // see the third rule in search.go
	}
	n := float64(s.f.n)
	switch s.goal.Metric {
	case Discernibility:
		v.loss, v.bound = float64(squares)+float64(v.suppressed)*n, float64(floor)
	case AverageClass:
		v.loss = averageClass(n, v.kept, v.suppressed)
		most := v.kept
		if v.failing > 0 {
			fresh := v.failing / 2
			if cl.pop != nil {
				fresh = v.failing // a failing class may join people without rows
			}
			most += min(fresh, int(v.suppressed/int64(k)))
			if s.limit > 0 {
				most++
			}
		}
		v.bound = n / float64(max(most, 1))
	case Height:
		v.loss = float64(height(cl.levels))
		v.bound = v.loss
	case EntropyLoss:
		sum := s.levelLoss(cl.levels)
		v.loss, v.bound = sum+extra, sum*(1-1e-12) // other sums of the same terms may differ in their last bits
	}
	return v
}

func averageClass(n float64, kept int, suppressed int64) float64 {
	if suppressed > 0 {
		kept++
	}
	return n / float64(kept)
}

func height(levels []uint8) int {
	sum := 0
	for _, l := range levels {
		sum += int(l)
	}
	return sum
}

// entropyTables gives, by column and level, the bits lost when every cell stands at that level.
func (f *frozen) entropyTables() [][]float64 {
	out := make([][]float64, len(f.dims))
	for d := range f.dims {
		dim := &f.dims[d]
		out[d] = make([]float64, dim.levels())
		for l := range out[d] {
			for c, n := range dim.freq[0] {
				if n > 0 {
					to := dim.up[0][l][c] >> dim.shift
					out[d][l] += float64(n) * math.Log2(float64(dim.freq[l][to])/float64(n))
				}
			}
		}
	}
	return out
}

func (s *search) levelLoss(levels []uint8) float64 {
	sum := 0.0
	for d, l := range levels {
		sum += s.entropy[d][l]
	}
	return sum
}

// starLoss is what class i loses more when it is suppressed: each cell goes from its label to everything.
func (s *search) starLoss(cl *classes, i int) float64 {
	sum := 0.0
	for d := range s.f.dims {
		dim := &s.f.dims[d]
		label := (cl.keys[dim.word][i] & dim.mask) >> dim.shift
		sum += math.Log2(float64(s.f.n) / float64(dim.freq[cl.levels[d]][label]))
	}
	return sum * float64(cl.count[i])
}

// lossOf evaluates classes by every metric.
func (s *search) lossOf(cl *classes) Loss {
	l := Loss{Height: height(cl.levels), Entropy: s.levelLoss(cl.levels)}
	var squares uint64
	var suppressed int64
	kept := 0
	for i, n := range cl.count {
		switch {
		case n == 0:
		case s.check.grows(cl, i) && s.check.rest(cl, i):
			kept++
			squares += uint64(n) * uint64(n)
		default:
			suppressed += int64(n)
			l.Entropy += s.starLoss(cl, i)
		}
	}
	l.Discernibility = float64(squares) + float64(suppressed)*float64(s.f.n)
	l.AverageClass = averageClass(float64(s.f.n), kept, suppressed)
	return l
}
