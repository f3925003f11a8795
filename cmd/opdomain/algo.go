package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/jail/record"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/query/sql"
)

const recordVerb = "record-image"

// recorder is this program as the child that records images.
func recorder() record.Wasm {
	return record.Wasm{Program: "/proc/self/exe", Command: []string{"opdomain", recordVerb}}
}

// recordCommand is that child, on its pipes.
func (a *app) recordCommand() *cobra.Command {
	c := verb(recordVerb, "Record the image of a program for the process that started this one (算法录制进程)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if status := record.Serve(c.Context(), a.in, a.out, a.err); status != 0 {
			return exitStatus(status)
		}
		return nil
	})
	c.Hidden = true
	return c
}

func (a *app) algoCommand() *cobra.Command {
	return group("algo", "Write, try, sign and approve algorithms (算法)", a.algoNew(), a.algoBuild(), a.algoCheck(), a.algoRun(), a.algoSign(), a.algoApprove(), a.algoWithdraw(), a.algoList(), a.algoTable())
}

// Files of an author's folder.
const (
	algoFile     = "algorithm.json"
	algoBuilt    = "build"
	algoManifest = "manifest.json" // in algoBuilt: of the image beside it
)

// draft is what an author says in algorithm.json; the rest of a manifest follows from the image.
type draft struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"`
	Title    string            `json:"title,omitempty"`
	Author   string            `json:"author"`
	Contract manifest.Contract `json:"contract"`
	Limits   manifest.Limits   `json:"limits"`
	// Samples are texts that made rows of a Map have, by column.
	Samples map[string][]string `json:"samples,omitempty"`
}

func (a *app) algoNew() *cobra.Command {
	var contract, author string
	c := verb("new NAME", "Make a folder with a template of an algorithm (新建算法)", cobra.ExactArgs(1), func(_ *cobra.Command, args []string) error {
		dir, name := args[0], filepath.Base(args[0])
		if sandbox.CheckID("name", name) != nil || strings.Contains(name, ".") || len(name) > 40 {
			return usageError{invalid("NAME", "a name is 1 to 40 of a-z, 0-9, '_', '-', starting with a letter or digit", "e.g. opdomain algo new ward-cost")}
		}
		files := map[string]string{"main.go": programTemplate, "go.mod": moduleTemplate, algoFile: draftTemplate, "README.md": readmeTemplate}
		switch manifest.Contract(contract) {
		case manifest.Program:
		case manifest.Opaque:
			files["main.go"], files[algoFile], files["README.md"] = opaqueTemplate, opaqueDraftTemplate, opaqueReadmeTemplate
		case manifest.Map:
			return a.newMap(dir, name, author)
		default:
			return usageError{invalid("--contract", "program, map or opaque", "see go doc ./sandbox/algo/manifest")}
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return &sandbox.Error{Op: "algo new", Kind: sandbox.Conflict, Object: dir, Detail: "the folder exists, or cannot be made", Hint: "name a new folder"}
		}
		for file, text := range files {
			text = strings.NewReplacer("NAME", name, "AUTHOR", author).Replace(text)
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				return unwritten("algo new", filepath.Join(dir, file))
			}
		}
		fmt.Fprintf(a.out, "%s made: edit %s, then\n  opdomain algo build %s\n  opdomain algo check %s\n  opdomain algo run --local %s\n", dir, filepath.Join(dir, "main.go"), dir, dir, dir)
		return nil
	})
	c.Flags().StringVar(&contract, "contract", "program", "what it may see: program (handles only), map (one subject at a time, in the jail) or opaque (a view of several subjects, in the jail)")
	c.Flags().StringVar(&author, "author", "author", "who writes it")
	return c
}

func (a *app) draft(dir string) (draft, error) {
	var d draft
	path := filepath.Join(dir, algoFile)
	if err := a.readJSON(path, &d); err != nil {
		return d, err
	}
	if d.Contract != manifest.Program && d.Contract != manifest.Map && d.Contract != manifest.Opaque {
		return d, &sandbox.Error{Op: "algo build", Kind: sandbox.Invalid, Object: path, Detail: "a contract is program, map or opaque", Hint: `write "contract": "program"`}
	}
	return d, nil
}

