package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

// modelChecked is the answer of egress model.
type modelChecked struct {
	*model.Report
	Seed uint64   `json:"seed"` // of the shadow models: with it the check can be done again
	ZH   []string `json:"zh"`
	EN   []string `json:"en"`
	SM3  string   `json:"sm3,omitempty"` // of what would leave
}

// modelCheck is what egress model is asked for.
type modelCheck struct {
	in, train, test, subject, label string
	registered, out                 string
	fit                             bool
	seed                            uint64
	params                          model.Params
}

func (a *app) modelCommand() *cobra.Command {
	m := modelCheck{params: model.Standard()}
	var schema bool
	var example string
	c := verb("model", "Put a trained model, given as JSON, through the checks of class D with the rows it was trained on (模型出域检查)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		switch {
		case schema:
			_, err := a.out.Write(model.JSONSchema())
			return err
		case example != "":
			b, err := model.Example(example)
			if err != nil {
				return usageError{err}
			}
			_, err = a.out.Write(b)
			return err
		case m.train == "" || m.subject == "":
			return usageError{invalid("--train", "a model is judged with the rows it was trained on, and whose they are", "name them with --train FILE and --subject COLUMN")}
		case m.test == "" && !m.fit:
			return usageError{invalid("--test", "membership is measured against people who were not trained on", "name their rows with --test FILE")}
		}
		return a.checkModel(m)
	})
	c.Long = c.Short + `.

The model is in the format of --schema (JSON Schema, draft 2020-12): regressions, scorecards, trees, forests, boosted trees. Its features, and
the column of its label unless --label names another, are columns of both files by name; --subject is whose a row is: all rows of one
person are one. Rows with an empty value or "?" are left out and counted. A file of a registered schema (label and features, as in a model)
with --registered holds the model to it; without, the model's own is taken.

Printed is, per rule, what was found and its limit; the gate trains the model again and shadow models beside, and attacks it. --fit only
trains: it takes a model without values, or with any, and prints what the registered trainer gives. --out writes what would leave.

Status 0: no rule fails, and people still review it, two always; 3: it does not leave; 1: model or rows are faulty, and nothing is said of
them. What it prints is about people: it is for those who have the rows. Try it:

  opdomain egress model --example tree > m.json; opdomain egress model --example train.csv > train.csv
  opdomain egress model --example test.csv > test.csv
  opdomain egress model --in m.json --train train.csv --test test.csv --subject person`
	f := c.Flags()
	f.StringVar(&m.in, "in", "", "the model, JSON; - for standard input")
	f.StringVar(&m.train, "train", "", "CSV of the rows it was trained on")
	f.StringVar(&m.test, "test", "", "CSV of rows of people it was not trained on")
	f.StringVar(&m.subject, "subject", "", "column of the person a row is about")
	f.StringVar(&m.label, "label", "", "column of the label; without: the label's name")
	f.StringVar(&m.registered, "registered", "", "JSON of the registered label and features")
	f.StringVar(&m.out, "out", "", "write what would leave here, unless it fails")
	f.BoolVar(&m.fit, "fit", false, "only train, and print the model")
	f.Uint64Var(&m.seed, "seed", 0, "of the shadow models; 0: drawn, and printed")
	f.IntVar(&m.params.Shadows, "shadows", m.params.Shadows, "shadow models to train, even, 16 to 1024")
	f.IntVar(&m.params.MinSubjects, "min-subjects", m.params.MinSubjects, "least distinct people of a leaf, bin, level or side of a number")
	f.BoolVar(&schema, "schema", false, "print the JSON schema of the format")
	f.StringVar(&example, "example", "", "print an example: "+strings.Join(model.Examples(), ", "))
	c.MarkFlagsOneRequired("in", "schema", "example")
	c.MarkFlagsMutuallyExclusive("in", "schema", "example")
	return c
}

