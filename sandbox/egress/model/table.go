package model

import (
	"fmt"
	"strings"
)

// Table gives a payload as people read it: what each part is, and its value.
func Table(payload []byte) (head []string, rows [][]string, err error) {
	m, err := DecodePayload(payload)
	if err != nil {
		return nil, nil, err
	}
	number := func(f Fixed) string { b, _ := f.MarshalJSON(); return string(b) }
	say := func(part, what, value string) { rows = append(rows, []string{part, what, value}) }
	say("kind 种类", "", string(m.Kind))
	label := m.Label.Name
	if m.Label.Form == Binary {
		label += ": " + strings.Join(m.Label.Levels, ", ")
	} else {
		label += fmt.Sprintf(": %s … %s", number(m.Label.Low), number(m.Label.High))
	}
	say("label 预测目标", label, string(m.Label.Form))
	for _, f := range m.Features {
		if f.category() {
			say("feature 特征", f.Name+": "+strings.Join(f.Levels, ", "), "")
		} else {
			say("feature 特征", fmt.Sprintf("%s: %s … %s", f.Name, number(f.Low), number(f.High)), "step "+number(f.Step))
		}
	}
	t := m.Trainer
	trained := "ridge " + number(t.Ridge)
	if m.Kind.trees() {
		trained += fmt.Sprintf(", depth %d, leaves of %d people, %d of a class", t.Depth, t.MinLeaf, t.MinClass)
	}
	if m.Kind == Forest || m.Kind == Boosted {
		trained += fmt.Sprintf(", %d trees, rate %s, seed %d", t.Trees, number(t.Rate), t.Seed)
	}
	say("trainer 训练器", trained, "")
	if m.Intercept != nil {
		say("intercept 截距", "", number(*m.Intercept))
	}
	for _, c := range m.Coefficients {
		name := c.Feature
		if c.Level != "" {
			name += " = " + c.Level
		}
		say("coefficient 系数", name, number(c.Value))
	}
	for _, c := range m.Characteristics {
		say("coefficient 系数", c.Feature, number(c.Coefficient))
		for i, w := range c.WOE {
			var bin string
			switch {
			case c.Groups != nil:
				bin = strings.Join(c.Groups[i], ", ")
			case i < len(c.Edges):
				bin = "below " + number(c.Edges[i])
			default:
				bin = "the rest"
			}
			say("weight of evidence 证据权重", c.Feature+": "+bin, number(w))
		}
	}
	for i, tree := range m.Trees {
		for k, n := range tree {
			part := fmt.Sprintf("tree 树 %d, %d", i+1, k)
			switch {
			case n.Value != nil:
				say(part, fmt.Sprintf("leaf 叶, %d people 人", n.People), number(*n.Value))
			case n.Below != nil:
				say(part, fmt.Sprintf("%s below %s: %d, else %d", n.Feature, number(*n.Below), n.Left, n.Right), "")
			default:
				say(part, fmt.Sprintf("%s in %s: %d, else %d", n.Feature, strings.Join(n.In, ", "), n.Left, n.Right), "")
			}
		}
	}
	return []string{"part 部分", "what 内容", "value 数值"}, rows, nil
}
