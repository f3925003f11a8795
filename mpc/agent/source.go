package agent

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
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
// DATASET=vault:DIR, with @VERSION behind the dataset of a file where the question names one. Only the columns that the question needs are opened, and the one that identifies people, which becomes pseudonyms under a
// key of the plan before anything else.
func (a *Agent) sources(ctx context.Context, f *flags, q *job, place int, p mpc.Plan) error {
	t, err := a.inputs(f, q.line, p)
	if err != nil {
		return err
	}
	defer t.vaults.close()
	q.own, q.names = agg.Own{}, map[int][]string{}
	for i := range q.line.Inputs() {
		if !q.line.Holds(place, i) {
			continue
		}
		if q.own[i], q.names[i], err = t.read(ctx, i, q.line.Room(place, i)); err != nil {
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
	job    sandbox.RunID
	at     map[sandbox.DatasetID]source
	key    []byte
	vaults *vaults
}

// source is where a dataset's rows are, and the version that they are said to be; 0: not said.
type source struct {
	path    string
	version uint64
}

func sourceUsage(rule string) error {
	return &sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: "--source", Detail: rule, Err: errUsage}
}

func (a *Agent) inputs(f *flags, l *agg.Line, p mpc.Plan) (*inputs, error) {
	t := &inputs{a: a, f: f, line: l, job: p.Job, at: map[sandbox.DatasetID]source{}}
	for _, s := range f.sources {
		is, path, ok := named(s)
		if _, twice := t.at[is.Dataset]; !ok || twice {
			return nil, sourceUsage("DATASET=FILE or DATASET=vault:DIR, once for each dataset; DATASET@VERSION=FILE where the question names a version")
		}
		t.at[is.Dataset] = source{path, is.Version}
	}
	for i, in := range l.Inputs() { // before any is opened
		if _, ok := t.at[in.ID]; ok {
			if _, err := t.source(i); err != nil {
				return nil, err
			}
		}
	}
	owners, err := readHex(f.subjectKey)
	if err != nil {
		return nil, err
	}
	t.key, err = join.SubjectKey(owners, p.Digest())
	return t, err
}

// read gives the rows of input i, at most so many, and by row whose they are, in the form that people are joined in.
func (t *inputs) read(ctx context.Context, i, room int) (rows *agg.Rows, names []string, err error) {
	set, columns := t.line.Inputs()[i], t.line.Columns(i)
	path, err := t.source(i)
	if err != nil {
		return nil, nil, err
	}
	var r batch.Reader
	if dir, sealed := strings.CutPrefix(path, vaultSource); sealed {
		if t.vaults == nil {
			if t.vaults, err = t.a.vaults(t.f); err != nil {
				return nil, nil, err
			}
		}
		r, err = t.vaults.read(ctx, t.a, dir, set, t.line.Version(i), columns)
	} else {
		r, err = openFile(ctx, path, set, columns)
	}
	if err != nil {
		return nil, nil, err
	}
	known := map[string]string{}
	normal := func(kind catalog.SubjectKind, id string) (string, bool) {
		id, ok := join.Normal(kind, id)
		if ok {
			if _, seen := known[id]; !seen {
				id = strings.Clone(id) // the batch goes
				known[id] = id
			}
			names = append(names, known[id])
		}
		return id, ok
	}
	if r, err = agg.Pseudonymous(r, set, columns, t.key, normal); err != nil {
		return nil, nil, err
	}
	rows, err = agg.ReadRows(ctx, r, set, columns, room)
	return rows, names, err
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
