package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/mark"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// maxOutgoing bounds a file that is looked at, in bytes: more than may leave, so that what is too large is still told about.
const maxOutgoing = 256 << 20

// outgoingTable reads a CSV with a header line whole: what leaves is small.
func (a *app) outgoingTable(path string) (header []string, rows [][]string, size int64, err error) {
	if info, e := os.Stat(path); e == nil && info.Size() > maxOutgoing {
		return nil, nil, 0, &sandbox.Error{Op: "read", Kind: sandbox.TooLarge, Object: path, Detail: fmt.Sprintf("at most %d bytes are read", maxOutgoing)}
	}
	b, err := a.readFile(path)
	if err != nil {
		return nil, nil, 0, err
	}
	size = int64(len(b))
	if !utf8.Valid(b) {
		return nil, nil, 0, invalid(path, "the file is UTF-8", "")
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(b, []byte("\ufeff"))))
	r.LazyQuotes = true // what a reader on the other side takes is looked at
	all, err := r.ReadAll()
	if err != nil || len(all) == 0 {
		line := 0
		if e, ok := err.(*csv.ParseError); ok {
			line = e.Line
		}
		return nil, nil, 0, invalid(path, fmt.Sprintf("fault near line %d: a CSV with a header line, every row as wide", line), "")
	}
	return all[0], all[1:], size, nil
}

// outgoingScan is the answer of egress scan.
type outgoingScan struct {
	Rows    int              `json:"rows"`
	Bytes   int64            `json:"bytes"`
	Hits    []scan.Hit       `json:"hits"`
	Reasons []sandbox.Reason `json:"reasons"`
}

func (a *app) scanCommand() *cobra.Command {
	var in, source string
	var roles []string
	var quasi []string
	var k int
	var bits int64
	c := verb("scan", "Scan a CSV as it would leave as class E: identifiers in every form, rows that are people, caps (出域内容扫描)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		header, rows, size, err := a.outgoingTable(in)
		if err != nil {
			return err
		}
		limits := scan.Strict()
		if limits.K = k; k < 2 {
			return usageError{invalid("--k", "at least 2", "")}
		}
		o := scan.Outgoing{Rows: rows, Dataset: true}
		for _, name := range header {
			o.Fields = append(o.Fields, scan.Field{Name: name, Role: scan.Text})
		}
		for _, r := range roles {
			name, role, _ := strings.Cut(r, "=")
			i := slices.Index(header, name)
			if i < 0 || !scan.Role(role).Valid() {
				return usageError{invalid("--role", "COLUMN=label, text, count, amount or token, of a column of the file", "--role area=label")}
			}
			o.Fields[i].Role = scan.Role(role)
		}
		for _, q := range quasi {
			i := slices.Index(header, q)
			if i < 0 {
				return usageError{invalid("--qi", "columns of the file", "")}
			}
			o.Quasi = append(o.Quasi, i)
		}
		if source != "" {
			names, all, _, err := a.outgoingTable(source)
			if err != nil {
				return err
			}
			key, err := a.drawnKey()
			if err != nil {
				return err
			}
			s, err := scan.NewShingles(key, names, max(len(all), 1), limits.Width)
			if err != nil {
				return err
			}
			for _, row := range all {
				s.Add(row)
			}
			o.Source = s
		}
		t, err := scan.NewTable(o.Fields)
		if err != nil {
			return err
		}
		for _, row := range rows {
			t.Row(row)
		}
		caps := scan.Standard()
		var declared *scan.Declared
		if caps.Bits = scan.MilliBits(bits); bits > 0 {
			declared = levelsOf(header, rows)
		}
		out := outgoingScan{Rows: len(rows), Bytes: size, Hits: append(append([]scan.Hit{}, t.Hits()...), scan.Shape(o, limits)...), Reasons: append([]sandbox.Reason{}, caps.Check([]scan.File{{Name: in, Bytes: size, Rows: len(rows)}}, declared)...)}
		if err := a.show(out, func(w io.Writer) {
			fmt.Fprintf(w, "%d rows, %d bytes: %d hits 命中\n", out.Rows, out.Bytes, len(out.Hits)+len(out.Reasons))
			for _, h := range out.Hits {
				fmt.Fprintf(w, "  %s\n", h)
			}
		}); err != nil {
			return err
		}
		if len(out.Hits) == 0 && len(out.Reasons) == 0 {
			return nil
		}
		d := sandbox.Decision{Reasons: out.Reasons}
		for _, h := range out.Hits {
			change := "leave it out, or mask it by a plan"
			if h.Rule == scan.RuleRowLevel {
				change = "coarsen the columns, or put the rows in another order"
			}
			d.Reasons = append(d.Reasons, sandbox.Reason{Code: "egress." + h.Rule, Column: h.Column, Rule: h.String(), Change: change})
		}
		return &refused{d}
	})
	c.Long = c.Short + `.

Columns nobody declares are text, the strictest. Hits name rule, kind, form and place, never a value; with any the command ends with
status 3. Caps are those of one request: 5000 rows, 16 MB, csv or json. --bits bounds what the values may tell, each column by the
different values it has.`
	f := c.Flags()
	f.StringVar(&in, "in", "", "the CSV, UTF-8 with a header line")
	f.StringArrayVar(&roles, "role", nil, "COLUMN=ROLE: label, text, count, amount or token; may be given several times")
	f.StringSliceVar(&quasi, "qi", nil, "quasi-identifiers (准标识符), by comma: classes under --k are hits")
	f.IntVar(&k, "k", 5, "rows of the smallest class of equal quasi-identifiers")
	f.StringVar(&source, "source", "", "CSV of the source: rows that keep its neighbouring values are hits")
	f.Int64Var(&bits, "bits", 0, "milli-bits the values may tell in all; 0: not bounded")
	must(c.MarkFlagRequired("in"))
	return c
}