func (a *app) checkModel(c modelCheck) error {
	if info, err := os.Stat(c.in); err == nil && info.Size() > model.MaxBytes {
		return &sandbox.Error{Op: "read", Kind: sandbox.TooLarge, Object: c.in, Detail: fmt.Sprintf("at most %d bytes are read", model.MaxBytes)}
	}
	b, err := a.readFile(c.in)
	if err != nil {
		return err
	}
	var registered *model.Schema
	if c.registered != "" {
		registered = &model.Schema{}
		if err := a.readJSON(c.registered, registered); err != nil {
			return err
		}
		if err := registered.Validate(); err != nil {
			return err
		}
	}
	decode := model.Decode
	if c.fit {
		decode = model.DecodeForm
	}
	m, err := decode(b, registered)
	if err != nil {
		return err
	}
	if c.label == "" {
		c.label = m.Label.Name
	}
	train, err := a.modelRows(m, c.train, c)
	if err != nil {
		return err
	}
	if c.fit {
		if m, err = model.Fit(m, train); err != nil {
			return err
		}
		b, err := m.Encode()
		if err != nil {
			return err
		}
		_, err = a.out.Write(append(b, '\n'))
		return err
	}
	test, err := a.modelRows(m, c.test, c)
	if err != nil {
		return err
	}
	if c.seed == 0 {
		var s [8]byte
		if _, err := io.ReadFull(a.rand, s[:]); err != nil {
			return &sandbox.Error{Op: "model", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		c.seed = binary.BigEndian.Uint64(s[:])
	}
	r, err := model.Judge(m, train, test, c.params, model.NewSource(c.seed))
	if err != nil {
		return err
	}
	out := modelChecked{Report: r, Seed: c.seed}
	out.ZH, out.EN = r.Brief()
	if len(r.Payload) > 0 {
		out.SM3 = fmt.Sprintf("%x", egress.Digest(r.Payload))
		if c.out != "" {
			if err := a.writeFile("model", c.out, func(w io.Writer) error { _, err := w.Write(r.Payload); return err }); err != nil {
				return err
			}
		}
	}
	if err := a.show(out, func(w io.Writer) { printModelReport(w, out) }); err != nil {
		return err
	}
	if r.Verdict != model.Fail {
		return nil
	}
	return &refused{sandbox.Decision{Reasons: r.Reasons()}}
}

// modelRows reads the rows of a model's schema.
func (a *app) modelRows(m *model.Model, path string, c modelCheck) (*model.Data, error) {
	header, rows, _, err := a.outgoingTable(path)
	if err != nil {
		return nil, err
	}
	column := func(name, what string) (int, error) {
		i := slices.Index(header, name)
		if i < 0 {
			return 0, invalid(path, "a column of the "+what, "the first line names the columns; --subject and --label name theirs")
		}
		return i, nil
	}
	subject, err := column(c.subject, "subject")
	if err != nil {
		return nil, err
	}
	label, err := column(c.label, "label")
	if err != nil {
		return nil, err
	}
	var at []int
	for i, f := range m.Features {
		n, err := column(f.Name, fmt.Sprintf("model's features[%d]", i))
		if err != nil {
			return nil, err
		}
		at = append(at, n)
	}
	b, err := model.NewBuilder(m.Schema)
	if err != nil {
		return nil, err
	}
	values := make([]string, len(at))
	for n, row := range rows {
		for k, i := range at {
			values[k] = row[i]
		}
		if err := b.Add(row[subject], values, row[label]); err != nil {
			return nil, &sandbox.Error{Op: "model", Kind: sandbox.KindOf(err), Object: fmt.Sprintf("%s row %d", path, n+1), Err: err}
		}
	}
	return b.Build(), nil
}

func printModelReport(w io.Writer, r modelChecked) {
	for i := range r.ZH {
		fmt.Fprintf(w, "%s · %s\n", r.ZH[i], r.EN[i])
	}
	fmt.Fprintf(w, "rules 规则, seed 种子 %d:\n", r.Seed)
	for _, f := range r.Findings {
		fmt.Fprintf(w, "  %-22s %-7s %10.4g  limit %-10.4g %s\n", f.Rule, f.Verdict, f.Value, f.Limit, f.Where)
	}
	if r.SM3 != "" {
		fmt.Fprintf(w, "would leave 待出域, %d bytes, SM3 %s\n", len(r.Payload), r.SM3)
	}
}

// printModel prints a model that would leave, or left, by its parts.
func printModel(w io.Writer, payload []byte) {
	_, rows, err := model.Table(payload)
	if err != nil {
		return
	}
	for _, r := range rows {
		fmt.Fprintf(w, "%-32s %-48s %s\n", r[0], r[1], r[2])
	}
}