func (a *app) algoBuild() *cobra.Command {
	var sdk string
	c := verb("build DIR", "Build an algorithm reproducibly, a program and a map as wasm, an opaque one as a native image, and write its manifest (构建)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		dir := args[0]
		d, err := a.draft(dir)
		if err != nil {
			return err
		}
		out := filepath.Join(dir, algoBuilt)
		if err := os.MkdirAll(out, 0o755); err != nil {
			return unwritten("algo build", out)
		}
		env := append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
		if d.Contract == manifest.Opaque {
			return a.buildOpaque(c, dir, d, sdk, env)
		}
		if sdk != "" {
			work, err := workspace(dir, sdk)
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(filepath.Dir(work)) }()
			env = append(env, "GOWORK="+work)
		}
		if d.Contract == manifest.Map {
			return a.buildMap(c, dir, d, env)
		}
		wasm := filepath.Join(out, d.Name+".wasm")
		if err := a.compiled(c, dir, wasm, append(env, "GOOS=wasip1", "GOARCH=wasm"), "build"); err != nil {
			return err
		}
		image, err := os.ReadFile(wasm)
		if err != nil {
			return unwritten("algo build", wasm)
		}
		graph, err := recorder().Record(c.Context(), image)
		if err != nil {
			return recorded(d.Name, err)
		}
		g, types, err := algo.Decode(graph)
		if err != nil {
			return recorded(d.Name, err)
		}
		digest := sm.Sum(image)
		m := manifest.Manifest{Name: d.Name, Version: d.Version, Title: d.Title, Contract: d.Contract, SDK: g.SDK, Format: "wasm", Image: digest[:], Author: d.Author, Limits: d.Limits}
		m.Describe(g, types)
		if err := m.Validate(); err != nil {
			return err
		}
		if err := m.Match(g, types); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(out, algoManifest), m.Encode(), 0o644); err != nil {
			return unwritten("algo build", out)
		}
		fmt.Fprintf(a.out, "%s\n  image %x, %d bytes\n  %s: not signed yet; opdomain algo sign --as IDENTITY %s\n", wasm, digest, len(image), filepath.Join(out, algoManifest), dir)
		return nil
	})
	c.Flags().StringVar(&sdk, "sdk", "", "folder of a checkout of opdomain, where the module cannot be fetched")
	return c
}

