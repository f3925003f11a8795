package table

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox/egress"
)

// Standard (默认门限) gives the thresholds that apply where a rules file names none: ten people, (2,90), p of 10.
func Standard() egress.Params {
	return egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}
}

// DecodeRules reads a rules file: {"rules": {"frequency": {"min_subjects": 10}, "dominance": {"n": 2, "k": 90}, "p-percent": {"p": 10, "q": 100}, "bits": {"bits": 65536}}}.
// Rules without thresholds may be named, as {}; none can be left out of the gate.
func DecodeRules(b []byte) (egress.Params, error) {
	p := Standard()
	top, err := parse(b)
	if err != nil {
		return p, err
	}
	m, err := top.object("rules")
	if err != nil {
		return p, err
	}
	rules, ok := m["rules"].v.(map[string]node)
	if !ok {
		return p, invalid("rules", "an object of rules by name")
	}
	set := func(n node, into map[string]*int) error {
		var names []string
		for _, k := range []string{"min_subjects", "n", "k", "p", "q", "bits"} {
			if into[k] != nil {
				names = append(names, k)
			}
		}
		values, err := n.object(names...)
		if err != nil {
			return err
		}
		for _, k := range names {
			if x, ok := member(values, k); ok {
				v, err := x.count()
				if err != nil {
					return err
				}
				if v == 0 {
					return invalid(x.at, "at least 1: no threshold is switched off")
				}
				*into[k] = int(min(v, 1<<30))
			}
		}
		return nil
	}
	for _, name := range sortedKeys(rules) {
		var into map[string]*int
		switch name {
		case egress.RuleFrequency:
			into = map[string]*int{"min_subjects": &p.MinSubjects}
		case egress.RuleDominance:
			into = map[string]*int{"n": &p.DominanceN, "k": &p.DominanceK}
		case egress.RulePPercent:
			into = map[string]*int{"p": &p.PPercent, "q": &p.Prior}
		case egress.RuleBits:
			into = map[string]*int{"bits": &p.MaxBits}
		case egress.RuleAllEqual, egress.RuleSecondary, egress.RuleFunction, egress.RuleDegrees:
		default:
			return p, invalid(rules[name].at, fmt.Sprintf("unknown rule name; the gate has %s, %s, %s, %s, %s, %s, %s, %s", egress.RuleFrequency, egress.RuleDominance,
				egress.RulePPercent, egress.RuleAllEqual, egress.RuleDegrees, egress.RuleFunction, egress.RuleSecondary, egress.RuleBits))
		}
		if err := set(rules[name], into); err != nil {
			return p, err
		}
	}
	return p, p.Validate()
}
