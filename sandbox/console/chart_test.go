package console

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// TestChartPage: the page of a chart shows its rows, all labels that there might be, and which code made it over what; an operator-side reviewer sees
// rows and names of rules alone.
func TestChartPage(t *testing.T) {
	b, err := egress.EncodeChart(egress.Chart{Question: "q-1", Name: "clusters", Most: 2, Labels: []egress.ChartLabel{{Name: "cluster", Of: []string{"01", "02"}}, {Name: "industry", Of: []string{"C", "never used"}}},
		Values: []egress.ChartValue{{Name: "share", Scale: 3, Min: 0, Max: 1000, Step: 50}}, Rows: []egress.ChartRow{{Labels: []int{1, 0}, Values: []int64{250}}}})
	if err != nil {
		t.Fatal(err)
	}
	r := api.Review{ID: "q-1", Class: sandbox.ClassF, State: "in-review", Result: b, Digest: egress.Digest(b), Rules: []string{"bits"}}
	p := render(t, r)
	for _, want := range []string{"0.250", "02", "clusters", "出域清单", "登记结构重编码"} {
		if want != "clusters" && !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(p, "外来代码运行") {
		t.Error("who made it is shown without evidence")
	}
	e, err := json.Marshal(egress.ChartEvidence{Tier: "T1", People: 300, Rows: 310, MilliBits: 12345, Cap: 640, Run: egress.ForeignRun{Algorithm: "clusters-1.0.0", Author: "an author", Image: []byte{0xab, 0xcd}, Posture: []byte{0xef}, View: "view-1",
		Inputs: []sandbox.InputVersion{{Dataset: "ds-f", Version: 3}}, Columns: []string{"east", "north"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Pack, err = json.Marshal(egress.Pack{Evidence: e, Items: []egress.ItemResult{{ID: "rows", Pass: true, ZH: "甲", EN: "every row"}}}); err != nil {
		t.Fatal(err)
	}
	p = render(t, r)
	for _, want := range []string{"clusters-1.0.0", "an author", "abcd", "ef", "T1", "view-1", "east · north", "300, 310", "12.345", "640", "never used", "every row"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}