// compiled builds the package in dir into path, by "build" and the flags behind it, reproducibly. What stood there goes first: a build that fails leaves no
// image beside a manifest that names another.
func (a *app) compiled(c *cobra.Command, dir, path string, env []string, args ...string) error {
	full, err := filepath.Abs(path)
	if err == nil {
		err = os.Remove(full)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return unwritten("algo build", path)
	}
	cmd := exec.CommandContext(c.Context(), "go", append(args, "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", full, ".")...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, env, a.err
	if err := cmd.Run(); err != nil {
		return &sandbox.Error{Op: "algo build", Kind: sandbox.Invalid, Object: dir, Detail: "go build fails", Hint: "Go 1.26 is needed; of a checkout of opdomain that is not published, name its folder with --sdk"}
	}
	return nil
}

// workspace writes a go.work over the author's module and a checkout of the SDK, in a folder of its own.
func workspace(dir, sdk string) (string, error) {
	a, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	b, err := filepath.Abs(sdk)
	if err != nil {
		return "", err
	}
	mod, err := os.ReadFile(filepath.Join(b, "go.mod"))
	if err != nil {
		return "", usageError{invalid("--sdk", "a folder with a checkout of opdomain", "name the folder that holds its go.mod")}
	}
	version := ""
	for line := range strings.Lines(string(mod)) {
		if v, ok := strings.CutPrefix(line, "go "); ok {
			version = strings.TrimSpace(v)
		}
	}
	tmp, err := os.MkdirTemp("", "opdomain-algo-")
	if err != nil {
		return "", unwritten("algo build", os.TempDir())
	}
	path := filepath.Join(tmp, "go.work")
	return path, os.WriteFile(path, fmt.Appendf(nil, "go %s\n\nuse (\n\t%q\n\t%q\n)\n", version, a, b), 0o600)
}

// recorded says why an image has no graph.
func recorded(name string, err error) error {
	e := &sandbox.Error{Op: "algo", Kind: sandbox.KindOf(err), Object: name, Err: err}
	if f := (*record.Fault)(nil); errors.As(err, &f) && f.Reason == record.Deadline {
		e.Hint = "a Program is recorded without data: loops end after a fixed number of rounds"
	}
	if f := (*algo.Error)(nil); errors.As(err, &f) {
		e.Kind = sandbox.Invalid
	}
	return e
}

// built is what algo build left in a folder.
type built struct {
	m     *manifest.Manifest
	raw   []byte
	image []byte
	graph []byte
	g     *algo.Graph
	types *algo.Types
}

// built reads and records it again, and holds all of it to the manifest.
func (a *app) built(c *cobra.Command, dir string) (*built, error) {
	path := filepath.Join(dir, algoBuilt, algoManifest)
	raw, err := a.readFile(path)
	if err != nil {
		return nil, &sandbox.Error{Op: "algo", Kind: sandbox.NotFound, Object: path, Detail: "no manifest", Hint: "opdomain algo build " + dir}
	}
	b := &built{raw: raw}
	if b.m, err = manifest.Draft(raw); err != nil {
		return nil, err
	}
	image := b.m.Name + "." + b.m.Format
	if b.image, err = os.ReadFile(filepath.Join(dir, algoBuilt, image)); err != nil {
		return nil, &sandbox.Error{Op: "algo", Kind: sandbox.NotFound, Object: image, Detail: "no image", Hint: "opdomain algo build " + dir}
	}
	if err := b.m.Holds(b.image); err != nil {
		return nil, err
	}
	if b.m.Contract == manifest.Opaque {
		return b, nil // nothing is recorded of it
	}
	if b.m.Contract == manifest.Map {
		return a.builtMap(c, b)
	}
	if b.graph, err = recorder().Record(c.Context(), b.image); err != nil {
		return nil, recorded(b.m.Name, err)
	}
	if b.g, b.types, err = algo.Decode(b.graph); err != nil {
		return nil, recorded(b.m.Name, err)
	}
	return b, b.m.Match(b.g, b.types)
}

func (a *app) algoCheck() *cobra.Command {
	c := verb("check DIR", "Check manifest and image, and show what the recorded graph would ask (检查)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		b, err := a.built(c, args[0])
		if err != nil {
			return err
		}
		if b.m.Contract == manifest.Opaque {
			return a.checkOpaque(b)
		}
		if b.m.Contract == manifest.Map {
			return a.checkMap(c, b)
		}
		signed := "signed by its author"
		if b.m.Verify() != nil {
			signed = "not signed"
		}
		fmt.Fprintf(a.out, "%s %s, %s, SDK %s: %s\n", b.m.Name, b.m.Version, b.m.Contract, b.m.SDK, signed)
		fmt.Fprintf(a.out, "graph 计算图: %d nodes, SM3 %x; operators %s\n", len(b.g.Nodes), sm.Sum(b.graph), strings.Join(b.m.Operators, ", "))
		made := dryrun.Catalogue(b.g, b.types, nil)
		plan, reasons := compile.Compile(b.g, b.types, compile.Asked{Scenario: "sc-check", Purpose: "check"}, made.Sets)
		if plan == nil {
			return &refused{sandbox.Decision{Reasons: reasons}}
		}
		fmt.Fprintln(a.out, "over a catalogue made of its declarations, in which everything is allowed; what owners allow: opdomain query explain --program")
		for i, q := range plan.Questions {
			fmt.Fprintf(a.out, "\nquestion %d 查询, of %s, class %s:\n  %s\n", i+1, q.Table, q.Class, strings.ReplaceAll(sql.Text(q.Spec), "\n", "\n  "))
			d, reasons := query.Derive(q.Spec, made.Sets, made.List)
			if len(reasons) > 0 {
				return &refused{sandbox.Decision{Reasons: reasons}}
			}
			fmt.Fprint(a.out, d.Explain().Text())
		}
		return nil
	})
	return c
}

