package scan

import (
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// MilliBits (毫比特) measures what declared values may tell, in thousandths of a bit, exactly: the least whole number m with 2^m ≥ levels^1000.
type MilliBits int64

// Log2 gives the milli-bits of one value out of so many levels; none of one.
func Log2(levels uint64) MilliBits {
	if levels <= 1 {
		return 0
	}
	p := new(big.Int).Exp(new(big.Int).SetUint64(levels), big.NewInt(1000), nil)
	return MilliBits(p.Sub(p, big.NewInt(1)).BitLen())
}

// Declared (申报容量) is what an output declares of itself: how many levels each value has and how many statuses it may end in.
type Declared struct {
	Levels   []uint64 `json:"levels"` // per value: registered labels, or steps of its declared range
	Times    uint64   `json:"times"`  // how often: rows
	Statuses uint64   `json:"statuses"`
}

// Bits gives Σ log2(levels) over all values plus log2(statuses). Source: rule 25 of the gate. ok is false where it does not fit.
func (d Declared) Bits() (total MilliBits, ok bool) {
	row := MilliBits(0)
	for _, l := range d.Levels {
		row += Log2(l)
	}
	const most = 1 << 40 // 128 MiB
	if row > 0 && d.Times > uint64(most/row) {
		return 0, false
	}
	return row*MilliBits(d.Times) + Log2(d.Statuses), true
}

// Type (出域文件类型) is a type of file that may leave.
type Type string

// The closed list.
const (
	CSV  Type = "csv"
	JSON Type = "json"
)

// Caps (出域规模上限) bound one request to let something leave. Source: OpenSAFELY's and AzureTRE's limits (rule 25 of the gate).
type Caps struct {
	Rows  int
	Bytes int64
	Types []Type
	Bits  MilliBits // 0: not bounded
}

// Standard gives the caps of class E and F files.
func Standard() Caps { return Caps{Rows: 5000, Bytes: 16 << 20, Types: []Type{CSV, JSON}} }

// File (出域文件) is one file of a request, by what is known without opening it.
type File struct {
	Name  string
	Bytes int64
	Rows  int
}

// Check gives what of a request is over the caps: each reason with the smallest change that would pass. Names stay with the caller.
func (c Caps) Check(files []File, declared *Declared) (out []sandbox.Reason) {
	refuse := func(code, rule, change string) {
		out = append(out, sandbox.Reason{Code: code, Rule: rule, Change: change})
	}
	if len(files) != 1 {
		refuse("size.files", "one file per request 一次一个文件", "split the request")
	}
	for _, f := range files {
		ext := ""
		if i := strings.LastIndexByte(f.Name, '.'); i >= 0 {
			ext = strings.ToLower(f.Name[i+1:])
		}
		if !slices.Contains(c.Types, Type(ext)) {
			refuse("size.type", fmt.Sprintf("files are of the types %v 文件类型封闭", c.Types), "write it as "+string(c.Types[0]))
		}
		if f.Rows > c.Rows {
			refuse("size.rows", fmt.Sprintf("at most %d rows 行数上限", c.Rows), fmt.Sprintf("leave out %d rows, or coarsen", f.Rows-c.Rows))
		}
		if f.Bytes > c.Bytes {
			refuse("size.bytes", fmt.Sprintf("at most %d bytes 字节上限", c.Bytes), fmt.Sprintf("leave out %d bytes", f.Bytes-c.Bytes))
		}
	}
	if c.Bits > 0 {
		switch {
		case declared == nil:
			refuse("size.bits", "the levels of every value are declared 申报每个值的取值数", "declare them")
		default:
			if bits, ok := declared.Bits(); !ok || bits > c.Bits {
				refuse("size.bits", fmt.Sprintf("at most %d.%03d bits 信息量上限", c.Bits/1000, c.Bits%1000), fmt.Sprintf("declare %d milli-bits fewer: fewer rows or coarser values", max(bits-c.Bits, 1)))
			}
		}
	}
	return out
}
