// Package manifest is what an algorithm says of itself (算法清单): name, version, contract, the digest of its image, the columns and operators it
// needs, what it gives and within which limits, signed by its author. The agency approves manifest, image and, of a Program, the graph that
// the image records; anything else does not start. 依据: 龙华区实施方案 六(二)2.
//
// A manifest has one encoding, JSON without spaces in the order of the fields, and its SM3 names it. Decode and the checks name the place and
// the rule: *sandbox.Error of kind Invalid, Unsigned for a signature that is not the author's, Tampered for an image of another digest,
// TooLarge over a bound.
package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
)

// Context is what an author's signature is over, beside the manifest.
const Context = "opdomain/algorithm-manifest/v1"

// Contract (算法契约) says what an algorithm may see.
type Contract string

// The contracts.
const (
	Program Contract = "program" // 程序: handles only; recorded before any key opens
	Map     Contract = "map"     // 逐主体映射: one subject's rows at a time, in wasm
	Opaque  Contract = "opaque"  // 不透明: a view of several subjects; its output is always reviewed
)

// sdks are the versions of the SDKs: each contract has its own, with its own form of what goes in and out.
var sdks = map[Contract]string{Program: algo.Version, Map: mapper.Version, Opaque: opaque.Version}

// Manifest (算法清单) is one version of an algorithm.
type Manifest struct {
	Name      string   `json:"name"`
	Version   string   `json:"version"` // 1.2.3
	Title     string   `json:"title,omitempty"`
	Contract  Contract `json:"contract"`
	SDK       string   `json:"sdk"`
	Format    string   `json:"format"` // wasm of a Program and a Map, elf of an Opaque
	Image     []byte   `json:"image"`  // SM3 of its bytes
	Inputs    []Input  `json:"inputs"`
	Operators []string `json:"operators,omitempty"` // of a Program, sorted
	Outputs   []Output `json:"outputs"`

	// Map is what a Map declares: the columns it sees, the groups and values it yields. Inputs and outputs follow from it (DeclareMap).
	Map    *mapper.Declaration `json:"map,omitempty"`
	Opaque *opaque.Declaration `json:"opaque,omitempty"` // of an Opaque algorithm: what it sees and gives

	Limits    Limits `json:"limits"`
	Author    string `json:"author"`
	Key       []byte `json:"key"`                 // the author's SM2 public key
	Signature []byte `json:"signature,omitempty"` // over the manifest without it
}

// Input (输入声明) is a dataset that an algorithm reads, and the columns it needs of it.
type Input struct {
	Name    string        `json:"name"`
	Columns []algo.Column `json:"columns"`
}

// Output (输出声明) is a table or model that comes out, with its class.
type Output struct {
	Name    string        `json:"name"`
	Class   sandbox.Class `json:"class"`
	Groups  []string      `json:"groups,omitempty"`
	Columns []Column      `json:"columns"`
}

// Column (输出列声明) is a column of an output; of a model, a regressor.
type Column struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
}

// Limits (资源上限) are what an algorithm asks for. Of a Program nothing runs but its recording, which the domain bounds by itself.
type Limits struct {
	MemoryMiB int `json:"memory_mib"`
	Seconds   int `json:"seconds"`
	Bits      int `json:"bits,omitempty"` // of an Opaque output: the most it may carry
}

// Bounds of a manifest.
const (
	MaxBytes   = 64 << 10
	MaxImage   = 16 << 20
	maxColumns = 64
)

func bad(at, rule string) error {
	return &sandbox.Error{Op: "manifest", Kind: sandbox.Invalid, Object: at, Detail: rule}
}

