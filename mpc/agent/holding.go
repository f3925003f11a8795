package agent

import (
	"context"
	"os"
	"strings"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Holding (本方数据) is where a unit's own rows of a dataset are: a CSV file with the described columns, or the folder of a sealed vault under its
// keys.
type Holding struct {
	Path string      // a file, or "vault:" before a folder
	Keys *keys.Vault // of the vault
}

// SubjectColumn is the pseudonyms' name in what Open gives.
const SubjectColumn = agg.SubjectColumn

// Open reads the columns of a described dataset, with pseudonyms of 16 bytes under key in place of the column that identifies people. Errors name
// file, row and rule, never a field. The caller closes the reader.
func (a *Agent) Open(ctx context.Context, h Holding, set catalog.Dataset, columns []string, key []byte) (batch.Reader, error) {
	r, err := a.table(ctx, h, set, columns)
	if err != nil {
		return nil, err
	}
	return agg.Pseudonymous(r, set, columns, key, nil)
}

// OpenNormal is Open with pseudonyms of the identifiers' one form (join.Normal), as units' rows are joined by it. A value that is no identifier of the
// dataset's kind keeps its own form: it is on no list.
func (a *Agent) OpenNormal(ctx context.Context, h Holding, set catalog.Dataset, columns []string, key []byte) (batch.Reader, error) {
	r, err := a.table(ctx, h, set, columns)
	if err != nil {
		return nil, err
	}
	return agg.Pseudonymous(r, set, columns, key, func(kind catalog.SubjectKind, id string) (string, bool) {
		if normal, ok := join.Normal(kind, id); ok {
			return normal, true
		}
		return id, true
	})
}

// table opens a holding's columns and the one that identifies people.
func (a *Agent) table(ctx context.Context, h Holding, set catalog.Dataset, columns []string) (batch.Reader, error) {
	var r batch.Reader
	var err error
	if dir, sealed := strings.CutPrefix(h.Path, vaultSource); sealed {
		if h.Keys == nil {
			return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: h.Path, Detail: "a vault comes with its keys"}
		}
		r, err = (&vaults{h.Keys}).read(ctx, a, dir, set, 0, columns)
	} else {
		r, err = openFile(ctx, h.Path, set, columns)
	}
	return r, err
}

// Check says whether a holding is there, before anybody waits for it.
func (h Holding) Check() error {
	path, _ := strings.CutPrefix(h.Path, vaultSource)
	info, err := os.Stat(path)
	if err != nil || path == h.Path && !info.Mode().IsRegular() || path != h.Path && !info.IsDir() {
		return &sandbox.Error{Op: "party: table", Kind: sandbox.NotFound, Object: h.Path, Detail: "a table's file, or vault: before the folder of a vault"}
	}
	return nil
}
