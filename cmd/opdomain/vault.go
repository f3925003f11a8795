package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/node"
)

// vaultFault is one thing that is wrong with the vault.
type vaultFault struct {
	Kind  sandbox.Kind `json:"kind"`
	Fault string       `json:"fault"` // the file and what is wrong with it
	Hint  string       `json:"hint,omitempty"`
}

// vaultReport is what reading the whole vault gave.
type vaultReport struct {
	Datasets int          `json:"datasets"` // that have a version
	Faults   []vaultFault `json:"faults"`
}

func checkVault(ctx context.Context, n *node.Node) vaultReport {
	datasets, faults := n.Check(ctx)
	r := vaultReport{Datasets: datasets, Faults: []vaultFault{}}
	for _, err := range faults {
		r.Faults = append(r.Faults, vaultFault{Kind: sandbox.KindOf(err), Fault: err.Error(), Hint: hintOf(err)})
	}
	return r
}

// vaultCommand looks after the sealed files.
func (a *app) vaultCommand() *cobra.Command {
	var dir string
	check := verb("check", "On the domain's machine: read every sealed file and name every one that is damaged, swapped, cut or put back, while it is served or not (库存核验)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var r vaultReport
		if err := a.command(c.Context(), dir, order{Verb: "check"}, &r); err != nil {
			return err
		}
		if err := a.show(r, func(w io.Writer) {
			for _, f := range r.Faults {
				fmt.Fprintf(w, "%-11s %s\n", f.Kind, f.Fault)
				if f.Hint != "" {
					fmt.Fprintf(w, "            hint: %s\n", f.Hint)
				}
			}
			if len(r.Faults) == 0 {
				fmt.Fprintf(w, "every sealed file of %d datasets is whole and in its place 核验通过\n", r.Datasets)
			}
		}); err != nil {
			return err
		}
		if n := len(r.Faults); n > 0 {
			return &sandbox.Error{Op: "vault: check", Kind: sandbox.Tampered, Object: dir, Detail: fmt.Sprintf("%d faults", n), Hint: "bring the named datasets back: restore the last backup, or have their units push again"}
		}
		return nil
	})
	collect := verb("collect", "On the domain's machine: remove files that nobody can open any more, of versions whose key was destroyed and of pushes that came to nothing (残留清理)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		var r struct {
			Versions []struct {
				Dataset sandbox.DatasetID `json:"dataset"`
				Version uint64            `json:"version"`
			} `json:"versions"`
			Files int   `json:"files"`
			Bytes int64 `json:"bytes"`
		}
		if err := a.command(c.Context(), dir, order{Verb: "collect"}, &r); err != nil {
			return err
		}
		return a.show(r, func(w io.Writer) {
			fmt.Fprintf(w, "%d versions collected: %d files, %d bytes\n", len(r.Versions), r.Files, r.Bytes)
		})
	})
	for _, v := range []*cobra.Command{check, collect} {
		v.Flags().StringVar(&dir, "dir", "", "folder of the domain")
		must(v.MarkFlagRequired("dir"))
	}
	return group("vault", "The sealed files of the datasets (密态库)", check, collect)
}
