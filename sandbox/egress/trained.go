package egress

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// modelItems says which rules of package model an item of class D's checklist stands for.
var modelItems = []struct {
	id    string
	rules []string
}{
	{"kind", []string{model.RuleBits}},
	{"identifiers", []string{model.RuleIdentifiers}},
	{"evidence", []string{model.RulePeople, model.RuleOverlap, model.RuleMissing}},
	{"support", []string{model.RuleFrequency, model.RuleMinLeaf, model.RuleClass, model.RuleDominance, model.RuleDegrees, model.RuleEvents,
		model.RuleSeparation, model.RuleInfluence, model.RuleLeverage}},
	{"confirmed", []string{model.RuleFit, model.RuleReproduction, model.RuleFree}},
	{"membership", []string{model.RuleDistribution, model.RuleLoss, model.RuleTrained, model.RuleLiRA, model.RuleTPR}},
	{"canary", []string{model.RuleCanary}},
}

// Trained makes the product of class D of a model that package model judged, whose id is the question it answers. A model that fails is
// Withheld, with the names of the rules as its cause.
func Trained(question sandbox.QuestionID, r *model.Report) (*Product, error) {
	if err := r.Held(); err != nil {
		return nil, &sandbox.Error{Op: "egress: model", Kind: sandbox.Withheld, Object: string(question), Err: err}
	}
	m := Made{Class: sandbox.ClassD, Question: question, Result: r.Payload, Rules: r.Broken(), Evidence: r}
	judged := map[string]bool{}
	for _, item := range modelItems {
		x := ItemResult{ID: item.id, Pass: true}
		var zh, en []string
		for _, f := range r.Findings {
			if !slices.Contains(item.rules, f.Rule) {
				continue
			}
			judged[f.Rule] = true
			x.Pass = x.Pass && f.Verdict != model.Fail
			remark, note := "", ""
			if f.Verdict == model.Review {
				remark, note = "（须判断）", " (for people to judge)"
			}
			zh = append(zh, fmt.Sprintf("%s %.4g，门限 %.4g%s", f.ZH, f.Value, f.Limit, remark))
			en = append(en, fmt.Sprintf("%s %.4g, limit %.4g%s", f.EN, f.Value, f.Limit, note))
		}
		x.ZH, x.EN = strings.Join(zh, "；"), strings.Join(en, "; ")
		x.Pass = x.Pass && len(zh) > 0 // an item that no rule looked at is not held
		m.Items = append(m.Items, x)
	}
	for _, f := range r.Findings {
		if !judged[f.Rule] {
			return nil, &sandbox.Error{Op: "egress: model", Kind: sandbox.Internal, Object: f.Rule, Detail: "a rule that no item of the checklist stands for"}
		}
	}
	return NewProduct(m)
}

func readModel(payload []byte) (sandbox.QuestionID, error) {
	m, err := model.DecodePayload(payload)
	if err != nil {
		return "", err
	}
	return sandbox.QuestionID(m.ID), nil
}

func scanModel(payload []byte) ([]scan.Hit, error) { return model.Scan(payload) }
