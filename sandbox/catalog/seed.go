package catalog

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed seed/longhua.json seed/futian.json
var seeds embed.FS

// Entry (目录条目) is one line of a district's published catalogue: data that may be authorised, before any table of it is
// registered. A dataset whose card has the entry's code is a table of it; an entry may have many.
type Entry struct {
	Code      string    `json:"code"`
	Title     string    `json:"title"`
	Group     string    `json:"group,omitempty"`     // 分类, where the catalogue has any
	Written   string    `json:"written,omitempty"`   // 更新频率 in the catalogue's words
	Frequency Frequency `json:"frequency,omitempty"` // empty where the catalogue names none
	Article   string    `json:"article"`             // 依据
}

// Seeded lists the districts whose published catalogue is shipped. 光明区 has published none that was at hand.
func Seeded() []string { return []string{"futian", "longhua"} }

// Seed gives a district's published catalogue, in its order and words: 龙华区 表1 has 34 lines, 福田区 四(二) 25 in four groups.
// NotFound for a district without one.
func Seed(district string) ([]Entry, error) {
	b, err := seeds.ReadFile("seed/" + district + ".json")
	if err != nil || sandbox.CheckID("district", district) != nil {
		return nil, &sandbox.Error{Op: "catalog: seed", Kind: sandbox.NotFound, Object: "district", Detail: "no published catalogue of this district is shipped",
			Hint: "use one of futian, longhua, or register datasets directly"}
	}
	return parseSeed(district, b)
}

func parseSeed(district string, b []byte) ([]Entry, error) {
	fail := func(at, rule string) ([]Entry, error) { return nil, bad("seed "+district+" "+at, rule) }
	var f struct {
		District string `json:"district"`
		Title    string `json:"title"`
		Division string `json:"division"` // GB/T 2260
		Article  string `json:"article"`
		Entries  []struct {
			Number    int       `json:"number"`
			Group     string    `json:"group"`
			Title     string    `json:"title"`
			Written   string    `json:"written"`
			Frequency Frequency `json:"frequency"`
		} `json:"entries"`
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&f); err != nil {
		return fail("file", "a JSON object with the known keys")
	}
	if _, err := dec.Token(); err != io.EOF {
		return fail("file", "one object and nothing after it")
	}
	if f.District != district || f.Article == "" {
		return fail("file", "it names its district and its article")
	}
	out := make([]Entry, 0, len(f.Entries))
	for i, e := range f.Entries {
		at := fmt.Sprintf("entry %d", i+1)
		if e.Number != i+1 || e.Title == "" || e.Frequency != "" && !e.Frequency.valid() || (e.Frequency == "") != (e.Written == "") {
			return fail(at, "entries are numbered from 1, have a title and, with its words, a known frequency or none")
		}
		code, err := NewCode(f.Division, e.Number)
		if err != nil {
			return nil, err
		}
		out = append(out, Entry{Code: code, Title: e.Title, Group: e.Group, Written: e.Written, Frequency: e.Frequency, Article: f.Article})
	}
	return out, nil
}
