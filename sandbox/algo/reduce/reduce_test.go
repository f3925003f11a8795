package reduce

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/egress"
)

var declaration = mapper.Declaration{Dataset: "claims", Columns: []mapper.Column{{Name: "fee", Type: "money"}},
	Groups: []mapper.Group{{Name: "band", Labels: []string{"low", "high"}}, {Name: "site", Labels: []string{"c", "a", "b"}}},
	Values: []mapper.Value{{Name: "score", Of: mapper.Mean, Scale: 2, Min: -100, Max: 900, Step: 50}, {Name: "km", Of: mapper.Sum, Unit: "km", Min: 0, Max: 7, Step: 1}}, Yields: 3}

var job = Job{Algorithm: "ride-risk", Declaration: declaration, Input: sandbox.InputVersion{Dataset: "claims", Version: 2}}

func subject(i int) (p sandbox.Pseudonym) {
	binary.BigEndian.PutUint32(p[:], uint32(i))
	return p
}

func yield(b []byte, band, site uint16, score, km int64) []byte {
	b = binary.LittleEndian.AppendUint16(binary.LittleEndian.AppendUint16(b, band), site)
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(b, uint64(score)), uint64(km))
}

// TestAnswer: cells, values and evidence as a plain table of yields has them; the gate takes the answer; who faults is in no cell.
func TestAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, err := New(job)
		if err != nil {
			t.Fatal(err)
		}
		type key struct{ group, who int }
		rows, scores, kms := map[key]int64{}, map[key]int64{}, map[key]int64{}
		faults := 0
		for i := range rapid.IntRange(0, 40).Draw(t, "subjects") {
			var b []byte
			type one struct {
				g         int
				score, km int64
			}
			var all []one
			n := rapid.IntRange(0, 4).Draw(t, "yields")
			for range n {
				band, site := rapid.IntRange(0, 1).Draw(t, "band"), rapid.IntRange(0, 2).Draw(t, "site")
				score, km := rapid.Int64Range(-300, 1200).Draw(t, "score"), rapid.Int64().Draw(t, "km")
				b = yield(b, uint16(band), uint16(site), score, km)
				all = append(all, one{3*band + site, declaration.Values[0].Quantise(score), declaration.Values[1].Quantise(km)})
			}
			fault := rapid.IntRange(0, 9).Draw(t, "fault")
			if fault == 1 {
				b = yield(b, 0, 3, 0, 0)
			}
			if err := r.Add(subject(i), b, fault == 0); err != nil {
				t.Fatal(err)
			}
			if fault < 2 || n > 3 {
				faults++
				continue
			}
			for _, y := range all {
				k := key{y.g, i}
				rows[k], scores[k], kms[k] = rows[k]+1, scores[k]+y.score, kms[k]+y.km
			}
		}
		a, err := r.Answer()
		if err != nil {
			t.Fatal(err)
		}
		if r.Faults() != faults {
			t.Fatalf("%d faults, want %d", r.Faults(), faults)
		}
		names := []string{"low c", "low a", "low b", "high c", "high a", "high b"}
		found := 0
		for _, c := range a.Cells {
			g := slices.Index(names, strings.Join(c.Labels, " "))
			var total, score, km int64
			people := 0
			for k, n := range rows {
				if k.group == g {
					people++
					total, score, km = total+n, score+scores[k], km+kms[k]
				}
			}
			found += people
			if c.Rows != total || c.Values[0] != int64(people) || c.Values[1] != total || c.Values[2] != rounded(score, total) || c.Values[3] != km {
				t.Fatalf("%v has other numbers", c.Labels)
			}
			for k, s := range c.Contributors {
				x := key{g, int(s)}
				if rows[x] == 0 || c.Contributions[0][k] != 1 || c.Contributions[1][k] != rows[x] || c.Contributions[2][k] != scores[x] || c.Contributions[3][k] != kms[x] {
					t.Fatalf("%v has other evidence", c.Labels)
				}
			}
		}
		if found != len(rows) {
			t.Fatal("a group is not there")
		}
		if !slices.IsSortedFunc(a.Cells, func(x, y sandbox.Cell) int { return slices.Compare(x.Labels, y.Labels) }) {
			t.Fatal("cells are not sorted")
		}
		if len(a.Cells) == 0 {
			return
		}
		if _, err := egress.Check("q-1", a, egress.Params{MinSubjects: 3, DominanceN: 2, DominanceK: 90, PPercent: 10}); err != nil && !errors.Is(err, sandbox.Withheld) {
			t.Fatalf("the gate does not take it: %v", err)
		}
	})
}

func TestRefusals(t *testing.T) {
	for name, breaks := range map[string]func(*Job){
		"no version":       func(j *Job) { j.Input.Version = 0 },
		"no name":          func(j *Job) { j.Algorithm = "" },
		"a bad definition": func(j *Job) { j.Declaration.Yields = 0 },
	} {
		j := job
		breaks(&j)
		if _, err := New(j); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r, err := New(job)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Add(subject(5), nil, false); err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{5, 4} {
		if err := r.Add(subject(i), nil, false); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("subject %d after 5: %v", i, err)
		}
	}
}

// BenchmarkAdd reports subjects a second of processor time of the domain's half alone.
func BenchmarkAdd(b *testing.B) {
	y := yield(nil, 1, 2, 450, 5)
	r, err := New(job)
	if err != nil {
		b.Fatal(err)
	}
	for i := range b.N {
		if err := r.Add(subject(i), y, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "subjects/s")
}

func ExampleReducer() {
	r, err := New(job)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i := range 12 {
		if err := r.Add(subject(i), yield(nil, uint16(i%2), 0, 100, 3), false); err != nil {
			fmt.Println(err)
			return
		}
	}
	a, err := r.Answer()
	fmt.Println(a, err)
	// Output: answer(2 cells, redacted) <nil>
}
