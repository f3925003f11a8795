package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/jail"
)

// printChart prints a chart of class F as people read it.
func printChart(w io.Writer, payload []byte) {
	c, err := egress.DecodeChart(payload)
	if err != nil {
		fmt.Fprintln(w, "a chart in another form")
		return
	}
	head, rows := c.Table()
	fmt.Fprintf(w, "%s  图表, %d of at most %d rows\n", c.Name, len(rows), c.Most)
	fmt.Fprintln(w, "  "+strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintln(w, "  "+strings.Join(r, "\t"))
	}
}

// buildOpaque builds a native image, asks it for its declaration as its author, and writes its manifest.
func (a *app) buildOpaque(c *cobra.Command, dir string, d draft, sdk string, env []string) error {
	out := filepath.Join(dir, algoBuilt)
	path := filepath.Join(out, d.Name+".elf")
	args := []string{"build"}
	if sdk != "" {
		tmp, err := sdkModule(dir, sdk)
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(filepath.Dir(tmp)) }()
		args, env = append(args, "-mod=mod", "-modfile="+tmp), append(env, "GOWORK=off")
	}
	if err := a.compiled(c, dir, path, append(env, "GOOS=linux"), args...); err != nil {
		return err
	}
	image, err := os.ReadFile(path)
	if err != nil {
		return unwritten("algo build", path)
	}
	// The author's own code on the author's own machine; whoever approves it runs it in the jail alone.
	ctx, cancel := context.WithTimeout(c.Context(), 10*time.Second)
	defer cancel()
	full, err := filepath.Abs(path)
	if err != nil {
		return unwritten("algo build", path)
	}
	said, err := exec.CommandContext(ctx, full, "declare").Output()
	if err != nil || len(said) > manifest.MaxBytes {
		return &sandbox.Error{Op: "algo build", Kind: sandbox.Invalid, Object: d.Name, Detail: "the image does not print its declaration", Hint: "main calls opaque.Main; it is built and run here on linux"}
	}
	var decl opaque.Declaration
	dec := json.NewDecoder(bytes.NewReader(said))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&decl); err != nil {
		return &sandbox.Error{Op: "algo build", Kind: sandbox.Invalid, Object: d.Name, Detail: "the image prints another declaration than this SDK's", Hint: "build it with this version of the SDK"}
	}
	digest := sm.Sum(image)
	m := manifest.Manifest{Name: d.Name, Version: d.Version, Title: d.Title, Contract: d.Contract, SDK: opaque.Version, Format: "elf", Image: digest[:], Author: d.Author, Limits: d.Limits}
	m.DeclareOpaque(decl)
	if err := m.Validate(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, algoManifest), m.Encode(), 0o644); err != nil {
		return unwritten("algo build", out)
	}
	fmt.Fprintf(a.out, "%s\n  image %x, %d bytes\n  %s: not signed yet; opdomain algo sign --as IDENTITY %s\n", path, digest, len(image), filepath.Join(out, algoManifest), dir)
	return nil
}

// sdkModule writes a go.mod beside the author's, in a folder of its own, with the checkout in the place of the SDK's module and with its requirements: what
// an Opaque algorithm links is more than the standard library, and a workspace would load all that these once required.
func sdkModule(dir, sdk string) (string, error) {
	at, err := filepath.Abs(sdk)
	if err != nil {
		return "", err
	}
	own, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		return "", &sandbox.Error{Op: "algo build", Kind: sandbox.NotFound, Object: filepath.Join(dir, "go.mod"), Detail: "no module", Hint: "opdomain algo new --contract opaque writes one"}
	}
	mod, err := os.ReadFile(filepath.Join(at, "go.mod"))
	sums, err2 := os.ReadFile(filepath.Join(at, "go.sum"))
	if err != nil || err2 != nil {
		return "", usageError{invalid("--sdk", "a folder with a checkout of opdomain", "name the folder that holds its go.mod")}
	}
	if more, err := os.ReadFile(filepath.Join(dir, "go.sum")); err == nil {
		sums = append(sums, more...)
	}
	text := bytes.NewBuffer(bytes.Clone(own))
	in := false
	for line := range strings.Lines(string(mod)) {
		if in = in || strings.HasPrefix(line, "require ("); in {
			text.WriteString(line)
		}
		in = in && !strings.HasPrefix(line, ")")
	}
	fmt.Fprintf(text, "\nreplace github.com/opdomain/opdomain => %q\n", at)
	tmp, err := os.MkdirTemp("", "opdomain-algo-")
	if err != nil {
		return "", unwritten("algo build", os.TempDir())
	}
	path := filepath.Join(tmp, "go.mod")
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return "", unwritten("algo build", path)
	}
	return path, os.WriteFile(filepath.Join(tmp, "go.sum"), sums, 0o600)
}

