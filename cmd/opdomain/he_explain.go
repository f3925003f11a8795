package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

// heExplained is what he explain prints of one question of a program.
type heExplained struct {
	Table       string           `json:"table"`
	Question    string           `json:"question"`
	Runs        bool             `json:"runs"`
	Set         he.SetName       `json:"set,omitempty"`
	Groups      int              `json:"groups,omitempty"`
	Values      int              `json:"values,omitempty"`
	Ciphertexts int              `json:"ciphertexts,omitempty"` // of a unit
	Products    int              `json:"products,omitempty"`    // of two units' columns
	People      int              `json:"people,omitempty"`      // that products are over, at most, by this explanation
	Bytes       int              `json:"bytes,omitempty"`       // of a unit
	Stops       []sandbox.Reason `json:"stops,omitempty"`
	File        string           `json:"file,omitempty"`         // the question, as query explain --spec takes it
	Refuses     string           `json:"gate_refuses,omitempty"` // what this domain's gate does not let out over ciphertexts, although the arithmetic runs
}

// heExplainCommand says of each question of a built program whether ciphertexts do it, and which operator stops it otherwise.
func (a *app) heExplainCommand() *cobra.Command {
	var units int
	var o programAsked
	var labels []string
	c := verb("explain DIR", "Say which questions of an algorithm run on ciphertexts, what stops the others and what would do (密态可行性)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		if units < he.MinUnits || units > he.MaxUnits {
			return usageError{invalid("--units", fmt.Sprintf("%d to %d", he.MinUnits, he.MaxUnits), "")}
		}
		keys, err := fixedLabels(labels)
		if err != nil {
			return err
		}
		plan, sets, list, err := a.programOver(c, args[0], o)
		if err != nil {
			return err
		}
		if err := o.fresh(); err != nil {
			return err
		}
		var all []heExplained
		stopped := false
		for i, q := range plan.Questions {
			d, reasons := query.Derive(q.Spec, sets, list)
			if len(reasons) > 0 {
				return &refused{sandbox.Decision{Reasons: reasons}}
			}
			x, err := heExplain(d, units, keys)
			if err != nil {
				return err
			}
			x.Table, x.Question = q.Table, sql.Text(q.Spec)
			stopped = stopped || !x.Runs
			if x.Runs && x.Refuses == "" {
				text, err := json.MarshalIndent(q.Spec, "", "  ")
				if err != nil {
					return err
				}
				if x.File, err = o.leave(i, text); err != nil {
					return err
				}
			}
			all = append(all, x)
		}
		if err := a.show(all, func(w io.Writer) { printHE(w, units, all) }); err != nil {
			return err
		}
		if stopped {
			return exitStatus(exitRefused) // the explanation has said why
		}
		return nil
	})
	c.Long = `The algorithm is what algo build left in DIR; its catalogue is made of its declarations, as for algo check. A question runs on ciphertexts when
every operator of it does: what a row says by itself is taken at its unit, totals are added under encryption. What the
domain's gate would not let out all the same is said beside it. With --out each question that runs, and that the gate lets out, is left in a new folder,
as a sum over ciphertexts takes it.`
	o.flags(c, "the questions that run")
	c.Flags().StringArrayVar(&labels, "labels", nil, "AS=LABEL,LABEL…: the groups of a dimension whose column does not list its values; rows of others count nowhere; repeat for more")
	c.Flags().IntVar(&units, "units", 5, "source units that contribute")
	return c
}

// fixedLabels reads labels of dimensions.
func fixedLabels(labels []string) (spec.Keys, error) {
	out := spec.Keys{}
	for _, l := range labels {
		as, list, ok := strings.Cut(l, "=")
		if _, twice := out[as]; !ok || twice || as == "" || list == "" {
			return nil, usageError{invalid("--labels", "AS=LABEL,LABEL…, once for each dimension", "")}
		}
		out[as] = strings.Split(list, ",")
	}
	return out, nil
}

func heExplain(d query.Derivation, units int, keys spec.Keys) (heExplained, error) {
	if len(d.Inputs) == 2 {
		return heExplainJoined(d, keys), nil
	}
	q, why := spec.Compile(d, keys)
	if len(why) > 0 {
		return heExplained{Stops: why}, nil
	}
	for _, s := range he.Sets() {
		if s.Name == he.SumSet {
			x := heExplained{Runs: true, Set: s.Name, Groups: len(q.Layout.Cells), Values: q.Layout.Values(units), Refuses: heRefuses(d)}
			if x.Ciphertexts = s.Ciphertexts(x.Values); x.Ciphertexts > he.MaxCiphertexts {
				return heExplained{Stops: []sandbox.Reason{{Code: "he.size", Rule: fmt.Sprintf("stopped by its size: a unit sends at most %d ciphertexts, not %d", he.MaxCiphertexts, x.Ciphertexts), Change: "fewer groups, measures or units"}}}, nil
			}
			x.Bytes = x.Ciphertexts * s.CiphertextBytes()
			return x, nil
		}
	}
	return heExplained{}, errors.New("he explain: the set for sums is registered")
}

// heExplainJoined supposes that two units hold an input each, of as many people as one ciphertext holds.
func heExplainJoined(d query.Derivation, keys spec.Keys) heExplained {
	const people = 8190
	j, why := spec.CompileJoined(d, keys, spec.Placement{Holders: [2]int{0, 1}, Subjects: people})
	if len(why) > 0 {
		return heExplained{Stops: why}
	}
	return heExplained{Runs: true, Refuses: heRefuses(d), Set: he.ProductSet, Groups: len(j.Labels), Products: len(j.Layout.Products.Terms), People: people}
}

// heRefuses names what a domain's gate has no bounds for: it refuses these before anything is charged.
func heRefuses(d query.Derivation) string {
	var out []string
	for _, m := range d.Spec.Measures {
		if !egress.Boundable(m.Func) && !slices.Contains(out, string(m.Func)) {
			out = append(out, string(m.Func))
		}
	}
	if len(d.Holdings()) > 0 {
		out = append(out, "datasets that name holdings")
	}
	return strings.Join(out, ", ")
}

func printHE(w io.Writer, units int, all []heExplained) {
	for i, x := range all {
		fmt.Fprintf(w, "question %d 查询, of %s:\n  %s\n", i+1, x.Table, strings.ReplaceAll(strings.TrimSpace(x.Question), "\n", "\n  "))
		switch {
		case x.Products > 0:
			fmt.Fprintf(w, "arithmetic runs on ciphertexts 可密态计算: %d groups, %d products of two units' columns over up to %d people on an agreed list, with %s\n", x.Groups, x.Products, x.People, x.Set)
		case x.Runs:
			fmt.Fprintf(w, "arithmetic runs on ciphertexts 可密态计算: %d groups, %d values of %d units in %d ciphertexts of %s, %d kB a unit\n", x.Groups, x.Values, units, x.Ciphertexts, x.Set, x.Bytes/1000)
		}
		if x.Refuses != "" {
			fmt.Fprintf(w, "this domain's gate refuses 本域闸口不予: %s\n  instead 替代方式: the mpc engine\n", x.Refuses)
		}
		if x.File != "" {
			fmt.Fprintf(w, "question 查询: %s\n", x.File)
		}
		for _, s := range x.Stops {
			at := ""
			if s.Column != "" {
				at = " (" + s.Column + ")"
			}
			fmt.Fprintf(w, "%s%s\n  instead 替代方式: %s\n", s.Rule, at, s.Change)
		}
	}
}
