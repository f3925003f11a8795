package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/desensitize/generalize"
	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// desensitizing is one call of the verb.
type desensitizing struct {
	plan, in, out, encoding, role string
	keyFile, newKey, hierarchies  string
	delimiter                     string
}

func (a *app) desensitizeCommand() *cobra.Command {
	var d desensitizing
	c := verb("desensitize", "Desensitise a table by a plan, without a domain (数据脱敏)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.desensitize(c.Context(), d)
	})
	c.AddCommand(a.checkPlanCommand(), a.signPlanCommand(), a.verifyPlanCommand())
	c.Long = `Desensitise a table by a plan, without a domain (数据脱敏).

The plan is YAML: plan, version, columns with an operation each; go doc ./desensitize Step lists the operations. What is drawn
(noise, pram, shuffle, a sample) follows from the key file, the plan and the table, and is the same the next time; without a key file
it is drawn anew. Columns that the plan does not name are left out, or, of those its schema declares, passed if it says "rest: pass".
The table's schema stands in the plan under schema, or is told from the table: columns are text unless their operation is for numbers
or dates. What the detectors find to be personal must have an operation, whatever the schema says of it (就高从严), or is left out under
"rest: drop"; direct identifiers take only what hides them. What does not fit its column or its operation is hidden whole and counted
as failed.`
	f := c.Flags()
	f.StringVar(&d.plan, "plan", "", "the plan, YAML")
	f.StringVar(&d.in, "in", "", "file to read: CSV, or .xlsx, .parquet, .arrow, parsed in the jail")
	f.StringVar(&d.out, "out", "", "CSV file to write, put there when it is whole; must not exist without --force")
	f.StringVar(&d.encoding, "encoding", "", "of the table: utf-8 or gb18030; default: detected")
	f.StringVar(&d.delimiter, "delimiter", "", delimiterHelp)
	f.StringVar(&d.role, "role", "", "show the table as this role sees it, by the plan's roles")
	f.StringVar(&d.keyFile, "key-file", "", "file with the key that the plan's keys are derived from, mode 0600")
	f.StringVar(&d.hierarchies, "hierarchies", "", "folder of hierarchies, NAME.csv in the form of ARX")
	f.StringVar(&d.newKey, "new-key", "", "make such a file, and use it")
	for _, name := range []string{"plan", "in", "out"} {
		must(c.MarkFlagRequired(name))
	}
	return c
}

// desensitized is what the verb prints as JSON.
type desensitized struct {
	desensitize.Report
	Out string `json:"out"`
}

func (a *app) desensitize(ctx context.Context, d desensitizing) (err error) {
	text, err := a.readFile(d.plan)
	if err != nil {
		return err
	}
	p, err := desensitize.Parse(filepath.Base(d.plan), text)
	if err != nil {
		return err
	}
	if same(d.in, d.out) || same(d.plan, d.out) {
		return invalid("--out", "the result is a file of its own", "name another file")
	}
	if err := a.writable("desensitize", d.out); err != nil {
		return err
	}
	keys, err := a.planKeys(d)
	if err != nil {
		return err
	}
	o, err := a.reading(ctx, d, p)
	if err != nil {
		return err
	}
	set, numbers, err := describeTable(ctx, d.in, p, o)
	if err != nil {
		return err
	}
	seed, ok := keys.(derivedKeys)
	if !ok { // draws of a key that nobody keeps
		if seed, err = a.drawnKey(); err != nil {
			return err
		}
	}
	pipe, decision := compilePlan(p, set, sandbox.Role(d.role), desensitize.Options{Keys: keys, Hierarchies: hierarchyFiles(d.hierarchies), Seed: seed, Told: true})
	if !decision.Allow {
		return &refused{numbers.in(decision)}
	}
	read := pipe.Reads()
	var whose func(arrow.Record) ([]sandbox.Pseudonym, error)
	if k, ok := keys.(derivedKeys); ok && pipe.Subjects() {
		if _, known := set.Column(p.Subject); !known {
			return invalid(filepath.Base(d.plan), "an operation by subject wants the column of the protected subject", "name it under subject")
		}
		read, whose = append(read, p.Subject), k.subjects(p.Subject)
	}
	var columns []catalog.Column
	for _, c := range set.Columns {
		if slices.Contains(read, c.Name) {
			columns = append(columns, c)
		}
	}
	again := func(ctx context.Context, _ []string) (batch.Reader, error) {
		return file.OpenTable(ctx, allocator(), d.in, columns, o)
	}
	if pipe.Twice() && d.in == "-" {
		return invalid("--in", "a plan with micro, shuffle or a sample reads the table twice", "name a file")
	}
	table := ""
	if pipe.Draws() {
		if table, err = tableDigest(d.in); err != nil {
			return err
		}
	}
	unfit := make([]int64, len(columns)) // fields that do not fit their column: null, as hidden as any that does not fit its operation
	once := o
	once.Unfit = func(column int) { unfit[column]++ }
	src, err := file.OpenTable(ctx, allocator(), d.in, columns, once)
	if err != nil {
		return err
	}
	defer src.Close()
	if d.newKey != "" {
		if err := keys.(derivedKeys).save(d.newKey); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				_ = os.Remove(d.newKey) // nothing was made under it
			}
		}()
	}
	var rep desensitize.Report
	err = a.writeFile("desensitize", d.out, func(w io.Writer) error {
		out := csv.NewWriter(w)
		out.Comma = o.Comma
		var names []string
		for _, c := range pipe.Columns() {
			names = append(names, c.Name)
		}
		if err := out.Write(names); err != nil {
			return err
		}
		row := make([]string, len(names))
		rep, err = pipe.Run(ctx, src, desensitize.Stream{Table: table, Again: again, Subjects: whose, Sink: func(_, rec arrow.Record) error { return writeRows(out, pipe.Columns(), rec, row) }})
		if err != nil {
			return err
		}
		out.Flush()
		return out.Error()
	})
	if err != nil {
		return err
	}
	for i, c := range columns {
		for k := range rep.Columns {
			if rep.Columns[k].Column == c.Name {
				rep.Columns[k].Failed += unfit[i]
			}
		}
	}
	rep.Dropped = slices.DeleteFunc(slices.Clone(rep.Dropped), func(name string) bool { return numbers.of(name) != 0 })
	return a.show(desensitized{rep, d.out}, func(w io.Writer) {
		of := ""
		if rep.Source > 0 {
			of = fmt.Sprintf(" of %d 抽样", rep.Source)
		}
		fmt.Fprintf(w, "%d rows%s in %s by plan %s version %d\n", rep.Rows, of, d.out, rep.Plan, rep.Version)
		for _, c := range rep.Columns {
			fmt.Fprintf(w, "  %-20s %-12s masked 已脱敏 %d", c.Column, c.Op, c.Masked)
			if c.Failed > 0 {
				fmt.Fprintf(w, ", failed 不合模式全遮 %d", c.Failed)
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, "  plan digest 方案摘要 %x\n", rep.Route.Plan)
	})
}