// opaqueBits counts what the output of an Opaque algorithm may carry, as the domain does.
func opaqueBits(m *manifest.Manifest) (bits int, err error) {
	if m.Opaque.Chart == nil {
		return m.Limits.Bits, nil
	}
	c := localChart(m.Opaque.Chart, nil)
	b, err := egress.EncodeChart(c)
	if err == nil {
		err = egress.Scan(sandbox.ClassF, "q", b)
	}
	return int((c.MilliBits() + 999) / 1000), err
}

func localChart(d *opaque.Chart, rows []opaque.Row) egress.Chart {
	c := egress.Chart{Question: "q", Name: d.Name, Most: d.Rows}
	for _, l := range d.Labels {
		c.Labels = append(c.Labels, egress.ChartLabel{Name: l.Name, Of: l.Of})
	}
	for _, v := range d.Values {
		c.Values = append(c.Values, egress.ChartValue{Name: v.Name, Unit: v.Unit, Scale: v.Scale, Min: v.Min, Max: v.Max, Step: v.Step})
	}
	for _, r := range rows {
		c.Rows = append(c.Rows, egress.ChartRow{Labels: r.Labels, Values: r.Values})
	}
	return c
}

// checkOpaque shows what an Opaque algorithm would see and might give.
func (a *app) checkOpaque(b *built) error {
	m, signed := b.m, "signed by its author"
	if m.Verify() != nil {
		signed = "not signed"
	}
	bits, err := opaqueBits(m)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s %s, %s, SDK %s: %s\n", m.Name, m.Version, m.Contract, m.SDK, signed)
	fmt.Fprintf(a.out, "sees 可见: several subjects of %s at once, columns", m.Opaque.Input)
	for _, c := range m.Opaque.Columns {
		fmt.Fprintf(a.out, " %s (%s)", c.Name, c.Type)
	}
	fmt.Fprintf(a.out, "\ngives 输出: class %s, at most %d bits of %d allowed; two reviewers of two organisations judge it always\n", m.Outputs[0].Class, bits, m.Limits.Bits)
	if ch := m.Opaque.Chart; ch != nil {
		for _, l := range ch.Labels {
			fmt.Fprintf(a.out, "  %s: %s\n", l.Name, strings.Join(l.Of, ", "))
		}
		for _, v := range ch.Values {
			fmt.Fprintf(a.out, "  %s %s: %d to %d in steps of %d, scale %d\n", v.Name, v.Unit, v.Min, v.Max, v.Step, v.Scale)
		}
	}
	fmt.Fprintln(a.out, "forms 数据形态: grade 1 as it is (use plain); grade 2 in a view that its unit signed, tier T1; grade 3 and rows of people in a k-anonymous view, tier T2; grade 4 never")
	if bits > m.Limits.Bits {
		return &sandbox.Error{Op: "algo check", Kind: sandbox.Invalid, Object: "limits.bits", Detail: fmt.Sprintf("the output may carry %d bits, and the manifest allows %d", bits, m.Limits.Bits), Hint: "declare fewer rows, fewer labels or larger steps, or a larger cap"}
	}
	return nil
}

