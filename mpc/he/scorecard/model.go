package scorecard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

// Context is what a secret is sealed under, to the domain and from it.
const Context = "opdomain/scoring-secret/v1"

// SaltSize is the size of a secret's salt in bytes.
const SaltSize = 32

// Weighted (加权特征) is a feature with its weight, in score per unit of the feature.
type Weighted struct {
	attest.ScoringFeature
	Weight float64 `json:"weight"`
}

// File (评分模型文件) is a scoring model at its owner's: whoever has it has the weights.
type File struct {
	Name     string            `json:"name"`
	Version  string            `json:"version"` // 1.0.0
	Title    string            `json:"title,omitempty"`
	Link     he.Link           `json:"link"`
	Bias     float64           `json:"bias"`
	Features []Weighted        `json:"features"`
	Trained  sandbox.ReleaseID `json:"trained,omitempty"` // the release of the class D result that it was made of
	Salt     []byte            `json:"salt"`
}

// String keeps weights out of logs.
func (f File) String() string {
	return fmt.Sprintf("scoring model %s-%s (redacted)", f.Name, f.Version)
}

// Secret (模型参数) are weights and bias of a model with the salt of its commitment.
type Secret struct {
	Weights []float64 `json:"weights"`
	Bias    float64   `json:"bias"`
	Salt    []byte    `json:"salt"`
}

// String keeps weights out of logs.
func (Secret) String() string { return "scoring secret (redacted)" }

// GoString keeps weights out of logs.
func (Secret) GoString() string { return "scoring secret (redacted)" }

func bad(object, rule string) error {
	return &sandbox.Error{Op: "scoring model", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// ID names one version of a model.
func ID(name, version string) sandbox.ModelID { return sandbox.ModelID(name + "-" + version) }

// Commitment is HMAC-SM3 of a secret under its salt.
func (s Secret) Commitment() []byte {
	d := sm.HMAC(s.Salt, sm.Frame([]byte(Context), s.Encode()))
	return d[:]
}

// Encode writes a secret in its one form.
func (s Secret) Encode() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("scorecard: a secret that was checked has finite numbers")
	}
	return b
}

// Secret takes the secret part of a file that was checked.
func (f *File) Secret() Secret {
	s := Secret{Bias: f.Bias, Salt: f.Salt}
	for _, x := range f.Features {
		s.Weights = append(s.Weights, x.Weight)
	}
	return s
}

// Filing takes what its owner signs, dated at.
func (f *File) Filing(at time.Time) attest.ScoringModelFiling {
	out := attest.ScoringModelFiling{Name: f.Name, Version: f.Version, Title: f.Title, Link: string(f.Link), Trained: f.Trained, Commitment: f.Secret().Commitment(), At: at}
	for _, x := range f.Features {
		out.Features = append(out.Features, x.ScoringFeature)
	}
	return out
}

// Check refuses a file that is no model that can be filed: Invalid for its form, *he.Refused for a score outside what encrypted scoring computes.
func (f *File) Check() error {
	if len(f.Salt) != SaltSize {
		return bad("salt", "32 random bytes")
	}
	filing := f.Filing(time.Time{})
	if err := CheckForm(&filing); err != nil {
		return err
	}
	_, err := Restore(&filing, f.Secret().Encode())
	return err
}

// CheckForm refuses a filing whose form no asker could use. Features are named like columns of the catalogue.
func CheckForm(f *attest.ScoringModelFiling) error {
	if err := sandbox.CheckID("name", f.Name); err != nil {
		return err
	}
	if err := sandbox.CheckID("name and version", string(ID(f.Name, f.Version))); err != nil {
		return err
	}
	if f.Trained != "" {
		if err := sandbox.CheckID("trained", string(f.Trained)); err != nil {
			return err
		}
	}
	switch {
	case !version(f.Version):
		return bad("version", "three numbers of at most 4 digits, 1.0.0")
	case !text(f.Title, 128):
		return bad("title", "at most 128 bytes of printable text")
	case f.Link != string(he.LinearLink) && f.Link != string(he.LogisticLink):
		return bad("link", "linear or logistic")
	case len(f.Features) == 0 || len(f.Features) > he.MaxFeatures:
		return bad("features", fmt.Sprintf("1 to %d", he.MaxFeatures))
	case len(f.Commitment) != sm.Size:
		return bad("commitment", "HMAC-SM3, 32 bytes")
	}
	seen := map[string]bool{}
	for i, x := range f.Features {
		at := fmt.Sprintf("feature %d", i+1)
		if err := sandbox.CheckID(at, x.Name); err != nil {
			return err
		}
		switch {
		case seen[x.Name]:
			return bad(at, "a feature is named once")
		case !text(x.Unit, 32):
			return bad(at, "a unit is at most 32 bytes of printable text")
		case !(x.Min < x.Max) || math.IsInf(x.Min, 0) || math.IsInf(x.Max, 0):
			return bad(at, "a range has a least value below its largest")
		}
		seen[x.Name] = true
	}
	return nil
}

func text(s string, most int) bool {
	return len(s) <= most && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// version is three numbers of at most 4 digits, without leading zeros.
func version(s string) bool {
	var a, b, c uint16
	n, err := fmt.Sscanf(s, "%d.%d.%d", &a, &b, &c)
	return err == nil && n == 3 && a < 10000 && b < 10000 && c < 10000 && s == fmt.Sprintf("%d.%d.%d", a, b, c)
}

// Ranges gives how large each feature may be in size, which is what an asker's encryption divides by.
func Ranges(features []attest.ScoringFeature) []float64 {
	out := make([]float64, len(features))
	for i, x := range features {
		out[i] = max(math.Abs(x.Min), math.Abs(x.Max))
	}
	return out
}

// Restore makes the model of a form and its secret: Tampered for a secret that is not the one committed to, *he.Refused for a model outside
// what encrypted scoring computes.
func Restore(f *attest.ScoringModelFiling, secret []byte) (*he.Model, error) {
	var s Secret
	dec := json.NewDecoder(bytes.NewReader(secret))
	dec.DisallowUnknownFields()
	err := dec.Decode(&s)
	if _, end := dec.Token(); err != nil || end != io.EOF || len(s.Salt) != SaltSize {
		return nil, bad("secret", "{weights, bias, salt} with a salt of 32 bytes")
	}
	if len(s.Weights) != len(f.Features) {
		return nil, bad("secret", "has a weight for each feature")
	}
	if !bytes.Equal(s.Commitment(), f.Commitment) || !bytes.Equal(s.Encode(), secret) {
		return nil, &sandbox.Error{Op: "scoring model", Kind: sandbox.Tampered, Object: "secret", Detail: "it is the one that its owner committed to"}
	}
	m := &he.Model{Weights: s.Weights, Bias: s.Bias, Ranges: Ranges(f.Features), Link: he.Link(f.Link)}
	if why := m.Check(); len(why) > 0 {
		return nil, &he.Refused{Reasons: why}
	}
	return m, nil
}

// Span is how far the score of a file's model can lie from zero over the ranges of its features; at most he.Span is accepted.
func (f *File) Span() float64 {
	z := math.Abs(f.Bias)
	for _, x := range f.Features {
		z += math.Abs(x.Weight) * max(math.Abs(x.Min), math.Abs(x.Max))
	}
	return z
}

// Plain (明文评分) is the model in plain arithmetic, for one customer's features in the order of the file.
func (f *File) Plain(features []float64) float64 {
	z := f.Bias
	for i, x := range f.Features {
		z += x.Weight * features[i]
	}
	if f.Link == he.LogisticLink {
		return 1 / (1 + math.Exp(-z))
	}
	return z
}
