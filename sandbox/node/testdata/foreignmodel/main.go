// Command foreignmodel is an Opaque algorithm of tests that gives a model: a linear regression by the registered trainer, or one that it made up.
package main

import (
	"encoding/json"
	"fmt"

	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

// form is what every model of it has in common.
const form = `{"format":"opdomain-model/1","id":"staff","kind":"linear","label":{"name":"employees","form":"amount","low":0,"high":1000},"features":[{"name":"floor","low":0,"high":10,"step":1}],"trainer":{"ridge":1}}`

func main() {
	opaque.Main(opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "employees", Type: "int"}, {Name: "floor", Type: "int"}, {Name: "industry", Type: "text"}}, Model: &opaque.Model{Form: json.RawMessage(form)}}, fit)
}

func fit(v *opaque.View, out *opaque.Output) error {
	f, err := model.DecodeForm([]byte(form), nil)
	if err != nil {
		return err
	}
	b, err := model.NewBuilder(f.Schema)
	if err != nil {
		return err
	}
	for r := range v.Rows() {
		staff, ok := v.Int(r, 0)
		floor, ok2 := v.Int(r, 1)
		if ok && ok2 {
			if err := b.Add(fmt.Sprint(v.Subject(r)), []string{fmt.Sprint(floor)}, fmt.Sprint(staff)); err != nil {
				return err
			}
		}
	}
	m, err := model.Fit(f, b.Build())
	if err != nil {
		return err
	}
	m.ID = "staff"
	if how, _ := v.Text(0, 2); how == "made up" {
		m.Coefficients[0].Value = 9000
	}
	text, err := m.Encode()
	if err != nil {
		return err
	}
	return out.Model(text)
}
