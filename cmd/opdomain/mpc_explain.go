package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	shares "github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

// mpcExplained is what mpc explain prints of one question of a program.
type mpcExplained struct {
	Table     string           `json:"table"`
	Question  string           `json:"question"`
	Runs      bool             `json:"runs"`
	Cells     int              `json:"cells,omitempty"`
	Rows      int              `json:"rows,omitempty"`      // of the scanned input, at most
	Operators []shares.Op      `json:"operators,omitempty"` // in the plan's form
	Tells     []string         `json:"tells,omitempty"`     // what parties learn beside the operators' leakage
	Digest    string           `json:"digest,omitempty"`    // of the inquiry, as a plan names it
	File      string           `json:"file,omitempty"`      // the inquiry, for opdomain-party plan
	Stops     []sandbox.Reason `json:"stops,omitempty"`
}

// programAsked are the flags that say over what a built program is asked.
type programAsked struct {
	datasets, list, out string
	scenario, purpose   string
	bind                []string
}

func (o *programAsked) flags(c *cobra.Command, leaves string) {
	f := c.Flags()
	f.StringVar(&o.datasets, "datasets", "", "JSON file of the datasets' descriptions: a list, each as source register takes it")
	f.StringVar(&o.list, "list", "", "JSON file of the owners' rules, the list of a scenario; with --datasets")
	f.StringVar(&o.scenario, "scenario", "sc-check", "scenario that the questions name")
	f.StringVar(&o.purpose, "purpose", "check", "purpose that they name")
	f.StringArrayVar(&o.bind, "bind", nil, "INPUT=DATASET: which dataset an input of the algorithm is; repeat for more")
	f.StringVar(&o.out, "out", "", "leave "+leaves+" in this new folder")
}

// mpcExplainCommand says of each question of a built program whether it runs over shares, and writes it as an inquiry that parties can plan.
func (a *app) mpcExplainCommand() *cobra.Command {
	var o programAsked
	var setting string
	c := verb("explain DIR", "Say which questions of an algorithm run over shares, what stops the others and what would do (多方计算可行性)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		all, err := a.mpcExplain(c, args[0], o, setting)
		if err != nil {
			return err
		}
		if err := a.show(all, func(w io.Writer) { printMPC(w, all) }); err != nil {
			return err
		}
		if slices.ContainsFunc(all, func(x mpcExplained) bool { return !x.Runs }) {
			return exitStatus(exitRefused) // the explanation has said why
		}
		return nil
	})
	c.Long = c.Short + `.

The algorithm is what algo build left in DIR. Without --datasets its catalogue is made of its declarations, everything in it allowed, and without
--setting each dataset is at a party of its own, 1,024 rows of it, under the thresholds 10 people, (2,85) and 10%. With --out each question that
runs is left in a new folder as an inquiry, which parties plan, approve and run: opdomain-party --help. The tables of the algorithm are put
together from the answers by who receives them.`
	o.flags(c, "the inquiries of what runs")
	c.Flags().StringVar(&setting, "setting", "", "JSON file of the setting: who holds which rows, labels, bits, thresholds, adversary")
	return c
}

// programOver gives the questions of the program that algo build left in a folder, and the catalogue that they are over: the one that the flags
// name, or one made of its declarations in which everything is allowed.
func (a *app) programOver(c *cobra.Command, dir string, o programAsked) (*compile.Plan, map[sandbox.DatasetID]catalog.Dataset, []sandbox.ListItem, error) {
	fail := func(err error) (*compile.Plan, map[sandbox.DatasetID]catalog.Dataset, []sandbox.ListItem, error) {
		return nil, nil, nil, err
	}
	if (o.datasets == "") != (o.list == "") {
		return fail(usageError{invalid("--datasets", "descriptions come with the owners' rules, --list", "")})
	}
	bound := map[string]sandbox.DatasetID{}
	for _, x := range o.bind {
		name, id, ok := strings.Cut(x, "=")
		if !ok || name == "" || id == "" {
			return fail(usageError{invalid("--bind", "INPUT=DATASET", "")})
		}
		bound[name] = sandbox.DatasetID(id)
	}
	b, err := a.built(c, dir)
	if err != nil {
		return fail(err)
	}
	if b.g == nil {
		return fail(&refused{sandbox.Decision{Reasons: []sandbox.Reason{{Code: "algorithm.contract", Rule: "a Program is recorded and compiled to questions; code of other contracts sees values, which nobody has over shares or ciphertexts",
			Change: "write it as a Program"}}}})
	}
	made := dryrun.Catalogue(b.g, b.types, bound)
	sets, list := made.Sets, made.List
	if o.datasets != "" {
		var all []catalog.Dataset
		list = nil
		if err := errors.Join(a.readJSON(o.datasets, &all), a.readJSON(o.list, &list)); err != nil {
			return fail(err)
		}
		sets = map[sandbox.DatasetID]catalog.Dataset{}
		for _, d := range all {
			sets[d.ID] = d
		}
	}
	plan, reasons := compile.Compile(b.g, b.types, compile.Asked{Scenario: sandbox.ScenarioID(o.scenario), Purpose: o.purpose, Bind: bound}, sets)
	if plan == nil {
		return fail(&refused{sandbox.Decision{Reasons: reasons}})
	}
	return plan, sets, list, nil
}

