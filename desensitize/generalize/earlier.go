package generalize

import (
	"fmt"
	"slices"
)

// Earlier (先前发布) is a release that was made of the same table before, by the same quasi-identifiers and hierarchies. Whoever has it
// and a new one joins them: a person's row is in the class of each. Goal.Earlier has the search judge these together.
type Earlier struct {
	Levels []int // by quasi-identifier
	Left   []int // the classes it suppressed, as Solution.Left
}

// joint judges a release together with those before it. Rows that are in one class of each release make a joint class; a release
// that suppressed a row tells that it did, so its suppressed rows are a class of their own. Every joint class that any release
// published must meet the models by itself. So a new release never satisfies more than the earlier ones did, and one that meets
// only part of a class that was suppressed before, or the reverse, is refused as well.
type joint struct {
	f         *frozen
	check     *check
	group     []uint32 // by class of level 0: what the earlier releases together say of its rows
	published []bool   // by group: whether one of them published these rows
	roller    *roller
	cl, pairs classes
	to        []uint32
}

// pairing numbers the pairs of an earlier joint class and a class of one more release, 0 standing for its suppressed rows, and keeps of
// each whether any of the releases published it.
type pairing struct {
	of        map[[2]uint32]uint32
	published []bool
}

func (p *pairing) number(j *joint, group, class uint32) uint32 {
	key := [2]uint32{group, class}
	n, ok := p.of[key]
	if !ok {
		n = uint32(len(p.published))
		p.of[key] = n
		p.published = append(p.published, class > 0 || j.published[group])
	}
	return n
}

func (t *Table) checkEarlier(all []Earlier) error {
	for _, e := range all {
		fits := len(e.Levels) == len(t.cfg.Quasi)
		for d := 0; fits && d < len(e.Levels); d++ {
			fits = e.Levels[d] >= 0 && e.Levels[d] < t.cfg.Quasi[d].Hierarchy.Levels()
		}
		if !fits {
			return bad("earlier release", "it has a level of every quasi-identifier's hierarchy", "name the same quasi-identifiers and hierarchies as for it")
		}
	}
	return nil
}

func (t *Table) newJoint(all []Earlier, c *check) (*joint, error) {
	if len(all) == 0 {
		return nil, nil
	}
	f := t.frozen
	n := f.base.len()
	j := &joint{f: f, check: c, group: make([]uint32, n), published: []bool{false}, roller: newRoller(f, n), to: make([]uint32, n)}
	for _, e := range all {
		levels := make([]uint8, len(e.Levels))
		for d, l := range e.Levels {
			levels[d] = uint8(l)
		}
		j.roller.roll(&j.cl, &f.base, levels)
		left := make([]bool, j.cl.len())
		for _, class := range e.Left {
			if class < 0 || class >= len(left) || left[class] {
				return nil, bad("earlier release", "the classes it suppressed are classes of this table", "it is of another version of the table: release that one again")
			}
			left[class] = true
		}
		next := pairing{of: map[[2]uint32]uint32{}}
		for i := range j.group {
			class := uint32(0) // suppressed
			if to := j.roller.to[i]; !left[to] {
				class = to + 1
			}
			j.group[i] = next.number(j, j.group[i], class)
		}
		j.published = next.published
	}
	return j, nil
}

// holds says whether a node meets the models together with the earlier releases.
func (j *joint) holds(levels []uint8) bool {
	if j == nil {
		return true
	}
	base := &j.f.base
	j.roller.roll(&j.cl, base, levels)
	good := make([]bool, j.cl.len())
	for i, n := range j.cl.count {
		good[i] = n > 0 && j.check.grows(&j.cl, i) && j.check.rest(&j.cl, i)
	}
	pairs := pairing{of: map[[2]uint32]uint32{}}
	for i := range j.to {
		class := uint32(0)
		if to := j.roller.to[i]; good[to] {
			class = to + 1
		}
		j.to[i] = pairs.number(j, j.group[i], class)
	}
	seen := pairs.published
	copy(j.roller.to, j.to)
	out := &j.pairs
	out.count = fit(out.count, len(seen))
	clear(out.count)
	out.pop = out.pop[:0]
	if base.pop != nil {
		out.pop = fit(out.pop, len(seen))
		clear(out.pop)
	}
	for i, p := range j.to {
		out.count[p] += base.count[i]
		if base.pop != nil {
			out.pop[p] += base.pop[i]
		}
	}
	if len(base.hist) > 0 {
		j.roller.histograms(out, base, len(seen))
	}
	for p, n := range out.count {
		if seen[p] && n > 0 && !(j.check.grows(out, p) && j.check.rest(out, p)) {
			return false
		}
	}
	return true
}

// left lists the classes that a goal suppresses at levels. They are numbered in the order of the table's rows, the same for the same
// rows in the same order.
func (t *Table) left(c *check, levels []uint8) []int {
	var cl classes
	newRoller(t.frozen, t.frozen.base.len()).roll(&cl, &t.frozen.base, levels)
	out := []int{}
	for i, n := range cl.count {
		if n > 0 && !(c.grows(&cl, i) && c.rest(&cl, i)) {
			out = append(out, i)
		}
	}
	return slices.Clip(out)
}

// String shows the levels.
func (e Earlier) String() string {
	return fmt.Sprintf("levels %v, %d classes suppressed", e.Levels, len(e.Left))
}
