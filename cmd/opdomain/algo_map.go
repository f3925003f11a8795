package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/query"
)

// buildMap builds a Map's module and writes its manifest: what it declares, it says of itself, started on nothing.
func (a *app) buildMap(c *cobra.Command, dir string, d draft, env []string) error {
	out := filepath.Join(dir, algoBuilt)
	wasm := filepath.Join(out, d.Name+".wasm")
	if err := a.compiled(c, dir, wasm, append(env, "GOOS=wasip1", "GOARCH=wasm"), "build", "-buildmode=c-shared"); err != nil {
		return err
	}
	image, err := os.ReadFile(wasm)
	if err != nil {
		return unwritten("algo build", wasm)
	}
	says, err := declares(c.Context(), d.Name, image)
	if err != nil {
		return err
	}
	digest := sm.Sum(image)
	m := manifest.Manifest{Name: d.Name, Version: d.Version, Title: d.Title, Contract: d.Contract, SDK: mapper.Version, Format: "wasm", Image: digest[:], Author: d.Author, Limits: d.Limits}
	m.DeclareMap(says)
	if err := m.Validate(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, algoManifest), m.Encode(), 0o644); err != nil {
		return unwritten("algo build", out)
	}
	fmt.Fprintf(a.out, "%s\n  image %x, %d bytes\n  %s: not signed yet; opdomain algo sign --as IDENTITY %s\n", wasm, digest, len(image), filepath.Join(out, algoManifest), dir)
	return nil
}

// declares gives what a Map's module says of itself, started in a child process that has nothing.
func declares(ctx context.Context, name string, image []byte) (mapper.Declaration, error) {
	text, err := recorder().Record(ctx, image)
	if err != nil {
		return mapper.Declaration{}, recorded(name, err)
	}
	d, err := mapper.Decode(text)
	if err != nil {
		return d, &sandbox.Error{Op: "algo", Kind: sandbox.Invalid, Object: name, Err: err, Hint: "call mapper.Handle in init, with the declaration"}
	}
	return d, nil
}

// builtMap holds a built Map to what its manifest says.
func (a *app) builtMap(c *cobra.Command, b *built) (*built, error) {
	d, err := declares(c.Context(), b.m.Name, b.image)
	if err != nil {
		return nil, err
	}
	return b, b.m.Says(d.Encode())
}

