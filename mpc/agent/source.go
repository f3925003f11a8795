package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// vaultSource stands before the folder of a sealed vault where a source is one.
const vaultSource = "vault:"

// sources reads what a party holds of an inquiry: each dataset from the file or vault folder that a --source names, DATASET=FILE or
// DATASET=vault:DIR. Only the columns that the question needs are opened, and the one that identifies people, which becomes pseudonyms under a
// key of the plan before anything else.
func (a *Agent) sources(ctx context.Context, f *flags, q *job, place int, p mpc.Plan) error {
	t, err := a.inputs(f, q.line, p)
	if err != nil {
		return err
	}
	defer t.vaults.close()
	q.own = agg.Own{}
	for i := range q.line.Inputs() {
		if !q.line.Holds(place, i) {
			continue
		}
		if q.own[i], err = t.read(ctx, i, q.line.Room(place, i)); err != nil {
			return err
		}
	}
	return q.line.Fits(place, q.own)
}

// inputs are what --source names, by dataset, with the key of the plan's pseudonyms.
type inputs struct {
	a      *Agent
	f      *flags
	line   *agg.Line
	at     map[sandbox.DatasetID]string
	key    []byte
	vaults *vaults
}

func sourceUsage(rule string) error {
	return &sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: "--source", Detail: rule, Err: errUsage}
}

func (a *Agent) inputs(f *flags, l *agg.Line, p mpc.Plan) (*inputs, error) {
	t := &inputs{a: a, f: f, line: l, at: map[sandbox.DatasetID]string{}}
	for _, s := range f.sources {
		id, path, ok := strings.Cut(s, "=")
		if _, twice := t.at[sandbox.DatasetID(id)]; !ok || twice || path == "" {
			return nil, sourceUsage("DATASET=FILE or DATASET=vault:DIR, once for each dataset")
		}
		t.at[sandbox.DatasetID(id)] = path
	}
	owners, err := readHex(f.subjectKey)
	if err != nil {
		return nil, err
	}
	t.key, err = join.SubjectKey(owners, p.Digest())
	return t, err
}

// read gives the rows of input i, at most so many.
func (t *inputs) read(ctx context.Context, i, room int) (*agg.Rows, error) {
	set, columns := t.line.Inputs()[i], t.line.Columns(i)
	path, ok := t.at[set.ID]
	if !ok {
		return nil, sourceUsage("a source for each dataset that the setting says is held here: " + string(set.ID))
	}
	var r batch.Reader
	var err error
	if dir, sealed := strings.CutPrefix(path, vaultSource); sealed {
		if t.vaults == nil {
			if t.vaults, err = t.a.vaults(t.f); err != nil {
				return nil, err
			}
		}
		r, err = t.vaults.read(ctx, t.a, dir, set, t.line.Version(i), columns)
	} else {
		r, err = openFile(ctx, path, set, columns)
	}
	if err != nil {
		return nil, err
	}
	if r, err = pseudonymous(r, set, columns, t.key); err != nil {
		return nil, err
	}
	return agg.ReadRows(ctx, r, set, columns, room)
}

// wanted lists the described columns that are read: those of the question and the subject's.
func wanted(set catalog.Dataset, columns []string) (out []catalog.Column) {
	for _, c := range set.Columns {
		if c.Name == set.Subject || slices.Contains(columns, c.Name) {
			out = append(out, c)
		}
	}
	return out
}

func openFile(ctx context.Context, path string, set catalog.Dataset, columns []string) (batch.Reader, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read"}
	}
	if info.Size() > maxTable {
		return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.TooLarge, Object: path, Detail: "at most 64 MiB"}
	}
	return file.OpenTable(ctx, memory.NewGoAllocator(), path, wanted(set, columns), file.Options{})
}

// vaults opens sealed folders under one folder of keys: the party's own, or the one of the domain that the folder is of.
type vaults struct{ keys *keys.Vault }

