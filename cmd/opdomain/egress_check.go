package main

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	gatetable "github.com/opdomain/opdomain/sandbox/egress/table"
)

// releases is a folder of what left of tables that were checked before: a key, and per release an entry sealed under it. What the
// entries hold is grade 4; the key lies beside them, so that the folder is to be kept as the tables themselves are.
type releases struct {
	dir    string
	lock   *os.File // held from reading to keeping
	aead   cipher.AEAD
	ledger *egress.Ledger
	book   *egress.Book
}

const (
	releasesKey   = "ledger.key"
	releasesEntry = ".entry"
)

// openReleases reads a folder, which is made where a release will be kept and there is none; without one it begins an empty book.
func (a *app) openReleases(dir string, keep bool) (_ *releases, err error) {
	r := &releases{dir: dir, book: egress.NewBook()}
	fail := func(kind sandbox.Kind, detail string) (*releases, error) {
		return nil, errors.Join(&sandbox.Error{Op: "ledger", Kind: kind, Object: dir, Detail: detail}, r.close())
	}
	key := make([]byte, 2*sm.KeySize)
	draw := func() error {
		if _, err := io.ReadFull(a.rand, key); err != nil {
			return &sandbox.Error{Op: "ledger", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		return nil
	}
	if dir == "" {
		if err := draw(); err != nil {
			return nil, err
		}
		r.ledger, err = egress.NewLedger(key[sm.KeySize:])
		return r, err
	}
	if keep {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fail(sandbox.Unavailable, "the folder cannot be made")
		}
	}
	if r.lock, err = os.Open(dir); err != nil {
		return fail(sandbox.NotFound, "the folder cannot be read; --keep makes one")
	}
	if unix.Flock(int(r.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return fail(sandbox.Conflict, "another process uses this ledger")
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		return fail(sandbox.Unavailable, "the folder cannot be read")
	}
	path := filepath.Join(dir, releasesKey)
	switch b, err := os.ReadFile(path); {
	case err == nil && len(b) == len(key):
		key = b
	case !errors.Is(err, os.ErrNotExist) || len(files) > 0 || !keep:
		return fail(sandbox.Invalid, "no ledger of tables: it has no key, or another one")
	default:
		if err := draw(); err != nil {
			return nil, errors.Join(err, r.close())
		}
		if err := a.writeFile("ledger", path, func(w io.Writer) error { _, err := w.Write(key); return err }); err != nil {
			return nil, errors.Join(err, r.close())
		}
	}
	if r.aead, err = sm.NewGCM(key[:sm.KeySize]); err == nil {
		r.ledger, err = egress.NewLedger(key[sm.KeySize:])
	}
	if err != nil {
		return nil, errors.Join(err, r.close())
	}
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), releasesEntry)
		if !ok {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if err != nil || len(b) < r.aead.NonceSize() {
			return fail(sandbox.Tampered, "a release is unreadable")
		}
		plain, err := r.aead.Open(nil, b[:r.aead.NonceSize()], b[r.aead.NonceSize():], []byte(id))
		if err != nil {
			return fail(sandbox.Tampered, "a release is not as it was kept")
		}
		e, err := egress.DecodeEntry(plain)
		if err != nil || string(e.Question) != id {
			return fail(sandbox.Tampered, "a release is not as it was kept")
		}
		r.book.Add(e)
	}
	return r, nil
}

