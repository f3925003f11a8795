package generalize

import "math/bits"

// roller merges the classes of a node into those of a coarser one. It owns its scratch; one goroutine uses it.
type roller struct {
	f     *frozen
	keys  [][]uint64 // moved keys of the finer classes
	slots []uint32   // open addressing: class + 1
	to    []uint32   // finer class → coarser class, kept for histograms
	order []uint32   // finer classes by coarser class
	from  []uint32
	sum   []uint32 // by sensitive value
}

func newRoller(f *frozen, most int) *roller {
	r := &roller{f: f, keys: make([][]uint64, f.words), to: make([]uint32, most)}
	for w := range r.keys {
		r.keys[w] = make([]uint64, most)
	}
	return r
}

// bytes counts the scratch.
func (r *roller) bytes() int64 {
	return int64(len(r.to))*int64(4+8*len(r.keys)) + 4*int64(cap(r.slots)+cap(r.order)+cap(r.from)+cap(r.sum))
}

// roll fills dst, whose memory it reuses, with the classes of src at the given levels, none of which is finer than src's.
func (r *roller) roll(dst, src *classes, levels []uint8) {
	n := src.len()
	r.move(src, levels)
	room := n // classes that can come out
	product := uint64(1)
	for d := range r.f.dims {
		if high, low := bits.Mul64(product, uint64(len(r.f.dims[d].labels[levels[d]]))); high == 0 && low < uint64(n) {
			product = low
		} else {
			product = uint64(n)
			break
		}
	}
	room = min(room, int(product))
	size := max(16, 1<<bits.Len(uint(2*room-1)))
	if cap(r.slots) < size {
		r.slots = make([]uint32, size)
	}
	slots := r.slots[:size]
	clear(slots)
	shift := 64 - (bits.Len(uint(size)) - 1)
	dst.levels = append(dst.levels[:0], levels...)
	if len(dst.keys) != r.f.words {
		dst.keys = make([][]uint64, r.f.words)
	}
	for w := range dst.keys {
		dst.keys[w] = fit(dst.keys[w], room)
	}
	dst.count = fit(dst.count, room)
	var out int
	if r.f.words == 1 {
		out = r.merge(dst.keys[0], dst.count, src.count, slots, shift)
	} else {
		out = r.mergeWide(dst, src, slots, shift)
	}
	for w := range dst.keys {
		dst.keys[w] = dst.keys[w][:out]
	}
	dst.count = dst.count[:out]
	dst.pop = dst.pop[:0]
	if src.pop != nil {
		dst.pop = fit(dst.pop, out)
		clear(dst.pop)
		for i, p := range src.pop {
			dst.pop[r.to[i]] += p
		}
	}
	if len(src.hist) > 0 {
		r.histograms(dst, src, out)
	}
}

func fit[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}

// move writes src's keys at the new levels to r.keys.
func (r *roller) move(src *classes, levels []uint8) {
	n := src.len()
	for w := range r.keys {
		out, in := r.keys[w][:n], src.keys[w][:n]
		var gone uint64 // fields that become their only code, 0
		for d := range r.f.dims {
			if dim := &r.f.dims[d]; dim.word == w && len(dim.labels[levels[d]]) == 1 {
				gone |= dim.mask
			}
		}
		for i, k := range in {
			out[i] = k &^ gone
		}
		for d := range r.f.dims {
			dim := &r.f.dims[d]
			from, to := src.levels[d], levels[d]
			if dim.word != w || from == to || dim.mask&gone != 0 {
				continue
			}
			table, mask, shift := dim.up[from][to], dim.mask, dim.shift&63
			for i, k := range out {
				out[i] = k&^mask | table[(k&mask)>>shift]
			}
		}
	}
}

// merge is the hot loop, for keys of one word. The index of a key is the top of its product with an odd constant.
func (r *roller) merge(keys []uint64, count, add, slots []uint32, shift int) int {
	in, to, mask := r.keys[0][:len(add)], r.to[:len(add)], uint64(len(slots)-1)
	out := 0
	for i, k := range in {
		at := (k * 0x9e3779b97f4a7c15) >> (shift & 63)
		for {
			s := slots[at&mask]
			if s == 0 {
				keys[out], count[out] = k, add[i]
				to[i] = uint32(out)
				out++
				slots[at&mask] = uint32(out)
				break
			}
			if keys[s-1] == k {
				count[s-1] += add[i]
				to[i] = s - 1
				break
			}
			at++
		}
	}
	return out
}

func (r *roller) mergeWide(dst, src *classes, slots []uint32, shift int) int {
	mask, out := uint64(len(slots)-1), 0
	for i := range src.count {
		var at uint64
		for w := range r.keys {
			at = (at ^ r.keys[w][i]) * 0x9e3779b97f4a7c15
			at ^= at >> 32
		}
		at = (at * 0x9e3779b97f4a7c15) >> (shift & 63)
	probe:
		for {
			s := slots[at&mask]
			if s == 0 {
				for w := range r.keys {
					dst.keys[w][out] = r.keys[w][i]
				}
				dst.count[out], r.to[i] = src.count[i], uint32(out)
				out++
				slots[at&mask] = uint32(out)
				break
			}
			for w := range r.keys {
				if dst.keys[w][s-1] != r.keys[w][i] {
					at++
					continue probe
				}
			}
			dst.count[s-1] += src.count[i]
			r.to[i] = s - 1
			break
		}
	}
	return out
}

// histograms adds up the finer classes' histograms, coarser class by coarser class.
func (r *roller) histograms(dst, src *classes, out int) {
	n := src.len()
	r.from, r.order = fit(r.from, out+1), fit(r.order, n)
	clear(r.from)
	for _, c := range r.to[:n] {
		r.from[c+1]++
	}
	for c := range out {
		r.from[c+1] += r.from[c]
	}
	for i, c := range r.to[:n] {
		r.order[r.from[c]] = uint32(i)
		r.from[c]++ // ends where the next begins
	}
	if len(dst.hist) != len(src.hist) {
		dst.hist = make([]histogram, len(src.hist))
	}
	for s := range src.hist {
		from, into := &src.hist[s], &dst.hist[s]
		r.sum = fit(r.sum, len(r.f.hists[s].total))
		clear(r.sum)
		into.from = append(into.from[:0], 0)
		into.value, into.count = into.value[:0], into.count[:0]
		at := uint32(0)
		for c := range out {
			start := len(into.value)
			for ; at < r.from[c]; at++ {
				i := r.order[at]
				for e := from.from[i]; e < from.from[i+1]; e++ {
					v := from.value[e]
					if r.sum[v] == 0 {
						into.value = append(into.value, v)
					}
					r.sum[v] += from.count[e]
				}
			}
			for _, v := range into.value[start:] {
				into.count = append(into.count, r.sum[v])
				r.sum[v] = 0
			}
			into.from = append(into.from, uint32(len(into.value)))
		}
	}
}