// same says whether two paths are one file.
func same(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y) || filepath.Clean(a) == filepath.Clean(b)
}

// compilePlan compiles the plan's view, or what a role sees.
func compilePlan(p *desensitize.Plan, set catalog.Dataset, role sandbox.Role, o desensitize.Options) (*desensitize.Pipeline, sandbox.Decision) {
	if role == "" {
		return desensitize.Compile(p, set, o)
	}
	m, decision := desensitize.CompileRoles(p, set, o)
	if m == nil {
		return nil, decision
	}
	return m.For(role), decision
}

// planKeys gives the keys of a plan, each derived from the one in the file, or none.
func (a *app) planKeys(d desensitizing) (desensitize.Keys, error) {
	path := d.keyFile
	if d.newKey != "" {
		if path != "" {
			return nil, usageError{errors.New("--key-file or --new-key, not both")}
		}
		path = d.newKey
		key, err := a.drawnKey()
		if err != nil {
			return nil, err
		}
		if _, err := os.Lstat(path); err == nil {
			return nil, keyExists(path)
		}
		return key, nil
	}
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "key", Kind: sandbox.NotFound, Object: path, Detail: "the key file cannot be read", Hint: "make one with --new-key"}
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, &sandbox.Error{Op: "key", Kind: sandbox.Denied, Object: path, Detail: "others can read the key file", Hint: "chmod 600 it; if others had it, make a new one"}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "key", Kind: sandbox.Unavailable, Object: path, Detail: "the key file cannot be read"}
	}
	key, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || len(key) != sm.Size {
		return nil, invalid(path, "a key file is one line of 64 hexadecimal digits", "make one with --new-key")
	}
	return derivedKeys(key), nil
}

func keyExists(path string) error {
	return &sandbox.Error{Op: "key", Kind: sandbox.Conflict, Object: path, Detail: "the file exists", Hint: "use it with --key-file: another key gives other tokens"}
}

// save writes a key file, over nothing.
func (k derivedKeys) save(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return keyExists(path)
	}
	if err == nil {
		_, err = f.WriteString(hex.EncodeToString([]byte(k)) + "\n")
		err = errors.Join(err, f.Sync(), f.Close())
	}
	if err != nil {
		return &sandbox.Error{Op: "key", Kind: sandbox.Unavailable, Object: path, Detail: "the file cannot be written"}
	}
	return nil
}

// reading gives how the table is read: the delimiter is the given one, or the one whose header line has most of the plan's columns.
func (a *app) reading(ctx context.Context, d desensitizing, p *desensitize.Plan) (file.Options, error) {
	o := file.Options{Encoding: file.Encoding(d.encoding), Parser: a.files, Unfit: func(int) {}}
	var wanted []string
	for _, f := range p.Schema {
		wanted = append(wanted, f.Name)
	}
	for _, list := range append([]desensitize.RoleRules{{Columns: p.Columns}}, p.Roles...) {
		for _, s := range list.Columns {
			if !slices.Contains(wanted, s.Column) {
				wanted = append(wanted, s.Column)
			}
		}
	}
	var err error
	o.Comma, err = delimiterOf(ctx, d.in, d.delimiter, o, wanted)
	return o, err
}

