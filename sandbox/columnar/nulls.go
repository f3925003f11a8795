package columnar

import (
	"encoding/binary"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// given writes 1 for each selected row with a value and 0 for each without, and no branch.
func (c *column) given(sel []int32, out []uint8) {
	out = out[:len(sel)]
	valid, off := c.valid, c.off
	for j, i := range sel {
		at := off + int(i)
		out[j] = valid[at>>3] >> (at & 7) & 1
	}
}

// unpack writes the bits from at on, a byte each.
func unpack(valid []byte, at int, out []uint8) {
	for ; len(out) > 0 && at&7 != 0; at++ {
		out[0] = valid[at>>3] >> (at & 7) & 1
		out = out[1:]
	}
	const every, one, rise = 0x0101010101010101, 0x8040201008040201, 0x7f7f7f7f7f7f7f7f
	for ; len(out) >= 8; at += 8 {
		w := uint64(valid[at>>3]) * every & one // in byte i bit i alone
		binary.LittleEndian.PutUint64(out, (w+rise)>>7&every)
		out = out[8:]
	}
	for j := range out {
		out[j] = valid[at>>3] >> (at & 7) & 1
		at++
	}
}

// encodeGiven codes the rows that have a value, and gives the others Missing's code.
func (k *coder) encodeGiven(c *column, sel []int32, out []uint32) error {
	if k.given == nil {
		k.given, k.flags, k.codesGiven = make([]int32, piece+1), make([]uint8, piece), make([]uint32, piece+1)
	}
	flags, n := k.flags[:len(sel)], 0
	c.given(sel, flags)
	for j, i := range sel {
		k.given[n] = i
		n += int(flags[j])
	}
	whole := *c
	whole.valid = nil
	if err := k.encode(&whole, k.given[:n], k.codesGiven); err != nil {
		return err
	}
	if n < len(sel) && k.missing == noCode {
		k.missing = k.name(catalog.Missing)
	}
	missing, at := k.missing, 0
	for j, f := range flags {
		given := -uint32(f)
		out[j] = k.codesGiven[at]&given | missing&^given
		at += int(f)
	}
	return nil
}
