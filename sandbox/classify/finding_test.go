package classify

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDetectValues(t *testing.T) {
	b, err := os.ReadFile("testdata/values.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Values []struct {
			Text, Why string
			Kind      Kind
		}
	}
	if err := json.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Values) < 40 {
		t.Fatalf("%d values were read", len(file.Values))
	}
	for _, v := range file.Values {
		got, ok := Detect(v.Text)
		if got.Kind != v.Kind || ok != (v.Kind != None) {
			t.Errorf("%s (%s): got %q, want %q", v.Text, v.Why, got.Kind, v.Kind)
		}
		if ok && (got.Confidence < 1 || got.Confidence > 99) {
			t.Errorf("%s: confidence %d", v.Why, got.Confidence)
		}
	}
}

func TestNormalizeResidentID(t *testing.T) {
	const want = "11010519491231002X"
	for _, s := range []string{want, "11010519491231002x", " 110105-19491231-002X", "１１０１０５１９４９１２３１００２Ｘ"} {
		if got, ok := NormalizeResidentID(s); got != want || !ok {
			t.Errorf("form %q is not normalised", s)
		}
	}
	for name, s := range map[string]string{"check": "110105194912310020", "date": "110105194913310021", "short": "1101051949123100", "old": "110105491231002",
		"empty": "", "letters": "ABCDEFGHIJKLMNOPQR", "long": strings.Repeat(" ", 200) + want} {
		if got, ok := NormalizeResidentID(s); ok || got != "" {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestCheckCharacterCatches: GB 11643 promises that every single wrong digit and every swap of neighbours is seen.
func TestCheckCharacterCatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := []byte(drawID(t))
		i := rapid.IntRange(0, 16).Draw(t, "at")
		d := byte('0' + rapid.IntRange(0, 9).Draw(t, "digit"))
		wrong := append([]byte(nil), id...)
		wrong[i] = d
		if d != id[i] && checksGB11643(wrong) {
			t.Fatalf("a wrong digit at %d passes", i)
		}
		if i < 16 && id[i] != id[i+1] {
			copy(wrong, id)
			wrong[i], wrong[i+1] = wrong[i+1], wrong[i]
			if checksGB11643(wrong) {
				t.Fatalf("a swap at %d passes", i)
			}
		}
		if f, ok := Detect(string(id)); !ok || f.Kind != ResidentID && !(f.Kind == ResidencePermit && id[0] == '8') {
			t.Fatal("a well-formed number is not found")
		}
	})
}

func drawID(t *rapid.T) string {
	body := fmt.Sprintf("%s%04d%04d%02d%02d%03d", rapid.SampledFrom(strings.Fields(provinces)).Draw(t, "province"), rapid.IntRange(0, 9999).Draw(t, "county"),
		rapid.IntRange(1920, 2024).Draw(t, "year"), rapid.IntRange(1, 12).Draw(t, "month"), rapid.IntRange(1, 28).Draw(t, "day"), rapid.IntRange(1, 999).Draw(t, "seq"))
	for _, c := range "0123456789X" {
		if checksGB11643([]byte(body + string(c))) {
			return body + string(c)
		}
	}
	t.Fatal("no check character fits")
	return ""
}

// TestChecksumAloneDecidesNothing draws numbers that pass the check character but have neither date nor province.
func TestChecksumAloneDecidesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := fmt.Sprintf("99%015d", rapid.Int64Range(0, 999_999_999_999_999).Draw(t, "digits"))
		for _, c := range "0123456789X" {
			if s := body + string(c); checksGB11643([]byte(s)) {
				if f, ok := Detect(s); ok && f.Kind == ResidentID {
					t.Fatal("a number without province is an identity number")
				}
			}
		}
	})
}

func FuzzDetect(f *testing.F) {
	for _, s := range []string{"11010519491231002X", "91350100M000100Y43", "a@b.cn 13800138000", "王·李", "\xff\xfe", "１３８", "@@@...@", "J18.9", strings.Repeat("1", 5000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := Detect(s)
		if ok == (got.Kind == None) {
			t.Fatal("a finding has a kind")
		}
		if n, ok := NormalizeResidentID(s); ok {
			if again, ok := NormalizeResidentID(n); !ok || again != n {
				t.Fatal("normalising twice differs")
			}
		}
	})
}
