package scorecard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

func credit() File {
	return File{Name: "credit", Version: "1.0.0", Link: he.LogisticLink, Bias: -2.34567, Salt: bytes.Repeat([]byte{7}, SaltSize), Features: []Weighted{
		{attest.ScoringFeature{Name: "age", Unit: "岁", Min: 18, Max: 100}, 0.03}, {attest.ScoringFeature{Name: "debt", Min: -2, Max: 1}, 0.5}}}
}

// TestFile: what a file says comes back from what its owner signs and seals; a bit of either is noticed; nothing prints a weight.
func TestFile(t *testing.T) {
	f := credit()
	if err := f.Check(); err != nil {
		t.Fatal(err)
	}
	filing, secret := f.Filing(time.Unix(0, 0).UTC()), f.Secret().Encode()
	m, err := Restore(&filing, secret)
	if err != nil || m.Bias != f.Bias || !slices.Equal(m.Weights, []float64{0.03, 0.5}) || !slices.Equal(m.Ranges, []float64{100, 2}) || m.Link != f.Link {
		t.Fatalf("%+v %v", m, err)
	}
	if z := -2.34567 + 0.03*61 + 0.5*0.25; math.Abs(f.Plain([]float64{61, 0.25})-1/(1+math.Exp(-z))) > 1e-15 {
		t.Error("the plain model is another")
	}
	if got, want := f.Span(), 2.34567+3+1; math.Abs(got-want) > 1e-12 {
		t.Errorf("a span of %g", got)
	}
	for name, text := range map[string]string{"file": fmt.Sprint(f), "%+v": fmt.Sprintf("%+v", f.Secret()), "%#v": fmt.Sprintf("%#v", f.Secret())} {
		if strings.Contains(text, "0.03") || strings.Contains(text, "2.34") {
			t.Errorf("%s shows weights", name)
		}
	}
	b, err := json.Marshal(filing)
	if err != nil || bytes.Contains(b, []byte("0.03")) || bytes.Contains(b, []byte("2.34")) {
		t.Errorf("a filing shows weights: %v", err)
	}
	for name, x := range map[string]struct {
		secret string
		kind   sandbox.Kind
	}{
		"another bias": {strings.Replace(string(secret), "-2.34567", "-2.34568", 1), sandbox.Tampered}, "spaced": {" " + string(secret), sandbox.Tampered},
		"one weight": {strings.Replace(string(secret), "0.03,", "", 1), sandbox.Invalid}, "two values": {string(secret) + "{}", sandbox.Invalid},
		"a field": {strings.Replace(string(secret), `"bias"`, `"x":1,"bias"`, 1), sandbox.Invalid}, "nothing": {"", sandbox.Invalid}, "cut": {string(secret[:20]), sandbox.Invalid},
	} {
		if _, err := Restore(&filing, []byte(x.secret)); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFileRefusals names the place and the rule.
func TestFileRefusals(t *testing.T) {
	for place, change := range map[string]func(*File){
		"name":      func(f *File) { f.Name = "A" },
		"version":   func(f *File) { f.Version = "01.0.0" },
		"title":     func(f *File) { f.Title = "a\nb" },
		"link":      func(f *File) { f.Link = "" },
		"features":  func(f *File) { f.Features = slices.Repeat(f.Features, 200) },
		"feature 1": func(f *File) { f.Features[0].Name = "" },
		"feature 2": func(f *File) { f.Features[1].Name = "age" },
		"trained":   func(f *File) { f.Trained = "../r" },
		"salt":      func(f *File) { f.Salt = nil },
	} {
		f := credit()
		change(&f)
		var e *sandbox.Error
		if err := f.Check(); !errors.As(err, &e) || e.Object != place {
			t.Errorf("%s: %v", place, err)
		}
	}
	for name, change := range map[string]func(*Weighted){"an empty range": func(w *Weighted) { w.Min = w.Max }, "no end": func(w *Weighted) { w.Max = math.Inf(1) }, "no number": func(w *Weighted) { w.Min = math.NaN() },
		"a unit": func(w *Weighted) { w.Unit = "\x00" }} {
		f := credit()
		change(&f.Features[1])
		filing := f.Filing(time.Time{})
		if err := CheckForm(&filing); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := credit()
	f.Features[0].Weight = 0.08
	var r *he.Refused
	if err := f.Check(); !errors.As(err, &r) || r.Reasons[0].Code != "he.range" {
		t.Errorf("a score that leaves ±8: %v", err)
	}
}

// TestCustomers: columns in any order come out in the model's; what is wrong is named by line and column, and no value is.
func TestCustomers(t *testing.T) {
	f := credit()
	features := f.Filing(time.Time{}).Features
	c, err := ReadCustomers(strings.NewReader("\ufeffdebt,who,age\n-2,甲,18\n 0.25 ,乙,61\n1,\"丙\n丁\",100\n"), features, "who")
	if err != nil || c.Rows != 3 || !slices.Equal(c.Columns[0], []float64{18, 61, 100}) || !slices.Equal(c.Columns[1], []float64{-2, 0.25, 1}) || c.Labels[2] != "丙\n丁" || !slices.Equal(c.Row(1), []float64{61, 0.25}) {
		t.Fatalf("%+v %v", c, err)
	}
	if got := c.Range(1, 3); len(got[0]) != 2 || got[1][0] != 0.25 {
		t.Error(got)
	}
	if text := fmt.Sprintf("%v %+v", *c, *c); strings.Contains(text, "61") {
		t.Error("customers are printed")
	}
	for text, want := range map[string]string{
		"":                               "line 1",
		"age\n18\n":                      "line 1",
		"age,debt\n":                     "line 2",
		"age,debt,age\n18,0,18\n":        "line 1, column 3",
		"age,debt,who\n18,0,x\n":         "line 1, column 3",
		"age,debt\n18,0\n777.5,0\n":      "line 3, column age",
		"age,debt\n18,0\n61,-777.5\n":    "line 3, column debt",
		"age,debt\n18,0\n61,777.5x\n":    "line 3, column debt",
		"age,debt\n18,NaN\n":             "line 2, column debt",
		"age,debt\n18,inf\n":             "line 2, column debt",
		"age,debt\n18,\n":                "line 2, column debt",
		"age,debt\n18,0\n61\n":           "line 3",
		"age,debt\n18,0\n\"777.5,0\n":    "line 3",
		"age,debt\n\"18\",\"0\",777.5\n": "line 2",
	} {
		_, err := ReadCustomers(strings.NewReader(text), features, "")
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Object != want || e.Kind != sandbox.Invalid || strings.Contains(err.Error(), "777") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if _, err := ReadCustomers(strings.NewReader("age,debt\n18,0\n"), features, "who"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no column of that name: %v", err)
	}
	if _, err := ReadCustomers(strings.NewReader("age,debt\n18,0\n"), features, "age"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a feature names the rows: %v", err)
	}
}

// TestBatchFits: the largest batch is a body that the interface takes.
func TestBatchFits(t *testing.T) {
	l := he.ScoringLengths()
	base64 := func(n int) int { return (n + 2) / 3 * 4 }
	if size := base64(l.Public) + base64(l.Relinearisation) + MaxBatchFeatures*(base64(l.Feature)+3) + 1024; size > MaxBody {
		t.Errorf("%d bytes", size)
	}
	if size := base64(l.OnePublic) + MaxSingles*(base64(l.One)+3) + 1024; size > MaxBody {
		t.Errorf("%d bytes", size)
	}
}

func FuzzCustomers(f *testing.F) {
	f.Add("age,debt\n18,0\n", "")
	f.Add("\ufeffdebt,who,age\n-2,甲,18\n", "who")
	f.Add("age,debt\n\"18\n", "age")
	m := credit()
	features := m.Filing(time.Time{}).Features
	f.Fuzz(func(t *testing.T, text, label string) {
		c, err := ReadCustomers(strings.NewReader(text), features, label)
		if err != nil {
			return
		}
		for i, col := range c.Columns {
			if len(col) != c.Rows || slices.ContainsFunc(col, func(v float64) bool { return !(v >= features[i].Min && v <= features[i].Max) }) {
				t.Fatal("a value outside its range, or none")
			}
		}
		if label == "" && c.Labels != nil || label != "" && len(c.Labels) != c.Rows {
			t.Fatal("labels of other rows")
		}
	})
}

func FuzzSecret(f *testing.F) {
	m := credit()
	filing := m.Filing(time.Time{})
	f.Add(m.Secret().Encode())
	f.Add([]byte(`{"weights":[1],"bias":0,"salt":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := Restore(&filing, b); err == nil && (got.Bias != m.Bias || !bytes.Equal(b, m.Secret().Encode())) {
			t.Fatal("a secret that was not committed to")
		}
	})
}