// mapCell is where a Map runs on this machine, started: nil and the layer that is missing where there is none.
func (a *app) mapCell(ctx context.Context, b *built) (*jail.Process, func(), error) {
	l, err := jail.New(jail.Config{})
	if err != nil {
		return nil, nil, err
	}
	stop := func() { _ = l.Close() }
	if lacks := l.Probe().Missing(jail.W); len(lacks) > 0 {
		stop()
		return nil, nil, &sandbox.Error{Op: "algo", Kind: sandbox.Unavailable, Object: b.m.Name, Detail: fmt.Sprintf("a Map runs in tier W of the jail, which this machine lacks: %s: %s", lacks[0].Name, lacks[0].Detail),
			Hint: "try its code in tests of your own, with mapper.Run; opdomain doctor lists the layers"}
	}
	img, err := jail.NewImage(bytes.NewReader(b.image), sm.Sum(b.image))
	if err != nil {
		stop()
		return nil, nil, err
	}
	lim := jail.Limits{Memory: int64(b.m.Limits.MemoryMiB) << 20, Start: time.Minute, Wall: time.Minute + time.Duration(b.m.Limits.Seconds)*time.Second}
	p, err := l.Start(ctx, jail.Job{Tier: jail.W, Module: img, Limits: lim})
	_ = img.Close()
	if err == nil {
		says, serr := p.Declares(ctx)
		if err = serr; err == nil {
			err = b.m.Says(says)
		}
		if err != nil {
			_ = p.Close()
		}
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	return p, func() { _ = p.Close(); stop() }, nil
}

// checkMap shows what a built Map would see and yield, and starts it in the jail where this machine has the layers.
func (a *app) checkMap(c *cobra.Command, b *built) error {
	signed := "signed by its author"
	if b.m.Verify() != nil {
		signed = "not signed"
	}
	fmt.Fprintf(a.out, "%s %s, %s, SDK %s: %s\n%s", b.m.Name, b.m.Version, b.m.Contract, b.m.SDK, signed, b.m.Map.Text())
	fmt.Fprintf(a.out, "a subject tells the reducer at most %d bits 信息量上限\n", b.m.Map.Bits())
	p, stop, err := a.mapCell(c.Context(), b)
	switch {
	case err == nil:
		posture := p.Posture().Digest()
		stop()
		fmt.Fprintf(a.out, "started in tier W of the jail, it says what its manifest says; posture SM3 %x\n", posture)
	case sandbox.KindOf(err) == sandbox.Unavailable:
		fmt.Fprintf(a.out, "SKIPPED: not started in the jail: %v\n", err)
	default:
		return err
	}
	made := dryrun.MapCatalogue(*b.m.Map, nil)
	use := query.MapUse{Scenario: "sc-check", Purpose: "check", Dataset: sandbox.DatasetID(b.m.Map.Dataset), Cells: 1, Outputs: []sandbox.Measure{{Name: "subjects", Func: sandbox.Subjects}, {Name: "yields", Func: sandbox.Count}}}
	for _, x := range b.m.Map.Columns {
		use.Columns = append(use.Columns, catalog.Column{Name: x.Name, Type: catalog.Type(x.Type), Scale: x.Scale})
	}
	for _, g := range b.m.Map.Groups {
		use.Groups, use.Cells = append(use.Groups, g.Name), use.Cells*int64(len(g.Labels))
	}
	for _, v := range b.m.Map.Values {
		use.Outputs = append(use.Outputs, sandbox.Measure{Name: v.Name, Func: sandbox.MeasureFunc(v.Of), Unit: v.Unit, Scale: v.Scale})
	}
	d, reasons := query.DeriveMap(sandbox.Party{}, use, made.Sets, made.List)
	if len(reasons) > 0 {
		return &refused{sandbox.Decision{Reasons: reasons}}
	}
	fmt.Fprintln(a.out, "over a catalogue made of its declaration, in which everything is allowed; what owners allow: opdomain query explain --program")
	fmt.Fprint(a.out, d.ExplainMap(use).Text())
	return nil
}

// mapOutcome is a trial as --json prints it.
type mapOutcome struct {
	People     int        `json:"people"`
	Faults     int        `json:"faults"`
	Withheld   string     `json:"withheld,omitempty"`
	Suppressed int        `json:"suppressed"`
	Result     []byte     `json:"result_sm3,omitempty"`
	Head       []string   `json:"head,omitempty"`
	Rows       [][]string `json:"rows,omitempty"`
}

// runMap runs a built Map on made rows, in the jail, and through the gate's rules.
func (a *app) runMap(c *cobra.Command, dir string, b *built, seed uint64, rows int) error {
	d, err := a.draft(dir)
	if err != nil {
		return err
	}
	p, stop, err := a.mapCell(c.Context(), b)
	if err != nil {
		return err
	}
	defer stop()
	made := dryrun.MapCatalogue(*b.m.Map, d.Samples)
	trial := dryrun.Run{Data: made.Generate(seed, rows), List: made.List, Params: egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10}}
	out, err := trial.Map(c.Context(), b.m.Name, *b.m.Map, p)
	if err != nil {
		if r := jail.ReasonOf(err); r != "" {
			return &sandbox.Error{Op: "algo run", Kind: sandbox.Invalid, Object: b.m.Name, Detail: "the Map did not end well: " + string(r), Err: err, Hint: "in a domain its asker would see one code, and its reviewers this reason"}
		}
		return err
	}
	x := mapOutcome{People: out.People, Faults: out.Faults, Withheld: out.Withheld, Suppressed: out.Suppressed, Head: out.Table.Head, Rows: out.Table.Rows}
	if out.Withheld == "" {
		digest := sm.Sum(out.Result)
		x.Result = digest[:]
	}
	return a.show(x, func(w io.Writer) {
		fmt.Fprintf(w, "%d people, one at a time; the Map failed for %d, who are in no cell 故障主体\n", x.People, x.Faults)
		if x.Withheld != "" {
			fmt.Fprintln(w, "withheld by the gate 不予出域:", x.Withheld)
			return
		}
		fmt.Fprintf(w, "%d groups, %d suppressed 抑制; result SM3 %x\n", out.Cells, x.Suppressed, x.Result)
		printFilled(w, out.Table)
	})
}

// printMap prints what an approved Map would do, and says whether it is one.
func (a *app) printMap(w io.Writer, x api.AlgorithmExplanation) bool {
	var plan struct {
		Contract manifest.Contract `json:"contract"`
	}
	if json.Unmarshal(x.Plan, &plan) != nil || plan.Contract != manifest.Map {
		return false
	}
	for _, q := range x.Questions {
		if q.Decision.Allow {
			fmt.Fprintln(w, "allowed 准予: engine", q.Decision.Engine, "class", q.Decision.Class)
		}
		fmt.Fprint(w, q.Text)
	}
	return true
}