// keep writes a release.
func (a *app) keep(r *releases, e egress.Entry) error {
	b, err := e.Encode()
	if err != nil {
		return err
	}
	nonce := make([]byte, r.aead.NonceSize())
	if _, err := io.ReadFull(a.rand, nonce); err != nil {
		return &sandbox.Error{Op: "ledger", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return a.writeFile("ledger", filepath.Join(r.dir, string(e.Question)+releasesEntry), func(w io.Writer) error {
		_, err := w.Write(r.aead.Seal(nonce, nonce, b, []byte(e.Question)))
		return err
	})
}

func (r *releases) close() error {
	if r.lock == nil {
		return nil
	}
	return r.lock.Close()
}

// tableChecked is the answer of egress check.
type tableChecked struct {
	gatetable.Report
	Kept bool `json:"kept"`
}

func (a *app) checkCommand() *cobra.Command {
	var in, rules, ledger, example string
	var keep, schema bool
	c := verb("check", "Put a table, given as JSON, through the gate: per cell status, rules and interval; the pattern and its cost (表格出域检查)", cobra.NoArgs, func(c *cobra.Command, _ []string) (err error) {
		switch {
		case schema:
			_, err := a.out.Write(gatetable.Schema())
			return err
		case example != "":
			b, err := gatetable.Example(example)
			if err != nil {
				return usageError{err}
			}
			_, err = a.out.Write(b)
			return err
		case keep && ledger == "":
			return usageError{invalid("--keep", "a release is kept in a ledger", "name its folder with --ledger")}
		}
		b, err := a.outgoingBytes(in)
		if err != nil {
			return err
		}
		p := gatetable.Standard()
		if rules != "" {
			b, err := a.readFile(rules)
			if err != nil {
				return err
			}
			if p, err = gatetable.DecodeRules(b); err != nil {
				return err
			}
		}
		t, err := gatetable.Decode(b)
		if err != nil {
			return err
		}
		r, err := a.openReleases(ledger, keep)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.close()) }()
		report, entry, err := gatetable.Judge(t, p, r.book, r.ledger)
		if err != nil {
			return err
		}
		out := tableChecked{Report: report}
		if keep && report.Verdict != gatetable.Withheld {
			if entry == nil {
				return invalid("--keep", "summaries name nobody: what left of them cannot be compared, so that it is not kept", "give the cells by their contributors")
			}
			if err := a.keep(r, *entry); err != nil {
				return err
			}
			out.Kept = true
		}
		if err := a.show(out, func(w io.Writer) { printTableReport(w, out) }); err != nil {
			return err
		}
		if report.Verdict == gatetable.Published {
			return nil
		}
		return &refused{reasonsOf(report)}
	})
	c.Long = c.Short + `.

The gate is the one of the domain: nothing is loosened for a table on its own. Status 0: every cell may leave as it is; 3: some cells may
not, or nothing of it; 1: the table, the rules or the ledger are faulty, and nothing is said of it. Intervals are in units of the
measure's scale. What it prints is about the cells: it is for those who have the table, not for its readers.

Start with --example small-cell; the format is --schema (JSON Schema, draft 2020-12). Cells are given by their contributors, or by people, n,
top-1, top-2 and sum. Rules files set thresholds by rule name; a rule that is not named keeps its default, and none can be left out.
What no rule stands against but a person must look at (one category with nearly everybody of a line, many rows without a value) makes the verdict
review, status 3. --ledger compares with the tables kept there before; --keep adds this one when it may leave, and seals who is in it.`
	f := c.Flags()
	f.StringVar(&in, "in", "", "the table, JSON; - for standard input")
	f.StringVar(&rules, "rules", "", "JSON: thresholds by rule name; without: 10 people, (2,90), p of 10; see --example rules")
	f.StringVar(&ledger, "ledger", "", "folder of earlier releases")
	f.BoolVar(&keep, "keep", false, "keep this release in the ledger if it may leave")
	f.BoolVar(&schema, "schema", false, "print the JSON schema of the format")
	f.StringVar(&example, "example", "", "print an example: "+strings.Join(gatetable.Examples(), ", "))
	c.MarkFlagsOneRequired("in", "schema", "example")
	c.MarkFlagsMutuallyExclusive("in", "schema", "example")
	return c
}

// outgoingBytes reads a file that is larger than what standard input may be.
func (a *app) outgoingBytes(path string) ([]byte, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > gatetable.MaxBytes {
		return nil, &sandbox.Error{Op: "read", Kind: sandbox.TooLarge, Object: path, Detail: fmt.Sprintf("at most %d bytes are read", gatetable.MaxBytes)}
	}
	return a.readFile(path)
}

func printTableReport(w io.Writer, r tableChecked) {
	fmt.Fprintf(w, "%s: %s  (%d cells, %d earlier releases compared)\n", r.Table, r.Verdict, len(r.Cells), r.Compared)
	if r.Cause != "" {
		fmt.Fprintf(w, "  cause 原因: %s\n", r.Cause)
	}
	if f := r.Finding; f != nil {
		fmt.Fprintf(w, "  finding 发现: against %s: %s\n", f.Earlier, f.Rule)
	}
	for _, f := range r.Flags {
		zh, en := egress.RuleWords(f.Rule)
		fmt.Fprintf(w, "  judge this 须判断: %s · %s (%d places, at most %d per mille)\n", zh, en, f.Places, f.Worst)
	}
	for _, c := range r.Cells {
		fmt.Fprintf(w, "  %-32s %-10s people %-6d %s\n", strings.Join(c.Labels, " · "), c.Status, c.People, strings.Join(c.Rules, ", "))
		for _, x := range c.Intervals {
			fmt.Fprintf(w, "      %s: %d to %d, required width %d\n", x.Measure, x.Lower, x.Upper, x.Width)
		}
	}
	if s := r.Suppression; s != nil {
		least := fmt.Sprintf("at least %d", s.Bound)
		if s.Optimal {
			least = "the least there is"
		}
		fmt.Fprintf(w, "  suppressed for others 二次抑制: %d cells, %d people, %s\n", s.Cells, s.Cost, least)
	}
	if r.Kept {
		fmt.Fprintln(w, "  kept in the ledger 已入台账")
	}
}

// reasonsOf names what keeps a table or cells of it from leaving.
func reasonsOf(r gatetable.Report) sandbox.Decision {
	var d sandbox.Decision
	if r.Verdict == gatetable.Withheld {
		d.Reasons = []sandbox.Reason{{Code: "egress.withheld", Rule: r.Cause, Change: "ask with coarser or fewer groups, or of more people at once"}}
		return d
	}
	for _, f := range r.Flags {
		_, en := egress.RuleWords(f.Rule)
		d.Reasons = append(d.Reasons, sandbox.Reason{Code: "egress." + f.Rule, Rule: en, Change: "have people review it, or ask with other groups"})
	}
	primary, secondary := 0, 0
	for _, c := range r.Cells {
		switch c.Status {
		case "primary":
			primary++
		case "secondary":
			secondary++
		}
	}
	d.Reasons = []sandbox.Reason{{Code: "egress.suppressed", Rule: fmt.Sprintf("%d cells break a rule, and %d are hidden to protect them 单元格抑制", primary, secondary),
		Change: "publish them as suppressed, or merge groups"}}
	return d
}
