package egress

import (
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

// The outgoing bytes are a published format: they change only with its name.
func TestResultBytes(t *testing.T) {
	c := claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "b"), people(40, 4, "c"), people(60, 20, "d<")))
	got := c.check("q-1")
	want, err := os.ReadFile("testdata/result.json")
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Result) != strings.TrimSuffix(string(want), "\n") {
		t.Errorf("outgoing bytes are\n%s", got.Result)
	}
	// The digest of the file, by another program: openssl dgst -sm3.
	if d := hex.EncodeToString(Digest(got.Result)); d != "fb90a1aaeadc157b2bdaff5854c4c36fc98f11267b3c288013a8ecdd01f45cdb" {
		t.Error(d)
	}
}

func TestDecodeRefusesOtherEncodings(t *testing.T) {
	good := string(claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "b"), people(40, 8, "c"))).check("q-1").Result)
	if _, err := DecodeResult([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"another format":        {"opdomain-result/1", "opdomain-result/2"},
		"an unknown key":        {`"question"`, `"x":1,"question"`},
		"white space":           {`,"question"`, `, "question"`},
		"a key twice":           {`"question":"q-1"`, `"question":"q-1","question":"q-1"`},
		"something after":       {`]}]}`, `]}]}{}`},
		"a hidden number":       {`["b"],"suppressed":true`, `["b"],"values":[3,3,3030],"suppressed":true`},
		"a number missing":      {`"values":[12,12,`, `"values":[12,`},
		"no values":             {`"suppressed":true},{"labels":["c"],"suppressed":true`, `"suppressed":true},{"labels":["c"]`},
		"not sorted":            {`["a"]`, `["z"]`},
		"a group twice":         {`["c"]`, `["b"]`},
		"a label missing":       {`["a"]`, `[]`},
		"a unit of no labels":   {`"measures"`, `"labelUnits":[""],"measures"`},
		"units too many":        {`"measures"`, `"labelUnits":["分",""],"measures"`},
		"an exponent":           {`[12,12,`, `[12,1.2e1,`},
		"another way to say it": {`"a"`, `"\u0061"`},
		"not JSON":              {`{`, ``},
	} {
		b := strings.Replace(good, change[0], change[1], 1)
		if name == "something after" {
			b = good + "{}"
		}
		if b == good {
			t.Fatalf("%s: the test changes nothing", name)
		}
		if _, err := DecodeResult([]byte(b)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	long := strings.Replace(good, `["a"]`, `["`+strings.Repeat("a", MaxResult)+`"]`, 1)
	if _, err := DecodeResult([]byte(long)); !errors.Is(err, sandbox.Invalid) {
		t.Error("any length is read")
	}
	if _, err := DecodeRecord([]byte(good)); !errors.Is(err, sandbox.Invalid) {
		t.Error("a result reads as a record")
	}
}

func TestRecordRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fields := rapid.SliceOfN(rapid.StringMatching(`[a-z]{1,8}`), 1, 5).Draw(t, "fields")
		values := rapid.SliceOfN(rapid.String(), len(fields), len(fields)).Draw(t, "values")
		b, err := EncodeRecord("q-1", fields, values)
		if err != nil {
			t.Fatal(err)
		}
		r, err := DecodeRecord(b)
		if err != nil || !slices.Equal(r.Fields, fields) || !slices.Equal(r.Values, values) || r.Question != "q-1" {
			t.Fatalf("comes back changed: %v", err)
		}
	})
	for _, c := range [][2][]string{{nil, nil}, {{"a"}, nil}, {{"a"}, {"1", "2"}}} {
		if _, err := EncodeRecord("q-1", c[0], c[1]); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%d fields, %d values: %v", len(c[0]), len(c[1]), err)
		}
	}
	for _, b := range []string{`{"format":"opdomain-record/1","question":"q-1","fields":["a"],"values":[]}`, `{"format":"opdomain-record/1","question":"q-1","fields":[],"values":[]}`} {
		if _, err := DecodeRecord([]byte(b)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", b, err)
		}
	}
}

func TestIdentifiersInLabels(t *testing.T) {
	for label, want := range map[string]bool{
		"11010519491231002X":   true,
		"11010519491231002x":   true,
		"110105 19491231 002X": true,
		"110105-19491231-002X": true,
		"１１０１０５１９４９１２３１００２Ｘ":              true,
		"患者11010519491231002X号":           true,
		"X11010519491231002X":             true,
		"110105194912310021":              false, // check character
		"11010519491331002X":              false, // month, and check character
		"13800138000":                     true,
		"手机 138-0013-8000":                true,
		"138·0013·8000":                   true,
		"１３８００１３８０００":                     true,
		"12800138000":                     false, // no such range
		"138001380001":                    false, // a longer number
		"91350100M000100Y43":              true,
		"9135 0100 M000 100Y 43":          true,
		"91350100M000100Y44":              false,
		"":                                false,
		"循环系统疾病":                          false,
		"18-44":                           false,
		"2023-01-01 至 2023-12-31":         false,
		"2023.01.01-2023.12.31":           false,
		"I00-I99":                         false,
		"1000000-1999999":                 false,
		"ABCDEFGHJKLMNPQRTU":              false,
		strings.Repeat("0", 18):           false,
		"其他：" + strings.Repeat("9", 40):   false,
		"13800138000 and 11010519491231X": true,
	} {
		if got := identifier(label); got != want {
			t.Errorf("a label of %d characters reads as an identifier: %v, want %v (%.4s…)", len([]rune(label)), got, want, label)
		}
	}
}

func FuzzDecodeResult(f *testing.F) {
	f.Add(claims(f, slices.Concat(people(0, 12, "a"), people(20, 3, "b"), people(40, 8, "c"))).check("q-1").Result)
	b, err := EncodeRecord("q-1", []string{"a"}, []string{"1"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeResult(b); err == nil {
			for _, row := range r.Rows {
				if row.Suppressed && row.Values != nil {
					t.Fatal("a suppressed row with values")
				}
			}
		}
		if r, err := DecodeRecord(b); err == nil && len(r.Fields) != len(r.Values) {
			t.Fatal("a field without its value")
		}
	})
}
