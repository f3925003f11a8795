package agent

import (
	"bufio"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// maxSetTable bounds the file of a set; its elements together stay below 2 GiB, as their offsets are of 32 bits.
const maxSetTable = 8 << 30

// elements is a party's own set with its values, as it is read.
type elements struct {
	set    psi.Set
	values [][]uint64 // as the plan's measures
	plan   *session.Plan
}

// add takes a row. Its error is a rule, for whoever knows the row.
func (e *elements) add(element string, group string, values []uint64) (rule string) {
	if len(element) < 1 || len(element) > psi.MaxElement {
		return "every row has an element of 1 to 1024 bytes"
	}
	if len(e.set.Data)+len(element) > 1<<31-1 || e.set.Rows() > 2*psi.MaxSize {
		return "the elements fit in 2 GiB"
	}
	e.set.Data = append(e.set.Data, element...)
	e.set.Offsets = append(e.set.Offsets, int32(len(e.set.Data)))
	if e.values == nil {
		return ""
	}
	for _, v := range values {
		if v > e.plan.Job.MaxValue {
			return "no value is over the largest of the plan"
		}
	}
	if len(e.plan.Groups) == 0 {
		for i, v := range values {
			e.values[i] = append(e.values[i], v)
		}
		return ""
	}
	at := slices.Index(e.plan.Groups, group)
	if at < 0 {
		return "the group is one of the plan's"
	}
	width := 1 + len(e.plan.Values)
	for i := range e.values {
		v := uint64(0)
		if i/width == at {
			if v = 1; i%width > 0 {
				v = values[i%width-1]
			}
		}
		e.values[i] = append(e.values[i], v)
	}
	return ""
}

// readSet reads a party's own set from a CSV file or a vault folder; values and groups where plan has the sender bring them, plan nil for
// elements alone.
func (a *Agent) readSet(ctx context.Context, f *pairFlags, plan *session.Plan, side psi.Side) (*elements, error) {
	usage := func(flag, rule string) error {
		return &sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: flag, Detail: rule, Err: errUsage}
	}
	if (f.table == "") == (f.source == "") {
		return nil, usage("--table", "the own set is in a table or in a source, one of them")
	}
	e := &elements{set: psi.Set{Offsets: []int32{0}}, plan: plan}
	columns := []string{f.column}
	sums := plan != nil && plan.Job.Output == psi.JoinSum && side == psi.Sender
	if grouped := sums && len(plan.Groups) > 0; grouped != (f.group != "") {
		return nil, usage("--group", "the column of groups, for the sender of a plan with groups and nobody else")
	}
	if sums {
		e.values = make([][]uint64, plan.Job.Measures)
		columns = append(columns, plan.Values...)
		if f.group != "" {
			columns = append(columns, f.group)
		}
	}
	if f.table != "" {
		return e, e.readTable(f.table, columns, f.group != "")
	}
	return e, a.readVault(ctx, f, e, columns)
}

func (e *elements) readTable(path string, columns []string, grouped bool) error {
	in, err := openTable(path)
	if err != nil {
		return err
	}
	defer in.Close()
	t := newTable(in, path, maxSetTable, "as many fields as the header, quotes closed")
	at := make([]int, len(columns))
	if err := t.head("the table has each column that is named once", func(head []string) bool {
		for i, c := range columns {
			if at[i] = slices.Index(head, c); at[i] < 0 || slices.Contains(head[at[i]+1:], c) {
				return false
			}
		}
		return true
	}); err != nil {
		return err
	}
	values := make([]uint64, 0, len(columns))
	for {
		rec, err := t.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		group, numbers := "", at[1:]
		if grouped {
			group, numbers = rec[at[len(at)-1]], at[1:len(at)-1]
		}
		values = values[:0]
		for _, c := range numbers {
			v, err := strconv.ParseUint(rec[c], 10, 64)
			if err != nil {
				return t.bad("a value is a whole number, 0 or more")
			}
			values = append(values, v)
		}
		if rule := e.add(rec[at[0]], group, values); rule != "" {
			return t.bad(rule)
		}
	}
}