// drawnKey draws a key.
func (a *app) drawnKey() (derivedKeys, error) {
	key := make([]byte, sm.Size)
	if _, err := io.ReadFull(a.rand, key); err != nil {
		return nil, &sandbox.Error{Op: "key", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return key, nil
}

// tableDigest names a table by its bytes.
func tableDigest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &sandbox.Error{Op: "read", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read"}
	}
	defer f.Close()
	h := sm.NewHash()
	if _, err := io.Copy(h, f); err != nil {
		return "", &sandbox.Error{Op: "read", Kind: sandbox.Unavailable, Object: path, Detail: "the file cannot be read"}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// derivedKeys gives a key for each name from one.
type derivedKeys []byte

// Key derives by HKDF-SM3.
func (k derivedKeys) Key(name string) (token.Key, bool) {
	b, err := sm.HKDF(k, nil, sm.Frame([]byte("opdomain/desensitize-key/v1"), []byte(name)), sm.Size)
	if err != nil {
		return token.Key{}, false
	}
	out, err := token.NewKey(b)
	return out, err == nil
}

// Derive gives n bytes for a use, as a key of a domain does.
func (k derivedKeys) Derive(n int, context ...string) ([]byte, error) {
	parts := [][]byte{[]byte("opdomain/desensitize-derive/v1")}
	for _, c := range context {
		parts = append(parts, []byte(c))
	}
	return sm.HKDF(k, nil, sm.Frame(parts...), n)
}

// Format keeps the key out of every verb.
func (derivedKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "key(redacted)") }

// subjects gives whose row each is: HMAC-SM3 of the subject's text. A row without one is nobody's.
func (k derivedKeys) subjects(column string) func(arrow.Record) ([]sandbox.Pseudonym, error) {
	key, err := sm.HKDF(k, nil, sm.Frame([]byte("opdomain/desensitize-subject/v1")), sm.Size)
	return func(rec arrow.Record) ([]sandbox.Pseudonym, error) {
		if err != nil {
			return nil, err
		}
		at := rec.Schema().FieldIndices(column)
		if len(at) != 1 {
			return nil, invalid(column, "the table has the subject's column, once", "")
		}
		a, ok := rec.Column(at[0]).(*array.String)
		if !ok {
			return nil, invalid(column, "the subject's column is text", "")
		}
		out := make([]sandbox.Pseudonym, a.Len())
		for i := range out {
			if a.IsValid(i) {
				sum := sm.HMAC(key, []byte(a.Value(i)))
				copy(out[i][:], sum[:])
			}
		}
		return out, nil
	}
}

// hierarchyFiles reads the hierarchies of a folder: NAME.csv in the form of ARX.
type hierarchyFiles string

// Hierarchy reads one by its name.
func (dir hierarchyFiles) Hierarchy(name string) (*generalize.Hierarchy, error) {
	if name != filepath.Base(name) || dir == "" {
		return nil, &sandbox.Error{Op: "hierarchy", Kind: sandbox.NotFound, Object: name, Detail: "neither a built-in one nor a file of the folder"}
	}
	f, err := os.Open(filepath.Join(string(dir), name+".csv"))
	if err != nil {
		return nil, &sandbox.Error{Op: "hierarchy", Kind: sandbox.NotFound, Object: name, Detail: "neither a built-in one nor a file of the folder"}
	}
	defer f.Close()
	return generalize.ReadHierarchy(f, name+".csv")
}

// writeRows writes a batch as people write it: money in yuan, dates 2006-01-02, nulls empty.
func writeRows(w *csv.Writer, columns []catalog.Column, rec arrow.Record, row []string) error {
	for i := range int(rec.NumRows()) {
		for k, c := range rec.Columns() {
			row[k] = ""
			if c.IsNull(i) {
				continue
			}
			switch c := c.(type) {
			case *array.String:
				row[k] = c.Value(i)
			case *array.Int64:
				row[k] = query.Label(&columns[k], c.Value(i))
			case *array.Date32:
				row[k] = query.Label(&columns[k], int64(c.Value(i)))
			case *array.Boolean:
				row[k] = fmt.Sprint(c.Value(i))
			default:
				return &sandbox.Error{Op: "desensitize", Kind: sandbox.Internal, Object: columns[k].Name, Detail: fmt.Sprintf("type %s is not written to CSV", c.DataType())}
			}
		}
		if err := w.Write(row); err != nil {
			return &sandbox.Error{Op: "desensitize", Kind: sandbox.Unavailable, Object: "the result", Detail: "it cannot be written"}
		}
	}
	return nil
}