// levelsOf declares a table by the different values of each column.
func levelsOf(header []string, rows [][]string) *scan.Declared {
	d := &scan.Declared{Times: uint64(len(rows)), Statuses: 2}
	for i := range header {
		seen := map[string]bool{}
		for _, r := range rows {
			seen[r[i]] = true
		}
		d.Levels = append(d.Levels, uint64(len(seen)))
	}
	return d
}

// marking names what mark and trace need beside the table.
type marking struct{ in, scheme, keyFile, newKey string }

func (m *marking) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&m.in, "in", "", "the CSV, UTF-8 with a header line")
	f.StringVar(&m.scheme, "scheme", "", "JSON file: the data set's name and its columns, each marked one with type and step")
	f.StringVar(&m.keyFile, "key", "", "file with the key, mode 0600; as desensitize --new-key makes it")
	must(c.MarkFlagRequired("in"))
}

func (a *app) markCode(m marking) (*mark.Code, derivedKeys, error) {
	var s mark.Scheme
	if err := a.readJSON(m.scheme, &s); err != nil {
		return nil, nil, err
	}
	keys, err := a.planKeys(desensitizing{keyFile: m.keyFile, newKey: m.newKey})
	if err != nil {
		return nil, nil, err
	}
	k, ok := keys.(derivedKeys)
	if !ok {
		return nil, nil, usageError{invalid("--key", "a key file", "make one with egress mark --new-key")}
	}
	key, err := k.Derive(mark.KeySize, "recipient-mark")
	if err != nil {
		return nil, nil, err
	}
	code, err := mark.New(key, s)
	return code, k, err
}

// markedCopy is the answer of egress mark.
type markedCopy struct {
	Recipient sandbox.IdentityID `json:"recipient"`
	Rows      int                `json:"rows"`
	Positions int                `json:"positions"`
	Enough    bool               `json:"enough"`
	Out       string             `json:"out"`
}

