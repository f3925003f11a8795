package run

import (
	"context"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// SharedRows (分享明细) reads the named columns of a version of the domain's own table, with pseudonyms under a job's key of its people's identifiers in
// the form in which the other owners join them. Only these columns and the identifiers are opened. TooLarge for more than most rows; NotFound,
// Tampered or Expired where the version cannot be read; errors name dataset, column and rule, never a value.
func SharedRows(ctx context.Context, mem memory.Allocator, v *vault.Vault, set catalog.Dataset, in sandbox.InputVersion, columns []string, key []byte, most int) (*agg.Rows, error) {
	snap, err := v.Snapshot(in.Dataset, in.Version)
	if err != nil {
		return nil, missing(in, err)
	}
	names := slices.Clone(columns)
	if !slices.Contains(names, set.Subject) {
		names = append(names, set.Subject)
	}
	r, err := v.Scan(ctx, mem, snap, names)
	if err != nil {
		return nil, missing(in, err)
	}
	who, err := agg.Pseudonymous(r, set, columns, key, join.Normal)
	if err != nil {
		return nil, err
	}
	return agg.ReadRows(ctx, who, set, columns, most)
}
