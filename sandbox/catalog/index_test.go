package catalog

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

func drawCard(t *rapid.T, id int) Dataset {
	words := rapid.StringOfN(rapid.SampledFrom([]rune("人口数据法 ABc1")), 0, 6, -1)
	d := Dataset{ID: sandbox.DatasetID(fmt.Sprintf("ds-%d", id)), Unit: sandbox.PartyID(rapid.SampledFrom([]string{"unit-a", "unit-b"}).Draw(t, "unit")),
		Title: words.Draw(t, "title"), Card: Card{Description: words.Draw(t, "description"), Source: words.Draw(t, "source")}}
	if rapid.Bool().Draw(t, "tagged") {
		d.Card.Tags = []string{rapid.SampledFrom([]string{"人口", "A", "口"}).Draw(t, "tag")}
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "columns") {
		d.Columns = append(d.Columns, Column{Name: fmt.Sprintf("c%d", i), Title: words.Draw(t, "column")})
	}
	return d
}

// plain scores a card by the ranking as it is stated, place by place.
func plain(d Dataset, words []string) (int, bool) {
	low := strings.ToLower
	var cols []string
	for _, c := range d.Columns {
		cols = append(cols, low(c.Name), low(c.Title))
	}
	any := func(in []string, w string) bool {
		return slices.ContainsFunc(in, func(s string) bool { return strings.Contains(s, w) })
	}
	sum := 0
	for _, w := range words {
		title := low(d.Title)
		switch {
		case title == w:
			sum += 64
		case strings.HasPrefix(title, w):
			sum += 32
		case strings.Contains(title, w), strings.Contains(string(d.ID), w):
			sum += 16
		case slices.ContainsFunc(d.Card.Tags, func(s string) bool { return strings.Contains(low(s), w) }):
			sum += 12
		case any(cols, w):
			sum += 8
		case strings.Contains(string(d.Unit), w):
			sum += 6
		case strings.Contains(low(d.Card.Description), w), strings.Contains(low(d.Card.Source), w):
			sum += 4
		case len(w) > 1 && strings.Contains(Initials(title), w):
			sum += 3
		default:
			return 0, false
		}
	}
	return sum, true
}

// TestSearchIsThePlainScan: after any entries, changes and removals, the index finds and orders what a scan of every card does,
// and pages of any size hold each table once, also while others come and go.
func TestSearchIsThePlainScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, all := NewIndex(), map[sandbox.DatasetID]Dataset{}
		for range rapid.IntRange(0, 25).Draw(t, "steps") {
			d := drawCard(t, rapid.IntRange(0, 12).Draw(t, "id"))
			if rapid.IntRange(0, 4).Draw(t, "drop") == 0 {
				x.Remove(d.ID)
				delete(all, d.ID)
			} else {
				x.Put(&d)
				all[d.ID] = d
			}
		}
		q := Query{Text: rapid.SampledFrom([]string{"", "人", "口数", "人口数据", "据法", "人口 A", "ab", "ds-1", "rk", "rksj", "ＡＢ", "c0", "unit-a", "1"}).Draw(t, "text"),
			Unit: sandbox.PartyID(rapid.SampledFrom([]string{"", "unit-a"}).Draw(t, "of")), Tag: rapid.SampledFrom([]string{"", "", "a"}).Draw(t, "with")}
		words := strings.Fields(strings.ToLower(strings.ReplaceAll(q.Text, "ＡＢ", "ab")))
		var want []Hit
		for _, d := range all {
			s, ok := plain(d, words)
			if ok && (q.Unit == "" || d.Unit == q.Unit) && (q.Tag == "" || slices.Contains(d.Card.Tags, "A")) {
				want = append(want, Hit{d.ID, s})
			}
		}
		slices.SortFunc(want, func(a, b Hit) int { return cmp.Or(b.Score-a.Score, strings.Compare(string(a.ID), string(b.ID))) })
		q.Limit = rapid.IntRange(1, 5).Draw(t, "limit")
		var got []Hit
		for {
			page, total, err := x.Search(q, nil)
			if err != nil {
				t.Fatal(err)
			}
			if total < len(want) {
				t.Fatalf("%q: %d found, %d are there", q.Text, total, len(want))
			}
			got = append(got, page...)
			if len(page) < q.Limit {
				break
			}
			q.After = page[len(page)-1].Cursor()
			newcomer := drawCard(t, 0)
			newcomer.ID = sandbox.DatasetID(fmt.Sprintf("ds-%dnew", rapid.IntRange(0, 9).Draw(t, "newcomer")))
			x.Put(&newcomer)
		}
		got = slices.DeleteFunc(got, func(h Hit) bool { return strings.HasSuffix(string(h.ID), "new") })
		if !slices.Equal(got, want) {
			t.Fatalf("%q: found %v, want %v", q.Text, got, want)
		}
	})
}

// TestSearchRights: what the caller may not see is neither found nor counted.
func TestSearchRights(t *testing.T) {
	x := NewIndex()
	for i := range 9 {
		x.Put(&Dataset{ID: sandbox.DatasetID(fmt.Sprintf("ds-%d", i)), Title: "人口"})
	}
	page, total, err := x.Search(Query{Text: "人口"}, func(s Seen) bool { return s.Dataset == "ds-3" || s.Dataset == "ds-5" })
	if err != nil || total != 2 || len(page) != 2 || page[0].ID != "ds-3" {
		t.Errorf("%v %d %v", page, total, err)
	}
}

func TestSearchRefuses(t *testing.T) {
	for name, q := range map[string]Query{
		"long":   {Text: strings.Repeat("人", MaxQuery+1)},
		"words":  {Text: "a b c d e f g h i"},
		"limit":  {Limit: MaxPage + 1},
		"below":  {Limit: -1},
		"cursor": {After: "x"},
		"score":  {After: "9999999999.ds"},
		"id":     {After: "1.DS"},
	} {
		if _, _, err := NewIndex().Search(q, nil); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestIndexMakesRoom: replaced cards do not pile up.
func TestIndexMakesRoom(t *testing.T) {
	x := NewIndex()
	for i := range 5000 {
		x.Put(&Dataset{ID: "ds", Title: fmt.Sprint("表", i)})
	}
	if x.Len() != 1 || len(x.docs) > 1100 || len(x.postings) > 5000 {
		t.Errorf("%d slots, %d postings for one card", len(x.docs), len(x.postings))
	}
	if hits, _, _ := x.Search(Query{Text: "表4999"}, nil); len(hits) != 1 {
		t.Error("the newest card is not found")
	}
	if hits, _, _ := x.Search(Query{Text: "表4998"}, nil); len(hits) != 0 {
		t.Error("an old card is found")
	}
}

func TestInitials(t *testing.T) {
	for in, want := range map[string]string{"人口数据": "rksj", "社会保险": "shbx", "不动产交易": "bdcjy", "AI模型": "mx", "2026年度": "2026nd", "阿座": "az", "ai模型": "aimx"} {
		if got := Initials(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