// fresh makes the folder that questions are left in, where one is named.
func (o programAsked) fresh() error {
	if o.out == "" {
		return nil
	}
	if err := os.Mkdir(o.out, 0o700); err != nil {
		return &sandbox.Error{Op: "explain", Kind: sandbox.Conflict, Object: o.out, Detail: "a new folder", Hint: "name a folder that does not exist, in one that does"}
	}
	return nil
}

// leave writes a question there and gives its name.
func (o programAsked) leave(n int, b []byte) (string, error) {
	if o.out == "" {
		return "", nil
	}
	path := filepath.Join(o.out, fmt.Sprintf("question-%d.json", n+1))
	return path, os.WriteFile(path, b, 0o600)
}

func (a *app) mpcExplain(c *cobra.Command, dir string, o programAsked, settings string) ([]mpcExplained, error) {
	plan, sets, list, err := a.programOver(c, dir, o)
	if err != nil {
		return nil, err
	}
	setting := agg.Setting{Adversary: shares.SemiHonest, Thresholds: agg.Thresholds{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}}
	if settings != "" {
		if err := a.readJSON(settings, &setting); err != nil {
			return nil, err
		}
	} else {
		for i, id := range slices.Sorted(maps.Keys(sets)) {
			setting.Held = append(setting.Held, agg.Held{Dataset: id, Party: i % mpc.Parties, Rows: mpc.Buckets[0]})
		}
	}
	if err := o.fresh(); err != nil {
		return nil, err
	}
	var all []mpcExplained
	for i, q := range plan.Questions {
		x := mpcExplained{Table: q.Table, Question: sql.Text(q.Spec)}
		inquiry := agg.Inquiry{Spec: q.Spec, List: list, Setting: setting}
		inquiry.Setting.Held = nil
		for _, in := range q.Spec.Inputs { // an inquiry names what it is over
			if slices.ContainsFunc(inquiry.Datasets, func(d catalog.Dataset) bool { return d.ID == in.Dataset }) {
				continue
			}
			inquiry.Datasets = append(inquiry.Datasets, sets[in.Dataset])
			for _, h := range setting.Held {
				if h.Dataset == in.Dataset {
					inquiry.Setting.Held = append(inquiry.Setting.Held, h)
				}
			}
		}
		line, stops := inquiry.Line()
		if x.Stops = stops; line != nil {
			x.Runs, x.Cells, x.Rows, x.Operators, x.Tells, x.Digest = true, line.Cells(), line.Shared(), line.Operators(), line.Learns(), inquiry.Digest()
			if x.File, err = o.leave(i, inquiry.Encode()); err != nil {
				return nil, err
			}
		}
		all = append(all, x)
	}
	return all, nil
}

func printMPC(w io.Writer, all []mpcExplained) {
	for i, x := range all {
		fmt.Fprintf(w, "question %d 查询, of %s:\n  %s\n", i+1, x.Table, strings.ReplaceAll(strings.TrimSpace(x.Question), "\n", "\n  "))
		if x.Runs {
			fmt.Fprintf(w, "runs over shares 可多方计算: %d cells, up to %d rows of the scanned input\n", x.Cells, x.Rows)
			for _, t := range x.Tells {
				fmt.Fprintf(w, "  parties learn 参与方所知: %s\n", t)
			}
			if x.File != "" {
				fmt.Fprintf(w, "  inquiry 询问: %s\n", x.File)
			}
		}
		for _, s := range x.Stops {
			at := ""
			if s.Column != "" {
				at = " (" + s.Column + ")"
			}
			fmt.Fprintf(w, "stops: %s%s\n  instead 替代方式: %s\n", s.Rule, at, s.Change)
		}
	}
}