// Encode gives the one encoding.
func (m *Manifest) Encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(m); err != nil { // texts, numbers and bytes
		panic("manifest: one that does not encode")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Digest is the SM3 of the encoding, signature included.
func (m *Manifest) Digest() [sm.Size]byte { return sm.Sum(m.Encode()) }

func (m *Manifest) signed() []byte {
	x := *m
	x.Signature = nil
	return x.Encode()
}

// Sign signs as the author whose key it is.
func (m *Manifest) Sign(rand io.Reader, key *sm.SigningKey) error {
	m.Key = key.Public().Bytes()
	sig, err := key.Sign(rand, Context, m.signed())
	m.Signature = sig
	return err
}

// Decode reads a manifest in its one encoding and validates it, its signature too.
func Decode(b []byte) (*Manifest, error) {
	m, err := Draft(b)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(m.Encode(), b) {
		return nil, bad("manifest", "is in its one encoding, as opdomain algo sign writes it")
	}
	if err := m.Verify(); err != nil {
		return nil, err
	}
	return m, nil
}

// Draft reads a manifest that may not be signed yet, in any spacing.
func Draft(b []byte) (*Manifest, error) {
	if len(b) > MaxBytes {
		return nil, &sandbox.Error{Op: "manifest", Kind: sandbox.TooLarge, Object: "manifest", Detail: fmt.Sprintf("at most %d bytes", MaxBytes)}
	}
	if !utf8.Valid(b) {
		return nil, bad("manifest", "is UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	m := new(Manifest)
	if err := dec.Decode(m); err != nil {
		return nil, bad(fmt.Sprintf("manifest byte %d", dec.InputOffset()), "is the JSON object of a manifest, without unknown keys")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("manifest", "ends with its encoding")
	}
	return m, m.Validate()
}

// Verify holds the signature to the key that the manifest names; whose key that is, the agency says by approving it.
func (m *Manifest) Verify() error {
	if len(m.Signature) == 0 {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Unsigned, Object: m.Name, Detail: "an author signs the manifest", Hint: "opdomain algo sign"}
	}
	key, err := sm.ParseVerifyKey(m.Key)
	if err == nil {
		err = key.Verify(Context, m.signed(), m.Signature)
	}
	if err != nil {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Unsigned, Object: m.Name, Detail: "the signature is the author's, over this manifest", Hint: "opdomain algo sign"}
	}
	return nil
}

// Holds says whether an image is the one that the manifest names.
func (m *Manifest) Holds(image []byte) error {
	if len(image) > MaxImage {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.TooLarge, Object: m.Name, Detail: fmt.Sprintf("an image is at most %d bytes", MaxImage)}
	}
	if d := sm.Sum(image); !bytes.Equal(d[:], m.Image) {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Tampered, Object: m.Name, Detail: "the image has the digest that its manifest names", Hint: "opdomain algo build"}
	}
	return nil
}

// Validate checks the form.
func (m *Manifest) Validate() error {
	if err := sandbox.CheckID("name of the algorithm", m.Name); err != nil || len(m.Name) > 40 {
		return bad("name", "an identifier of at most 40 characters")
	}
	if !version(m.Version) {
		return bad("version", "three numbers, such as 1.0.0")
	}
	if m.Title != "" && !text(m.Title) || !text(m.Author) {
		return bad("title, author", "printable text of at most 128 bytes")
	}
	sdk, known := sdks[m.Contract]
	if !known {
		return bad("contract", "program, map or opaque")
	}
	if m.SDK != sdk {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Invalid, Object: "sdk", Detail: "this domain runs algorithms of SDK version " + sdk, Hint: "build it with that version of the SDK"}
	}
	if form := map[Contract]string{Program: "wasm", Map: "wasm", Opaque: "elf"}[m.Contract]; m.Format != form {
		return bad("format", "a program and a map are wasm, an opaque one elf")
	}
	if len(m.Image) != sm.Size {
		return bad("image", "the SM3 of the image's bytes")
	}
	if len(m.Inputs) == 0 || len(m.Inputs) > algo.MaxInputs || len(m.Outputs) == 0 || len(m.Outputs) > algo.MaxTables {
		return bad("inputs, outputs", fmt.Sprintf("1 to %d inputs and 1 to %d outputs", algo.MaxInputs, algo.MaxTables))
	}
	for i, in := range m.Inputs {
		at := fmt.Sprintf("input %d", i+1)
		if sandbox.CheckID(at, in.Name) != nil || len(in.Columns) > maxColumns || slices.ContainsFunc(m.Inputs[:i], func(o Input) bool { return o.Name == in.Name }) {
			return bad(at, fmt.Sprintf("a name of its own and at most %d columns", maxColumns))
		}
		for _, c := range in.Columns {
			if sandbox.CheckID(at, c.Name) != nil || !slices.Contains([]string{"text", "int", "money", "number", "date", "bool"}, c.Type) || c.Scale < 0 || c.Scale > algo.MaxScale {
				return bad(at, "a column has a name, a type and at most 9 decimals")
			}
		}
	}
	for i, o := range m.Outputs {
		at := fmt.Sprintf("output %d", i+1)
		if sandbox.CheckID(at, o.Name) != nil || slices.ContainsFunc(m.Outputs[:i], func(x Output) bool { return x.Name == o.Name }) {
			return bad(at, "a name of its own")
		}
		if len(o.Columns) == 0 || len(o.Columns) > algo.MaxOutputs || slices.ContainsFunc(o.Columns, func(c Column) bool { return !text(c.Name) }) {
			return bad(at, fmt.Sprintf("1 to %d named columns", algo.MaxOutputs))
		}
		ok := o.Class == sandbox.ClassA || o.Class == sandbox.ClassD
		switch m.Contract {
		case Map:
			ok = o.Class == sandbox.ClassA
		case Opaque:
			ok = o.Class == sandbox.ClassD || o.Class == sandbox.ClassF
		}
		if !ok {
			return bad(at, "a program gives class A or D, a map A, an opaque one D or F")
		}
	}
	if l := m.Limits; l.MemoryMiB < 16 || l.MemoryMiB > 4096 || l.Seconds < 1 || l.Seconds > 3600 || l.Bits < 0 || l.Bits > 1<<24 || (m.Contract == Opaque) != (l.Bits > 0) {
		return bad("limits", "16 to 4096 MiB and 1 to 3600 seconds; an opaque one has a cap of bits, and no other")
	}
	if err := m.declared(); err != nil {
		return err
	}
	return m.opaque()
}