func (a *app) algoRun() *cobra.Command {
	var local bool
	var seed uint64
	var rows int
	c := verb("run DIR", "Run an algorithm on made rows; what it shows went through the gate's rules (本地试运行)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		if !local {
			return usageError{invalid("--local", "an algorithm is run here on made rows, and in a domain by query ask", "opdomain algo run --local "+args[0]+", or opdomain query ask --program NAME-VERSION")}
		}
		if rows < 1 || rows > 1<<20 {
			return usageError{invalid("--rows", "1 to 1048576", "")}
		}
		b, err := a.built(c, args[0])
		if err != nil {
			return err
		}
		if b.m.Contract == manifest.Opaque {
			return a.runOpaque(c, b, seed, rows)
		}
		if b.m.Contract == manifest.Map {
			return a.runMap(c, args[0], b, seed, rows)
		}
		made := dryrun.Catalogue(b.g, b.types, nil)
		plan, reasons := compile.Compile(b.g, b.types, compile.Asked{Scenario: "sc-local", Purpose: "local"}, made.Sets)
		if plan == nil {
			return &refused{sandbox.Decision{Reasons: reasons}}
		}
		run := dryrun.Run{Data: made.Generate(seed, rows), List: made.List, Params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}}
		out, err := run.Do(c.Context(), plan)
		if err != nil {
			return err
		}
		return a.show(out, func(w io.Writer) { printOutcome(w, plan, out) })
	})
	c.Flags().BoolVar(&local, "local", false, "on made rows, here")
	c.Flags().Uint64Var(&seed, "seed", 1, "which rows: the same seed gives the same bits")
	c.Flags().IntVar(&rows, "rows", 3000, "of each input")
	return c
}

func printOutcome(w io.Writer, plan *compile.Plan, out dryrun.Outcome) {
	for i, q := range out.Answers {
		fmt.Fprintf(w, "question %d 查询, of %s: ", i+1, plan.Questions[i].Table)
		switch {
		case len(q.Reasons) > 0:
			fmt.Fprintf(w, "refused 不予受理: %s %s\n", q.Reasons[0].Code, q.Reasons[0].Rule)
		case q.Withheld != "":
			fmt.Fprintln(w, "withheld by the gate 不予出域:", q.Withheld)
		default:
			fmt.Fprintf(w, "%d groups, %d suppressed 抑制; result SM3 %x\n", q.Cells, q.Suppressed, sm.Sum(q.Result))
		}
	}
	for _, t := range out.Tables {
		printFilled(w, t)
	}
}

func printFilled(w io.Writer, t compile.Filled) {
	fmt.Fprintf(w, "\n%s\n", t.Name)
	head := make([]string, len(t.Head))
	for i, h := range t.Head {
		if head[i] = h; t.Units[i] != "" {
			head[i] += " (" + t.Units[i] + ")"
		}
	}
	fmt.Fprintln(w, "  "+strings.Join(head, "\t"))
	for _, row := range t.Rows {
		shown := make([]string, len(row))
		for i, v := range row {
			if shown[i] = v; v == "" {
				shown[i] = "*"
			}
		}
		fmt.Fprintln(w, "  "+strings.Join(shown, "\t"))
	}
	if t.Hidden > 0 {
		fmt.Fprintf(w, "  * suppressed or not defined 抑制或无定义: %d values\n", t.Hidden)
	}
}

func (a *app) algoSign() *cobra.Command {
	return verb("sign DIR", "Sign the manifest of a built algorithm as its author, with the identity of --as (作者签名)", cobra.ExactArgs(1), func(c *cobra.Command, args []string) error {
		if a.as == "" {
			return usageError{invalid("--as", "a manifest is signed by its author", "name the folder of an identity, e.g. --as DIR/identities/partner")}
		}
		b, err := a.built(c, args[0])
		if err != nil {
			return err
		}
		id, err := a.identity()
		if err != nil {
			return err
		}
		if err := b.m.Sign(a.rand, id.keys.SigningKey()); err != nil {
			return err
		}
		path := filepath.Join(args[0], algoBuilt, algoManifest)
		if err := os.WriteFile(path, b.m.Encode(), 0o644); err != nil {
			return unwritten("algo sign", path)
		}
		digest := b.m.Digest()
		fmt.Fprintf(a.out, "%s signed: SM3 %x\n", path, digest)
		return nil
	})
}

// signedBuild is a built algorithm whose manifest its author signed.
func (a *app) signedBuild(c *cobra.Command, dir string) (*built, error) {
	b, err := a.built(c, dir)
	if err != nil {
		return nil, err
	}
	if err := b.m.Verify(); err != nil {
		return nil, err
	}
	if !bytes.Equal(b.raw, b.m.Encode()) {
		return nil, invalid(filepath.Join(dir, algoBuilt, algoManifest), "a signed manifest is in its one encoding", "opdomain algo sign")
	}
	return b, nil
}