// runOpaque runs an Opaque algorithm on made rows: in the jail where this machine has its layers, and says so where not.
func (a *app) runOpaque(c *cobra.Command, b *built, seed uint64, rows int) error {
	d := b.m.Opaque
	w := opaque.NewWriter(d, true)
	r := dryrun.NewNumbers(seed)
	for range rows {
		if !w.Row(r.Below(5) > 0) {
			break
		}
		for k, col := range d.Columns {
			madeCell(w, r, k, col)
		}
	}
	l, err := jail.New(jail.Config{})
	if err != nil {
		return err
	}
	defer l.Close()
	if m := l.Probe().Missing(jail.T1); len(m) > 0 {
		return &sandbox.Error{Op: "algo run", Kind: sandbox.Unavailable, Object: m[0].Name, Detail: "this machine lacks a layer of tier T1, and foreign code runs in it alone: " + m[0].Detail, Hint: "opdomain doctor says what a machine must have; the function itself can be tested by opaque.Answer"}
	}
	img, err := jail.NewImage(bytes.NewReader(b.image), sm.Sum(b.image))
	if err != nil {
		return err
	}
	defer img.Close()
	runs := &jail.Runs{Launcher: l, Tier: jail.T1, Image: img, Limits: jail.Limits{Memory: int64(b.m.Limits.MemoryMiB) << 20, Wall: time.Duration(b.m.Limits.Seconds) * time.Second, Message: opaque.MaxOutput + 1024}}
	var given [2][]byte
	for i := range given {
		if given[i], err = runs.Answer(c.Context(), func(to io.Writer) error { return w.Write(to, seed) }); err != nil {
			return err
		}
	}
	if !bytes.Equal(given[0], given[1]) {
		return &sandbox.Error{Op: "algo run", Kind: sandbox.Invalid, Object: b.m.Name, Detail: "the same seed and input give other bytes", Hint: "take randomness from View.Seed, and sum in an order of its own"}
	}
	fmt.Fprintf(a.out, "ran in %s, twice, on %d made rows of %d subjects; posture SM3 %x; output SM3 %x; %d bytes printed and thrown away\n", runs.Tier, w.Rows(), w.Subjects(), runs.Posture.Digest(), sm.Sum(given[0]), runs.Output)
	if d.Model != nil {
		model, err := opaque.ReadModel(given[0], d)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "a model of %d bytes, which the domain's gate parses and attacks: opdomain egress model\n", len(model))
		return nil
	}
	out, err := opaque.ReadChart(given[0], d)
	if err != nil {
		return err
	}
	payload, err := egress.EncodeChart(localChart(d.Chart, out))
	if err == nil {
		err = egress.Scan(sandbox.ClassF, "q", payload)
	}
	if err != nil {
		return err
	}
	if a.json {
		return a.show(json.RawMessage(payload), nil)
	}
	printChart(a.out, payload)
	return nil
}

// madeCell makes a cell: a tenth missing, numbers around a few places, texts of a few.
func madeCell(w *opaque.Writer, r *dryrun.Numbers, k int, col opaque.Column) {
	if r.Below(10) == 0 {
		w.Missing(k)
		return
	}
	switch col.Type {
	case "text":
		w.Text(k, string(rune('A'+r.Below(8))))
	case "bool":
		w.Int(k, int64(r.Below(2)))
	case "date":
		w.Int(k, int64(18_000+r.Below(2000)))
	default:
		w.Int(k, int64(5000*(1+r.Below(4))+r.Below(800)))
	}
}

const (
	opaqueDraftTemplate = `{
  "name": "NAME",
  "version": "0.1.0",
  "title": "企业规模分布",
  "author": "AUTHOR",
  "contract": "opaque",
  "limits": {"memory_mib": 128, "seconds": 30, "bits": 64}
}
`
	opaqueTemplate = `// Command NAME is an Opaque algorithm (不透明算法): native code that sees the rows of several subjects in a sealed view and gives one declared chart,
// which the domain clips, quantises and sorts, and two reviewers judge. go doc github.com/opdomain/opdomain/sandbox/algo/opaque
package main

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox/algo/opaque"
)

func main() { opaque.Main(declaration, program) }

var declaration = opaque.Declaration{
	Input:   "firms",
	Columns: []opaque.Column{{Name: "industry", Type: "text"}, {Name: "employees", Type: "int"}},
	Chart: &opaque.Chart{Name: "sizes", Rows: 3,
		Labels: []opaque.Label{{Name: "third", Of: []string{"smallest", "middle", "largest"}}},
		Values: []opaque.Value{{Name: "up_to", Unit: "people", Min: 0, Max: 100000, Step: 100}}},
}

// program gives how large firms are up to each third of them.
func program(v *opaque.View, out *opaque.Output) error {
	var staff []int64
	for r := range v.Rows() {
		if n, ok := v.Int(r, 1); ok {
			staff = append(staff, n)
		}
	}
	if len(staff) < 30 {
		return nil // too few to say anything of
	}
	slices.Sort(staff)
	for i := range 3 {
		if err := out.Row([]int{i}, staff[(i+1)*len(staff)/3-1]); err != nil {
			return err
		}
	}
	return nil
}
`
	opaqueReadmeTemplate = "# NAME\n\n" +
		"An Opaque algorithm for an opdomain domain. What it sees and gives stands in `main.go`, who writes it in `algorithm.json`.\n\n" +
		"```\nopdomain algo build .          # a static native image, reproducible; writes build/manifest.json\n" +
		"opdomain algo check .          # what it would see, and how many bits it may carry\nopdomain algo run --local .    # on made rows, twice, in the jail where this machine has its layers\n" +
		"opdomain algo sign --as ID .   # as its author\n```\n\n" +
		"本程序在隔离环境中一次看到多个主体的脱敏视图，只给出一张事先声明的图表；域对其截断、取整、排序并重新编码，统计可携带的信息量，须双人审批后出域。\n"
)
