package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/mpc/he/unit"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// listTerms is how a list's terms stand on a command line: digest and people.
func listTerms(a spec.Agreed) string { return fmt.Sprintf("%x:%d", a.Digest, a.People) }

// parseListTerms reads what listTerms wrote.
func parseListTerms(text string, rows int) (*api.SumList, error) {
	digest, people, ok := strings.Cut(text, ":")
	b, err := hex.DecodeString(digest)
	n, nerr := strconv.Atoi(people)
	if !ok || err != nil || nerr != nil || len(b) != sm.Size || n < 1 || rows < 0 {
		return nil, usageError{invalid("--list", "SM3:PEOPLE as opdomain he list show prints it, --list-rows 0 or more", "")}
	}
	return &api.SumList{Digest: b, People: n, Rows: rows}, nil
}

// readCohort reads a list's file, which holds identifiers and a secret: nobody else may read it.
func readCohort(path string) (*unit.Cohort, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "he list", Kind: sandbox.NotFound, Object: path, Detail: "a list of people"}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return nil, &sandbox.Error{Op: "he list", Kind: sandbox.Denied, Object: path, Detail: "others may not read a list of people", Hint: "chmod 600 " + path}
	}
	if info.Size() > unit.MaxCohort {
		return nil, &sandbox.Error{Op: "he list", Kind: sandbox.TooLarge, Object: path, Detail: "a list of people as opdomain he list make writes it"}
	}
	return unit.ReadCohort(f)
}

// cohorts reads several lists.
func cohorts(paths []string) (out []*unit.Cohort, err error) {
	for _, p := range paths {
		c, err := readCohort(p)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// named finds the list that a plan names.
func named(lists []*unit.Cohort, a *spec.Agreed) *unit.Cohort {
	for _, c := range lists {
		if c.Names(a) {
			return c
		}
	}
	return nil
}

func (a *app) heListCommand() *cobra.Command {
	show := func(c *unit.Cohort) error {
		terms, err := c.Agreed()
		if err != nil {
			return err
		}
		return a.show(struct {
			List   string              `json:"list"`
			People int                 `json:"people"`
			Kind   catalog.SubjectKind `json:"kind"`
		}{listTerms(terms), terms.People, c.Kind}, func(w io.Writer) {
			fmt.Fprintf(w, "list 名册 %s\n  %d people, %s; ask with --list as above. Only who has the file can tell who stands on it.\n", listTerms(terms), terms.People, c.Kind)
		})
	}
	var in, kind, out string
	build := verb("make", "Make the list of people that two owners agree on: a new file for both of them", cobra.NoArgs, func(*cobra.Command, []string) error {
		k := catalog.SubjectKind(kind)
		if k != catalog.Opaque && k != catalog.ResidentID {
			return usageError{invalid("--kind", string(catalog.Opaque)+" or "+string(catalog.ResidentID), "")}
		}
		lines := a.in
		if in != "-" {
			f, err := os.Open(in)
			if err != nil {
				return &sandbox.Error{Op: "he list", Kind: sandbox.NotFound, Object: in, Detail: "a file of identifiers, one a line"}
			}
			defer f.Close()
			lines = f
		}
		whole := &io.LimitedReader{R: lines, N: unit.MaxCohort + 1}
		c, err := unit.NewCohort(a.rand, k, whole)
		if whole.N == 0 { // not all of it was read
			err = &sandbox.Error{Op: "he list", Kind: sandbox.TooLarge, Object: in, Detail: fmt.Sprintf("at most %d bytes of identifiers, one a line", unit.MaxCohort)}
		}
		if err != nil {
			return err
		}
		if err := a.writeFile("he list", out, c.Write); err != nil {
			return err
		}
		return show(c)
	})
	f := build.Flags()
	f.StringVar(&in, "in", "", "file of identifiers, one a line, - for standard input")
	f.StringVar(&kind, "kind", string(catalog.Opaque), "how both datasets identify people: "+string(catalog.Opaque)+" or "+string(catalog.ResidentID))
	f.StringVar(&out, "out", "", "file for the list; both owners get a copy, by a way that nobody else reads, and no domain does")
	must(build.MarkFlagRequired("in"))
	must(build.MarkFlagRequired("out"))
	tell := verb("show FILE", "Print by what digest a list is asked over, and how many people stand on it", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		c, err := readCohort(args[0])
		if err != nil {
			return err
		}
		return show(c)
	})
	c := group("list", "Lists of people over which two units' rows are joined (对齐名册)", build, tell)
	c.Long = `A question over two datasets that different units hold joins their rows person by person, in the order of a list that both owners have. The file holds each
person once, in the one form that identifiers have, and a secret: the domain, who asks and other units get its digest and its length, from which nobody can
tell who stands on it, or try whom they guess. Whoever has the file knows who stands on it: a list that is made from one unit's table tells
the other owner who is in that table, so make it of people whom both may know of, as a programme's or an insurer's, or of those that set intersection found
(opdomain-party psi). Order of lines does not matter. Who stands on it and has no row at a unit adds nothing, and nobody sees who that is.`
	return c
}