// readVault reads the current version of a dataset out of a sealed folder; only the named columns are opened.
func (a *Agent) readVault(ctx context.Context, f *pairFlags, e *elements, columns []string) error {
	id, path, ok := strings.Cut(f.source, "="+vaultSource)
	if !ok || path == "" || sandbox.CheckID("dataset", id) != nil {
		return &sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: "--source", Detail: "DATASET=vault:DIR", Err: errUsage}
	}
	v, err := a.vaults(&flags{keys: f.keys, passphrase: f.passphrase, vaultKeys: f.vaultKeys, vaultPassphrase: f.vaultPassphrase})
	if err != nil {
		return err
	}
	defer v.close()
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return &sandbox.Error{Op: "party: table", Kind: sandbox.NotFound, Object: path, Detail: "the folder of a vault"}
	}
	sealed, err := vault.Open(path, v.keys, a.Rand)
	if err != nil {
		return err
	}
	s, err := sealed.Head(sandbox.DatasetID(id))
	if err != nil {
		return err
	}
	r, err := sealed.Scan(ctx, memory.NewGoAllocator(), s, columns)
	if err != nil {
		return err
	}
	defer r.Close()
	row := 0
	bad := func(rule string) error {
		return &sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: fmt.Sprintf("%s row %d", id, row), Detail: rule}
	}
	grouped := f.group != ""
	values := make([]uint64, 0, len(columns))
	for {
		rec, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		err = func() error {
			defer rec.Release()
			texts, numbers := map[string]*array.String{}, map[string]*array.Int64{}
			for _, c := range columns {
				at := rec.Schema().FieldIndices(c)
				if len(at) != 1 {
					return bad("the table has each column that is named once")
				}
				switch x := rec.Column(at[0]).(type) {
				case *array.String:
					texts[c] = x
				case *array.Int64:
					numbers[c] = x
				default:
					return bad("elements and groups are texts, values whole numbers or money")
				}
			}
			who := texts[columns[0]]
			if who == nil || grouped && texts[f.group] == nil {
				return bad("elements and groups are texts")
			}
			for i := range int(rec.NumRows()) {
				row++
				if who.IsNull(i) {
					return bad("every row has an element")
				}
				group, names := "", columns[1:]
				if grouped {
					names = names[:len(names)-1]
					if texts[f.group].IsNull(i) {
						return bad("the group is one of the plan's")
					}
					group = texts[f.group].Value(i)
				}
				values = values[:0]
				for _, c := range names {
					x := numbers[c]
					if x == nil || x.IsNull(i) || x.Value(i) < 0 {
						return bad("a value is a whole number, 0 or more")
					}
					values = append(values, uint64(x.Value(i)))
				}
				if rule := e.add(who.Value(i), group, values); rule != "" {
					return bad(rule)
				}
			}
			return nil
		}()
		if err != nil {
			return err
		}
	}
}

// writeMembers writes the elements of the own set that are in the intersection to a new file.
func writeMembers(path, column string, set psi.Set, rows []uint32) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &sandbox.Error{Op: "party", Kind: sandbox.Conflict, Object: path, Detail: "a new file in a folder that you may write to"}
	}
	b := bufio.NewWriterSize(f, 1<<16)
	w := csv.NewWriter(b)
	err = w.Write([]string{column})
	for _, r := range rows {
		if err != nil {
			break
		}
		var e []byte
		if e, err = set.Element(int(r)); err == nil {
			err = w.Write([]string{string(e)})
		}
	}
	w.Flush()
	if err = errors.Join(err, w.Error(), b.Flush(), f.Sync(), f.Close()); err != nil {
		return &sandbox.Error{Op: "party", Kind: sandbox.Unavailable, Object: path, Err: err}
	}
	return nil
}
