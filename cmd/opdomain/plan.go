package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
)

// readPlan reads a plan, and gives its text too.
func (a *app) readPlan(path string) (*desensitize.Plan, []byte, error) {
	text, err := a.readFile(path)
	if err != nil {
		return nil, nil, err
	}
	p, err := desensitize.Parse(filepath.Base(path), text)
	return p, text, err
}

// checked is what a plan makes of a table, found without reading its rows.
type checked struct {
	Plan    string          `json:"plan"`
	Version int             `json:"version"`
	Digest  []byte          `json:"digest"`
	Columns []checkedColumn `json:"columns"`
	Dropped []string        `json:"dropped,omitempty"`
	Roles   []sandbox.Role  `json:"roles,omitempty"`
	Keys    []string        `json:"keys,omitempty"` // that whoever runs it gives
	Draws   bool            `json:"draws,omitempty"`
	Twice   bool            `json:"twice,omitempty"` // the table is read twice
}

type checkedColumn struct {
	Column   string        `json:"column"`
	Op       string        `json:"op"`
	Type     string        `json:"type"`
	Nullable bool          `json:"nullable,omitempty"`
	Grade    sandbox.Grade `json:"grade"`
}

// namedKeys stands for keys that a check is not given; it notes which a plan names.
type namedKeys struct {
	any   derivedKeys
	named []string
}

func (k *namedKeys) Key(name string) (token.Key, bool) {
	if !slices.Contains(k.named, name) {
		k.named = append(k.named, name)
	}
	return k.any.Key(name)
}

func (a *app) checkPlanCommand() *cobra.Command {
	var d desensitizing
	c := verb("check", "Say what a plan makes of a table, or all that is wrong with it, without writing anything (方案检查)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.checkPlan(c.Context(), d)
	})
	f := c.Flags()
	f.StringVar(&d.plan, "plan", "", "the plan, YAML")
	f.StringVar(&d.in, "in", "", "table: CSV, or .xlsx, .parquet, .arrow; not needed where the plan has the schema")
	f.StringVar(&d.encoding, "encoding", "", "of the table: utf-8 or gb18030; default: detected")
	f.StringVar(&d.delimiter, "delimiter", "", delimiterHelp)
	f.StringVar(&d.hierarchies, "hierarchies", "", "folder of hierarchies, NAME.csv in the form of ARX")
	must(c.MarkFlagRequired("plan"))
	return c
}

func (a *app) checkPlan(ctx context.Context, d desensitizing) error {
	p, _, err := a.readPlan(d.plan)
	if err != nil {
		return err
	}
	if d.in == "" && len(p.Schema) == 0 {
		return invalid(filepath.Base(d.plan), "the plan has no schema", "name the table with --in, or describe it in the plan under schema")
	}
	var o file.Options
	if d.in != "" {
		if o, err = a.reading(ctx, d, p); err != nil {
			return err
		}
	}
	set, numbers, err := describeTable(ctx, d.in, p, o)
	if err != nil {
		return err
	}
	any, err := a.drawnKey()
	if err != nil {
		return err
	}
	keys := &namedKeys{any: any}
	with := desensitize.Options{Keys: keys, Hierarchies: hierarchyFiles(d.hierarchies), Seed: any, Told: true}
	digest := p.Digest()
	out := checked{Plan: p.ID, Version: p.Version, Digest: digest[:], Columns: []checkedColumn{}}
	var reasons []sandbox.Reason
	if len(p.Columns) > 0 {
		pipe, decision := desensitize.Compile(p, set, with)
		reasons = decision.Reasons
		if decision.Allow {
			out.Draws, out.Twice = pipe.Draws(), pipe.Twice()
			rep := pipe.Report()
			out.Dropped = slices.DeleteFunc(slices.Clone(rep.Dropped), func(name string) bool { return numbers.of(name) != 0 })
			for i, c := range pipe.Columns() {
				out.Columns = append(out.Columns, checkedColumn{c.Name, rep.Columns[i].Op, string(c.Type), c.Nullable, c.Grade})
			}
		}
	}
	if len(p.Roles) > 0 {
		_, decision := desensitize.CompileRoles(p, set, with)
		reasons = append(reasons, decision.Reasons...)
	}
	if len(reasons) > 0 {
		return &refused{numbers.in(sandbox.Decision{Reasons: reasons})}
	}
	for _, r := range p.Roles {
		out.Roles = append(out.Roles, r.Role)
	}
	out.Keys = keys.named
	return a.show(out, func(w io.Writer) {
		fmt.Fprintf(w, "plan %s version %d can be applied 方案可用\n", out.Plan, out.Version)
		for _, c := range out.Columns {
			null := ""
			if c.Nullable {
				null = ", may be null"
			}
			fmt.Fprintf(w, "  %-20s %-12s %s, grade %d%s\n", c.Column, c.Op, c.Type, c.Grade, null)
		}
		for _, x := range []struct {
			label string
			list  []string
		}{{"dropped 不提供", out.Dropped}, {"keys 密钥", out.Keys}} {
			if len(x.list) > 0 {
				fmt.Fprintf(w, "  %s: %s\n", x.label, strings.Join(x.list, ", "))
			}
		}
		if out.Draws {
			fmt.Fprintln(w, "  draws from a key 随机数由密钥派生")
		}
		if out.Twice {
			fmt.Fprintln(w, "  reads the table twice 两遍读取")
		}
		fmt.Fprintf(w, "  plan digest 方案摘要 %x\n", out.Digest)
	})
}

