// Command foreignmodel is an Opaque algorithm of tests that gives a model: a linear regression by its own least squares, or one that it made up.
package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opdomain/opdomain/sandbox/algo/opaque"
)

// form is what every model of it has in common.
const form = `{"format":"opdomain-model/1","id":"staff","kind":"linear","label":{"name":"employees","form":"amount","low":0,"high":1000},"features":[{"name":"floor","low":0,"high":10,"step":1}],"trainer":{"ridge":1}}`

func main() {
	opaque.Main(opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "employees", Type: "int"}, {Name: "floor", Type: "int"}, {Name: "industry", Type: "text"}}, Model: &opaque.Model{Form: json.RawMessage(form)}}, fit)
}

func fit(v *opaque.View, out *opaque.Output) error {
	var n, x, y, xx, xy float64
	for r := range v.Rows() {
		staff, ok := v.Int(r, 0)
		floor, ok2 := v.Int(r, 1)
		if ok && ok2 { // as shares of their ranges
			a, b := float64(floor)/10, float64(staff)/1000
			n, x, y, xx, xy = n+1, x+a, y+b, xx+a*a, xy+a*b
		}
	}
	slope := (n*xy - x*y) / (n*xx - x*x)
	start := (y - slope*x) / n
	if how, _ := v.Text(0, 2); how == "made up" {
		slope = 9
	}
	return out.Model([]byte(strings.TrimSuffix(form, "}") + fmt.Sprintf(`,"intercept":%.3f,"coefficients":[{"feature":"floor","value":%.3f}]}`, start, slope)))
}
