package trapset

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/classify"
)

// TestRecallFloors holds the detectors to their floors on the generated set, of which no seed was used to write them, and
// precision to what the report shows at the second threshold.
func TestRecallFloors(t *testing.T) {
	g := New(20261124)
	var columns []Column
	for range 3 {
		columns = append(columns, g.Columns(200)...)
	}
	r := Measure(columns, g.Notes(3000))
	var out bytes.Buffer
	r.Print(&out)
	t.Log("\n" + out.String())
	if len(r.Kinds) != 26 {
		t.Errorf("%d kinds were measured", len(r.Kinds))
	}
	for _, k := range r.Kinds {
		value, column, text := Floors(k.Of())
		inTexts := k != k.Of()
		if x := r.Values[k]; !inTexts && (x.Recall() < value || x.Found < 1000) {
			t.Errorf("%s: recall of %d values is %.4f, at least %.4f", k, x.Found+x.Missed, x.Recall(), value)
		}
		if x := r.Hinted[k]; x.Recall() < column || x.Found < 10 {
			t.Errorf("%s: recall of %d columns with a telling header is %.4f, at least %.4f: %v", k, x.Found+x.Missed, x.Recall(), column, x.Sorts)
		}
		if x := r.Columns[k][0]; x.Precision() < 0.95 || x.Recall() < 0.8 {
			t.Errorf("%s: columns have recall %.4f (0.8) and precision %.4f (0.95): %v", k, x.Recall(), x.Precision(), x.Sorts)
		}
		if inTexts {
			continue
		}
		x := r.Texts[k][0]
		if x.Recall() < text || text > 0 && x.Found+x.Missed < 100 && k != classify.OrganisationCode {
			t.Errorf("%s: recall of %d places in texts is %.4f, at least %.4f", k, x.Found+x.Missed, x.Recall(), text)
		}
		if p := r.Texts[k][1].Precision(); p < 0.95 {
			t.Errorf("%s: precision in texts at %d %% is %.4f", k, Thresholds[1], p)
		}
	}
}

func TestSameSeedSameSet(t *testing.T) {
	a, b, c := New(7), New(7), New(8)
	if !reflect.DeepEqual(a.Columns(20), b.Columns(20)) || !reflect.DeepEqual(a.Notes(20), b.Notes(20)) {
		t.Error("the same seed gives another set")
	}
	if reflect.DeepEqual(a.Notes(3), c.Notes(3)) {
		t.Error("another seed gives the same notes")
	}
}

// TestTruth holds the generator to what it says of itself: spans lie where they should, and values of checked standards pass
// an independent reading of a published example's rule.
func TestTruth(t *testing.T) {
	if check("11010519491231002") != "11010519491231002X" || luhn("411111111111111") != "4111111111111111" {
		t.Error("published examples fail")
	}
	for _, n := range New(1).Notes(200) {
		last := 0
		for _, s := range n.Spans {
			if s.Start < last || s.End <= s.Start || s.End > len(n.Text) || strings.ContainsAny(n.Text[s.Start:s.End], "，。{}") {
				t.Fatalf("a label of kind %s lies outside its text", s.Kind)
			}
			last = s.End
		}
	}
	for _, x := range []any{New(1).Notes(1)[0], New(1).Columns(1)[0]} {
		if s := x.(interface{ String() string }).String(); !strings.Contains(s, "redacted") {
			t.Errorf("%T prints its contents", x)
		}
	}
}
