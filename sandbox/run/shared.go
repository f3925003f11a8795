package run

import (
	"context"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Shared (分享取数) reads the domain's own table of a computation over shares: its group, its person and its amounts, row by row.
type Shared struct {
	Dataset catalog.Dataset
	Input   sandbox.InputVersion
	Group   catalog.Column // what rows are grouped by
	Bin     *catalog.Bin   // of codes or prefixes; nil: Group itself, which is yes or no
	Groups  []string       // labels, as Labels gives them
	Amounts []catalog.Column

	Key []byte // of the pseudonyms of this job
}

// Labels gives the labels that a group column can have, false where they are not registered.
func Labels(c *catalog.Column, b *catalog.Bin) ([]string, bool) {
	var out []string
	switch {
	case b == nil && c.Type == catalog.Bool:
		out = []string{"false", "true"}
	case b != nil && (b.Kind == catalog.Codes || b.Kind == catalog.Prefix):
		for _, g := range b.Groups {
			if !slices.Contains(out, g.Label) {
				out = append(out, g.Label)
			}
		}
		out = append(out, catalog.Other)
	default:
		return nil, false
	}
	if c.Nullable {
		out = append(out, catalog.Missing)
	}
	return out, true
}

// label gives a value's label.
func (s *Shared) label(v string) string {
	switch {
	case v == "":
		return catalog.Missing
	case s.Bin == nil:
		return v
	}
	best, out := -1, catalog.Other
	for _, g := range s.Bin.Groups {
		for _, code := range g.Codes {
			if code == v || s.Bin.Kind == catalog.Prefix && strings.HasPrefix(v, code) && len(code) > best {
				best, out = len(code), g.Label
			}
		}
	}
	return out
}

// Read gives the rows. A missing amount adds nothing. Invalid where an identifier or a value has no place in the
// protocol; it names the column, never a value.
func (s *Shared) Read(ctx context.Context, mem memory.Allocator, v *vault.Vault) (rows []join.Row, err error) {
	snap, err := v.Snapshot(s.Input.Dataset, s.Input.Version)
	if err != nil {
		return nil, missing(s.Input, err)
	}
	subject, ok := s.Dataset.Column(s.Dataset.Subject)
	if !ok {
		return nil, &sandbox.Error{Op: "run: shared", Kind: sandbox.Internal, Object: string(s.Dataset.ID), Detail: "a dataset has its subject column"}
	}
	mac, err := sm.NewMAC(s.Key)
	if err != nil {
		return nil, err
	}
	bad := func(c catalog.Column, rule string) error {
		return &sandbox.Error{Op: "run: shared", Kind: sandbox.Invalid, Object: string(s.Dataset.ID) + "." + c.Name, Detail: rule}
	}
	columns := append([]catalog.Column{*subject, s.Group}, s.Amounts...)
	var sum [8]byte
	err = EachRow(ctx, mem, v, snap, columns, func(row []string, _ sandbox.Pseudonym) error {
		id, ok := join.Normal(s.Dataset.SubjectKind, row[0])
		if !ok {
			return bad(*subject, "every row has an identifier in the form of its kind")
		}
		x := join.Row{Group: slices.Index(s.Groups, s.label(row[1]))}
		if x.Group < 0 {
			return bad(s.Group, "a label that is registered")
		}
		for i, c := range s.Amounts {
			n, ok := whole(row[2+i], decimals(c))
			if !ok {
				return bad(c, "an amount from 0 to 2^40-1 of its smallest unit")
			}
			x.Values = append(x.Values, n)
		}
		mac.Rows(sum[:], 8, []int32{0, int32(len(id))}, []byte(id))
		x.Subject = binary.BigEndian.Uint64(sum[:]) >> (64 - join.SubjectBits)
		rows = append(rows, x)
		return nil
	})
	return rows, err
}

// decimals are those a column's values print with.
func decimals(c catalog.Column) int {
	switch c.Type {
	case catalog.Money:
		return 2
	case catalog.Number:
		return c.Scale
	}
	return 0
}

// whole reads a printed amount in its smallest unit; what is missing is nothing.
func whole(text string, decimals int) (n int64, ok bool) {
	if text == "" {
		return 0, true
	}
	units, rest, dot := strings.Cut(text, ".")
	if dot != (decimals > 0) || len(rest) != decimals || units == "" {
		return 0, false
	}
	for _, c := range units + rest {
		if c < '0' || c > '9' {
			return 0, false
		}
		if n = 10*n + int64(c-'0'); n > join.MaxAmount {
			return 0, false
		}
	}
	return n, true
}