// DeclareMap says of a Map what its declaration says: its one input, and its one table, of which the domain adds the numbers of people and of yields.
func (m *Manifest) DeclareMap(d mapper.Declaration) {
	in, out := Input{Name: d.Dataset}, Output{Name: d.Dataset, Class: sandbox.ClassA, Columns: []Column{{Name: "subjects"}, {Name: "yields"}}}
	for _, c := range d.Columns {
		in.Columns = append(in.Columns, algo.Column{Name: c.Name, Type: c.Type, Scale: c.Scale})
	}
	for _, g := range d.Groups {
		out.Groups = append(out.Groups, g.Name)
	}
	for _, v := range d.Values {
		out.Columns = append(out.Columns, Column{v.Name, v.Unit})
	}
	m.Map, m.Inputs, m.Operators, m.Outputs = &d, []Input{in}, nil, []Output{out}
}

// declared holds a Map's manifest to its declaration, and every other to having none.
func (m *Manifest) declared() error {
	if m.Contract != Map {
		if m.Map != nil {
			return bad("map", "a declaration is a Map's, and no other's")
		}
		return nil
	}
	if m.Map == nil {
		return bad("map", "a Map carries its declaration")
	}
	if err := m.Map.Check(); err != nil {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Invalid, Object: "map", Err: err}
	}
	x := *m
	x.DeclareMap(*m.Map)
	if !same(m.Inputs, x.Inputs) || !same(m.Outputs, x.Outputs) || len(m.Operators) > 0 {
		return bad("inputs, outputs", "of a Map those of its declaration, and no operators")
	}
	return nil
}

// Says holds what a Map's module says of itself, when it is started, to the manifest: a module that lies does not run.
func (m *Manifest) Says(declaration []byte) error {
	if m.Contract != Map || m.Map == nil || !bytes.Equal(m.Map.Encode(), declaration) {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Invalid, Object: "map", Detail: "what the module says of itself is the declaration that its manifest carries", Hint: "opdomain algo build"}
	}
	return nil
}

// same compares by encoding: an empty list and none are one.
func same(a, b any) bool {
	p, err := json.Marshal(a)
	q, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(p, q)
}

// Describe says of a recorded graph what a manifest says of a Program: inputs, operators and outputs.
func (m *Manifest) Describe(g *algo.Graph, t *algo.Types) {
	m.Inputs, m.Operators, m.Outputs = nil, nil, nil
	for _, i := range t.Inputs {
		m.Inputs = append(m.Inputs, Input{g.Nodes[i].Name, append([]algo.Column{}, g.Nodes[i].Columns...)})
	}
	for _, n := range g.Nodes {
		if !slices.Contains(m.Operators, string(n.Op)) {
			m.Operators = append(m.Operators, string(n.Op))
		}
	}
	slices.Sort(m.Operators)
	for _, i := range t.Sinks {
		n := g.Nodes[i]
		o := Output{Name: n.Name, Class: sandbox.ClassA}
		if n.Op == algo.OpRevealModel {
			o.Class = sandbox.ClassD
			for _, x := range g.Nodes[n.Args[0]].Args[2:] {
				o.Columns = append(o.Columns, Column{g.Nodes[x].Name, t.Of[x].Unit})
			}
		} else {
			o.Groups = append(o.Groups, g.Nodes[n.Args[0]].Names...)
			for k, a := range n.Args[1:] {
				o.Columns = append(o.Columns, Column{n.Names[k], t.Of[a].Unit})
			}
		}
		m.Outputs = append(m.Outputs, o)
	}
}

// Match holds a recorded graph to what the manifest says: the graph decides nothing that its manifest does not declare.
func (m *Manifest) Match(g *algo.Graph, t *algo.Types) error {
	if m.Contract != Program {
		return bad("contract", "a graph is recorded of a program")
	}
	if g.Program != m.Name {
		return bad("name", "the Program records under the name that the manifest has")
	}
	x := *m
	x.Describe(g, t)
	for _, f := range []struct {
		at   string
		a, b any
	}{{"inputs", m.Inputs, x.Inputs}, {"operators", m.Operators, x.Operators}, {"outputs", m.Outputs, x.Outputs}} {
		if !same(f.a, f.b) {
			return &sandbox.Error{Op: "manifest", Kind: sandbox.Invalid, Object: f.at, Detail: "what the Program records has the " + f.at + " that its manifest declares", Hint: "opdomain algo build"}
		}
	}
	return nil
}

func text(s string) bool {
	return s != "" && len(s) <= 128 && !slices.ContainsFunc([]rune(s), func(r rune) bool { return !unicode.IsPrint(r) })
}

// version is three numbers of at most 4 digits, without leading zeros.
func version(s string) bool {
	var a, b, c uint16
	n, err := fmt.Sscanf(s, "%d.%d.%d", &a, &b, &c)
	return err == nil && n == 3 && s == fmt.Sprintf("%d.%d.%d", a, b, c)
}