func (a *app) markCommand() *cobra.Command {
	var m marking
	var recipient, out string
	var few bool
	c := verb("mark", "Mark a recipient's copy of a class E data set (接收方水印)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		header, rows, _, err := a.outgoingTable(m.in)
		if err != nil {
			return err
		}
		code, key, err := a.markCode(m)
		if err != nil {
			return err
		}
		w, err := code.Marker(sandbox.IdentityID(recipient), header)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := w.Mark(row); err != nil {
				return err
			}
		}
		answer := markedCopy{Recipient: sandbox.IdentityID(recipient), Rows: len(rows), Positions: w.Positions(), Enough: w.Positions() >= mark.MinPositions, Out: out}
		if !answer.Enough && !few {
			return &refused{sandbox.Decision{Reasons: []sandbox.Reason{{Code: "mark.positions", Rule: fmt.Sprintf("a copy shows at least %d positions of its code, this one %d 水印容量", mark.MinPositions, answer.Positions),
				Change: "mark more columns, or take a smaller step; --few makes a copy that a part of may not tell"}}}}
		}
		if m.newKey != "" {
			if err := key.save(m.newKey); err != nil {
				return err
			}
		}
		if err := a.writeFile("mark", out, func(w io.Writer) error {
			x := csv.NewWriter(w)
			if err := x.Write(header); err != nil {
				return err
			}
			return x.WriteAll(rows)
		}); err != nil {
			return err
		}
		return a.show(answer, func(w io.Writer) {
			fmt.Fprintf(w, "%d rows in %s for %s: %d positions of the code 水印位 %d\n", answer.Rows, out, recipient, answer.Positions, answer.Positions)
		})
	})
	c.Long = c.Short + `.

Each value of a marked column becomes one of two neighbouring multiples of its step, at most one and a half steps away, equally
valid for every recipient. A scheme:

  {"dataset": "claims-2026", "columns": [
    {"name": "area", "quasi": true},
    {"name": "visited", "type": "date", "step": "7"},
    {"name": "amount", "type": "number", "step": "0.50"}]}

Keep scheme and key: egress trace needs both. The mark belongs to class E alone, never to the rounding of class A.`
	m.flags(c)
	must(c.MarkFlagRequired("scheme"))
	f := c.Flags()
	f.StringVar(&m.newKey, "new-key", "", "make such a file, and use it")
	f.StringVar(&recipient, "recipient", "", "identity the copy is for")
	f.StringVar(&out, "out", "", "file for the copy; must not exist without --force")
	f.BoolVar(&few, "few", false, "write the copy even if it shows too few positions")
	must(c.MarkFlagRequired("recipient"))
	must(c.MarkFlagRequired("out"))
	return c
}

func (a *app) traceCommand() *cobra.Command {
	var m marking
	var recipients []string
	var dataset string
	c := verb("trace", "Name the recipient of a marked copy that turned up, whole or in part (水印溯源)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		header, rows, _, err := a.outgoingTable(m.in)
		if err != nil {
			return err
		}
		if m.scheme == "" && m.keyFile == "" {
			return a.traceCopy(c, header, rows, sandbox.DatasetID(dataset), recipients)
		}
		if m.scheme == "" || m.keyFile == "" || len(recipients) == 0 || dataset != "" {
			return usageError{invalid("egress trace", "--scheme, --key and --recipients together, for a copy that egress mark made; none of them, as the agency, for one that left a domain", "")}
		}
		code, _, err := a.markCode(m)
		if err != nil {
			return err
		}
		t, err := code.Tracer(header)
		if err != nil {
			return err
		}
		for _, row := range rows {
			t.Add(row)
		}
		var to []sandbox.IdentityID
		for _, r := range recipients {
			to = append(to, sandbox.IdentityID(r))
		}
		x, err := t.Trace(to)
		if err != nil {
			return err
		}
		return a.show(x, func(w io.Writer) {
			fmt.Fprintf(w, "%d cells read, %d positions of the code; accused where the chance that any of %d innocents agrees so well is at most %g\n", x.Cells, x.Positions, len(to), x.Bound)
			for _, s := range x.Suspects {
				verdict := ""
				if s.Accused {
					verdict = "  had this copy 系其副本"
				}
				fmt.Fprintf(w, "  %-24s agrees in %d of %d, score %.1f, chance %.2g%s\n", s.Recipient, s.Agree, x.Positions, s.Score, s.Chance, verdict)
			}
			if len(x.Accused()) == 0 {
				fmt.Fprintln(w, "nobody is named: that proves nothing 未能认定")
			}
		})
	})
	c.Long = c.Short + `.

A copy that left a domain is traced there, by the agency's officer: the domain knows its keys, schemes and everybody who was sent a copy.
One that egress mark made is traced here, with --scheme, --key and --recipients.`
	m.flags(c)
	c.Flags().StringSliceVar(&recipients, "recipients", nil, "everybody who was sent a copy, by comma: the bound counts them")
	c.Flags().StringVar(&dataset, "dataset", "", "of a copy that left a domain: the dataset it is of; default: any")
	return c
}