func (a *Agent) vaults(f *flags) (*vaults, error) {
	with := *f
	if f.vaultKeys != "" {
		with.keys, with.passphrase = f.vaultKeys, f.vaultPassphrase
	}
	if with.passphrase == "" {
		return nil, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--vault-keys", Detail: "keys of a vault come with their passphrase file", Err: errUsage}
	}
	k, err := a.open(&with)
	if err != nil {
		return nil, err
	}
	return &vaults{k}, nil
}

func (v *vaults) close() {
	if v != nil {
		v.keys.Close()
	}
}

// read scans the current version, or the one that the question names. The folder must be there: a vault would make one.
func (v *vaults) read(ctx context.Context, a *Agent, dir string, set catalog.Dataset, version uint64, columns []string) (batch.Reader, error) {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.NotFound, Object: dir, Detail: "the folder of a vault"}
	}
	sealed, err := vault.Open(dir, v.keys, a.Rand)
	if err != nil {
		return nil, err
	}
	s, err := sealed.Head(set.ID)
	if err == nil && version != 0 && version != s.Version {
		s, err = sealed.Snapshot(set.ID, version)
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, c := range wanted(set, columns) {
		names = append(names, c.Name)
	}
	return sealed.Scan(ctx, memory.NewGoAllocator(), s, names)
}

// renamed gives the batches of a reader with pseudonyms in place of the column that identifies people.
type renamed struct {
	batch.Reader
	set    catalog.Dataset
	id     int
	at     []int
	schema *arrow.Schema
	mac    *sm.MAC
	row    int
}

func pseudonymous(r batch.Reader, set catalog.Dataset, columns []string, key []byte) (batch.Reader, error) {
	bad := func(column, rule string) (batch.Reader, error) {
		return nil, errors.Join(&sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: string(set.ID) + "." + column, Detail: rule}, r.Close())
	}
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	x := &renamed{Reader: r, set: set, mac: mac}
	fields := []arrow.Field{{Name: agg.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}}}
	at := r.Schema().FieldIndices(set.Subject)
	if len(at) != 1 || r.Schema().Field(at[0]).Type.ID() != arrow.STRING {
		return bad(set.Subject, "the column that identifies people is a text, there once")
	}
	x.id = at[0]
	for _, name := range columns {
		at := r.Schema().FieldIndices(name)
		if len(at) != 1 {
			return bad(name, "the table has each column that the question needs once")
		}
		x.at = append(x.at, at[0])
		fields = append(fields, r.Schema().Field(at[0]))
	}
	x.schema = arrow.NewSchema(fields, nil)
	return x, nil
}

// Schema gives pseudonyms, then the columns asked for.
func (x *renamed) Schema() *arrow.Schema { return x.schema }

// Next gives the next batch. Invalid, by its row, for a row that is about nobody.
func (x *renamed) Next(ctx context.Context) (arrow.Record, error) {
	rec, err := x.Reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	ids, ok := rec.Column(x.id).(*array.String)
	n := int(rec.NumRows())
	for i := range n {
		if !ok || ids.IsNull(i) || ids.ValueLen(i) == 0 {
			return nil, &sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s row %d", x.set.ID, x.row+i+1), Detail: "every row has a subject"}
		}
	}
	x.row += n
	names := make([]byte, 16*n)
	if n > 0 {
		ends := slices.Clone(ids.ValueOffsets())
		for i := range ends { // the bytes begin with those of the first row
			ends[i] -= ids.ValueOffsets()[0]
		}
		x.mac.Rows(names, 16, ends, ids.ValueBytes())
	}
	b := array.NewFixedSizeBinaryBuilder(memory.NewGoAllocator(), &arrow.FixedSizeBinaryType{ByteWidth: 16})
	defer b.Release()
	for i := range n {
		b.Append(names[16*i : 16*i+16])
	}
	who := b.NewArray()
	defer who.Release()
	cols := []arrow.Array{who}
	for _, at := range x.at {
		cols = append(cols, rec.Column(at))
	}
	return array.NewRecord(x.schema, cols, int64(n)), nil
}
