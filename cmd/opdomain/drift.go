package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// offered is a dataset as a push describes it: under the registered schema, or under that of a file.
type offered struct {
	catalog.Dataset
	declared []catalog.Column // new columns that the file describes
	drift    catalog.Drift    // from the registered schema
}

// offer reads a schema file against a registered dataset. The file may change the schema, and describe new columns; that it
// describes a registered column otherwise is refused, since a push would leave that out without a word.
func (a *app) offer(path string, d catalog.Dataset) (offered, error) {
	bad := func(column, rule, hint string) (offered, error) {
		object := path
		if column != "" {
			object += " column " + column
		}
		return offered{}, &sandbox.Error{Op: "schema", Kind: sandbox.Invalid, Object: object, Detail: rule, Hint: hint}
	}
	given, whole, err := a.readSchema(path)
	if err != nil {
		return offered{}, err
	}
	const registered = "leave it out of the file; a push changes the schema, catalog revise how a dataset is described"
	out := offered{Dataset: catalog.Dataset{ID: d.ID, Unit: d.Unit, Frequency: d.Frequency, Subject: d.Subject, SubjectKind: d.SubjectKind}}
	if whole {
		if given.ID != d.ID {
			return bad("", "it describes another dataset", "name the dataset it describes with --dataset")
		}
		if part := differs(d, given); part != "" {
			return bad("", "registered with another "+part, registered)
		}
		out.Subject, out.SubjectKind = given.Subject, given.SubjectKind
	}
	for _, c := range given.Columns {
		was, ok := d.Column(c.Name)
		switch {
		case ok:
			if part := describes(*was, c); part != "" {
				return bad(c.Name, "registered with another "+part, registered)
			}
		case c.JoinKey || c.Public:
			return bad(c.Name, "a new column begins without join key and code list", "")
		case c.Detected != 0 || c.Finding != "" || c.Category != "":
			return bad(c.Name, "nothing is detected in a new column before its first push", "leave detected, finding and category out")
		case c.Grade.Valid():
			out.declared = append(out.declared, c)
			out.Columns = append(out.Columns, c)
			continue
		case c.Grade != 0 || c.Title != "" || c.Unit != "" || c.Range != "" || c.Values != "" || c.Personal:
			return bad(c.Name, "a new column that is described has a grade of 1 to 4", "give it a grade, or its name and type only: it is grade 4 then")
		}
		out.Columns = append(out.Columns, catalog.Column{Name: c.Name, Type: c.Type, Scale: c.Scale, Nullable: c.Nullable, Grade: sandbox.Grade4})
	}
	if err := out.Dataset.Validate(); err != nil {
		return offered{}, err
	}
	out.drift = catalog.Compare(d.Schema(), out.Schema())
	return out, nil
}

// readSchema reads a dataset's description, or a list of its columns.
func (a *app) readSchema(path string) (d catalog.Dataset, whole bool, err error) {
	b, err := a.readFile(path)
	if err != nil {
		return d, false, err
	}
	into, form := any(&d), "a dataset's description: one JSON object with the known fields"
	if whole = !bytes.HasPrefix(bytes.TrimSpace(b), []byte("[")); !whole {
		into, form = &d.Columns, "a list of columns: JSON objects with the known fields"
	}
	if at, err := strictly(b, into); err != nil { // the decoder's text may quote the file
		return d, false, &sandbox.Error{Op: "schema", Kind: sandbox.Invalid, Object: path, Detail: fmt.Sprintf("fault near byte %d: %s", at, form),
			Hint: "opdomain --json catalog show DATASET prints the registered description"}
	}
	return d, whole, nil
}

// differs gives the first part of a dataset's description that a file has otherwise; what it leaves out is as registered.
func differs(d, given catalog.Dataset) string {
	switch {
	case given.Unit != "" && given.Unit != d.Unit:
		return "unit"
	case given.Title != "" && given.Title != d.Title:
		return "title"
	case given.Format != "" && given.Format != d.Format:
		return "format"
	case given.Frequency != "" && given.Frequency != d.Frequency:
		return "frequency"
	case given.RecordKey != "" && given.RecordKey != d.RecordKey:
		return "record key"
	case len(given.Bins) > 0 && fmt.Sprint(given.Bins) != fmt.Sprint(d.Bins):
		return "list of bins"
	case !reflect.ValueOf(given.Card).IsZero() && !reflect.DeepEqual(given.Card, d.Card):
		return "card"
	}
	return ""
}