func (a *app) signPlanCommand() *cobra.Command {
	var plan, out string
	c := verb("sign", "As an officer of the dataset's unit, sign a plan (方案签名)", cobra.NoArgs, func(*cobra.Command, []string) error {
		if a.as == "" {
			return usageError{invalid("--as", "a plan is signed by an identity", "name its folder, e.g. --as DIR/identities/unit-health")}
		}
		p, _, err := a.readPlan(plan)
		if err != nil {
			return err
		}
		id, err := a.identity()
		if err != nil {
			return err
		}
		if p.Owner != "" && p.Owner != id.Party {
			return &sandbox.Error{Op: "plan: sign", Kind: sandbox.Denied, Object: p.ID, Detail: "the plan's owner is another party than this identity's", Hint: "have an officer of the owner sign it"}
		}
		if id.Duty != sandbox.Officer {
			return &sandbox.Error{Op: "plan: sign", Kind: sandbox.Denied, Object: p.ID, Detail: "an officer signs a plan, not a reviewer", Hint: "use the folder of an officer of the unit"}
		}
		s, err := p.Sign(a.rand, id.keys.SigningKey(), id.ID, a.now())
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			return err
		}
		if err := a.write(out, append(b, '\n')); err != nil {
			return err
		}
		if out == "-" || out == "" {
			return nil
		}
		return a.show(s, func(w io.Writer) {
			fmt.Fprintf(w, "%s signed plan %s version %d: %s\n", s.Signer, s.Plan, s.Version, out)
			fmt.Fprintf(w, "  plan digest 方案摘要 %x\n", s.Digest)
		})
	})
	f := c.Flags()
	f.StringVar(&plan, "plan", "", "the plan, YAML")
	f.StringVar(&out, "out", "-", "file of the signature, - for standard output")
	must(c.MarkFlagRequired("plan"))
	return c
}

func (a *app) verifyPlanCommand() *cobra.Command {
	var plan, signature, signer string
	c := verb("verify", "Check that an identity signed exactly this plan (方案验签)", cobra.NoArgs, func(*cobra.Command, []string) error {
		p, _, err := a.readPlan(plan)
		if err != nil {
			return err
		}
		var s desensitize.Signature
		if err := a.readJSON(signature, &s); err != nil {
			return err
		}
		if info, err := os.Stat(signer); err == nil && info.IsDir() {
			signer = filepath.Join(signer, identityFile)
		}
		var who sandbox.Identity
		if err := a.readJSON(signer, &who); err != nil {
			return err
		}
		if who.ID != s.Signer {
			return &sandbox.Error{Op: "plan: verify", Kind: sandbox.Denied, Object: p.ID, Detail: "the signature names another signer", Hint: "name the identity.json of the signer"}
		}
		key, err := sm.ParseVerifyKey(who.SignKey)
		if err != nil {
			return err
		}
		if err := p.Verify(s, key); err != nil {
			return err
		}
		return a.show(s, func(w io.Writer) {
			fmt.Fprintf(w, "signed 验签通过: plan %s version %d by %s, %s of %s, %s\n", s.Plan, s.Version, who.ID, who.Duty, who.Party, s.At.Format("2006-01-02 15:04:05Z07:00"))
			fmt.Fprintf(w, "  fingerprint of the signer 指纹 %s\n", described(who))
			fmt.Fprintf(w, "  plan digest 方案摘要 %x\n", s.Digest)
		})
	})
	f := c.Flags()
	f.StringVar(&plan, "plan", "", "the plan, YAML")
	f.StringVar(&signature, "signature", "", "file that sign wrote")
	f.StringVar(&signer, "identity", "", "identity.json of the signer, or its folder")
	for _, name := range []string{"plan", "signature", "identity"} {
		must(c.MarkFlagRequired(name))
	}
	return c
}