// newMap makes a folder with a Map's template.
func (a *app) newMap(dir, name, author string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return &sandbox.Error{Op: "algo new", Kind: sandbox.Conflict, Object: dir, Detail: "the folder exists, or cannot be made", Hint: "name a new folder"}
	}
	var failed error
	for file, text := range map[string]string{"main.go": mapTemplate, "main_test.go": mapTestTemplate, "go.mod": moduleTemplate, algoFile: mapDraftTemplate, "README.md": mapReadmeTemplate} {
		text = strings.NewReplacer("NAME", name, "AUTHOR", author).Replace(text)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			failed = errors.Join(failed, unwritten("algo new", filepath.Join(dir, file)))
		}
	}
	if failed == nil {
		fmt.Fprintf(a.out, "%s made: edit %s, then\n  opdomain algo build %s\n  opdomain algo check %s\n  opdomain algo run --local %s\n", dir, filepath.Join(dir, "main.go"), dir, dir, dir)
	}
	return failed
}

// What opdomain algo new --contract map writes.
const (
	mapDraftTemplate = `{
  "name": "NAME",
  "version": "0.1.0",
  "title": "每人就诊次数与费用",
  "author": "AUTHOR",
  "contract": "map",
  "limits": {"memory_mib": 512, "seconds": 60},
  "samples": {"kind": ["inpatient", "outpatient"]}
}
`
	mapTemplate = `// Command NAME is a Map (逐主体映射): its code sees the rows of one person at a time, in a wasm module whose memory is thrown away after each, and
// yields numbers for groups that are declared. The domain clips and rounds them, adds them up with the evidence that its gate needs, and
// nothing else leaves. go doc github.com/opdomain/opdomain/sandbox/algo/mapper
package main

import "github.com/opdomain/opdomain/sandbox/algo/mapper"

func main() {}

func init() { mapper.Handle(declaration, visits) }

// declaration is all that the code may see and yield. Its author signs it with the manifest, and the domain holds the code to it.
var declaration = mapper.Declaration{
	Dataset: "claims",
	Columns: []mapper.Column{{Name: "kind", Type: "text"}, {Name: "amount", Type: "money"}},
	Groups:  []mapper.Group{{Name: "stays", Labels: []string{"none", "one", "more"}}},
	Values:  []mapper.Value{{Name: "cost", Of: mapper.Mean, Unit: "元", Scale: 2, Min: 0, Max: 5_000_000, Step: 10_000}},
	Yields:  1,
}

// visits yields, by how many stays in hospital a person had, what all visits of the person cost.
func visits(s *mapper.Subject, y *mapper.Yields) {
	stays, cost := 0, int64(0)
	for r := range s.Rows() {
		if kind, ok := s.Text(r, 0); ok && kind == "inpatient" {
			stays++
		}
		if fen, ok := s.Int(r, 1); ok {
			cost += fen
		}
	}
	y.Yield([]int{min(stays, 2)}, cost)
}
`
	mapTestTemplate = `package main

import (
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

func TestVisits(t *testing.T) {
	w := mapper.NewWriter(2)
	for _, fen := range []int64{120_000, 30_000} {
		w.Row()
		w.Text("inpatient")
		w.Int(fen)
	}
	got, err := mapper.Run(visits, w.Bytes(), &declaration)
	if err != nil || len(got) != 1 || got[0].Labels[0] != 2 || got[0].Values[0] != 150_000 {
		t.Errorf("%v %v", got, err)
	}
}
`
	mapReadmeTemplate = "# NAME\n\n" +
		"A Map for an opdomain domain. What it sees and yields stands in `main.go`, who writes it in `algorithm.json`, with texts that made rows have.\n\n" +
		"```\nopdomain algo build .          # wasm, reproducible; writes build/manifest.json\n" +
		"opdomain algo check .          # what it sees and yields, started in the jail\nopdomain algo run --local .    # on made rows, in the jail, through the gate's rules\n" +
		"opdomain algo sign --as ID .   # as its author\n```\n\n" +
		"本算法逐人执行：代码一次只看到一个人的记录，在每人之间清空内存的 wasm 模块中运行，仅产出已声明分组内的有界数值；合并、抑制与出域由授权运营域完成。\n"
)