// describes gives the first part of a column's description that a file has otherwise, its schema aside.
func describes(was, is catalog.Column) string {
	switch {
	case is.Title != "" && is.Title != was.Title:
		return "title"
	case is.Unit != "" && is.Unit != was.Unit:
		return "unit of measure"
	case is.Range != "" && is.Range != was.Range:
		return "range"
	case is.Values != "" && is.Values != was.Values:
		return "list of values"
	case is.Grade != 0 && is.Grade != was.Grade:
		return "grade"
	case is.Personal && !was.Personal:
		return "mark of personal data"
	case is.JoinKey && !was.JoinKey:
		return "mark of a join key"
	case is.Public && !was.Public:
		return "mark of a code list"
	}
	return ""
}

// surplus is a table that names the headers nobody reads.
type surplus struct{ *file.Reader }

// Unused gives them as they may be shown.
func (s surplus) Unused() []string {
	spare := s.Spare()
	if len(spare) == 0 { // as a rule; a scanner has its word lists to load
		return nil
	}
	var out []string
	sc := classify.NewScanner()
	for _, h := range spare {
		out = append(out, shownHeader(sc, h.Text, h.Field))
	}
	return out
}

// maxShown bounds a header that is shown as it stands, in characters, and maxDigits the digits in it.
const maxShown, maxDigits = 64, 3

// shownHeader gives a header, or its field number where it looks like a value: the first line of a table without headers is
// one of its rows. A number for a header that is a word all the same ("费用" is also a name) costs a look at the file.
func shownHeader(sc *classify.Scanner, header string, field int) string {
	number := fmt.Sprintf("field %d", field)
	letters, digits := 0, 0
	for _, r := range header {
		switch {
		case !unicode.IsPrint(r):
			return number
		case unicode.IsLetter(r):
			letters++
		case unicode.IsDigit(r):
			digits++
		}
	}
	if _, found := sc.Detect(header); found || letters == 0 || digits > maxDigits || utf8.RuneCountInString(header) > maxShown {
		return number
	}
	return header
}

// printDrift says below a committed push what its schema changed and what of the table was not taken.
func printDrift(w io.Writer, o offered, rep api.PushReport) {
	if len(o.drift.Changes) > 0 {
		fmt.Fprintf(w, "  schema 结构: %s\n", o.drift)
	}
	if len(rep.Unused) > 0 {
		fmt.Fprintf(w, "  not taken 未接收: %s (no column reads these headers; --schema adds columns)\n", strings.Join(rep.Unused, ", "))
	}
}

func (a *app) schemasCommand() *cobra.Command {
	return verb("schemas DATASET", "List the schemas a dataset has had: digest, when, what changed (结构变更登记)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		return get(a, func(s *session) ([]catalog.SchemaVersion, error) {
			return result[[]catalog.SchemaVersion](s.api.ListSchemas(c.Context(), sandbox.DatasetID(args[0])))
		}, printSchemas)
	})
}

func printSchemas(w io.Writer, all []catalog.SchemaVersion) {
	for _, v := range all {
		at := "before this list was kept"
		if !v.At.IsZero() {
			at = v.At.Format("2006-01-02 15:04:05")
		}
		what := fmt.Sprintf("registered 登记, %d columns", len(v.Schema.Columns))
		if v.Version > 1 {
			what = fmt.Sprintf("since version %d: %s", v.Since, catalog.Drift{Changes: v.Changes})
		}
		fmt.Fprintf(w, "%-3d %s  %s  %s\n", v.Version, hex.EncodeToString(v.Digest), at, what)
	}
	fmt.Fprintf(w, "%d schemas 结构\n", len(all))
}
