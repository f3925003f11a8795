package session

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/canonical"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/sandbox"
)

// MinThreshold is the least intersection that any plan lets leave.
const MinThreshold = 3

// Plan (求交作业约定) is a psi.Plan with the keys, owners and terms of its two parties: receiver first, then sender.
type Plan struct {
	Terms
	Job      psi.Plan  `json:"job"`              // its parties are those of the terms
	Values   []string  `json:"values,omitempty"` // join-sum: the sender's columns that are added up
	Groups   []string  `json:"groups,omitempty"` // join-sum: labels of the sender's elements; sums are by group, with a count of each
	Agencies [2][]byte `json:"agencies"`         // SM2 point of the agency that certifies a listed set
}

// complete fills what follows from the rest, as a draft may leave it out.
func (p *Plan) complete() {
	if p.Job.Parties == [2]sandbox.PartyID{} {
		p.Job.Parties = [2]sandbox.PartyID{p.Parties[0].ID, p.Parties[1].ID}
	}
	if p.Job.Model == "" {
		p.Job.Model = psi.SemiHonest
	}
	if p.Job.Output == psi.JoinSum && p.Job.Measures == 0 {
		p.Job.Measures = p.measures()
	}
}

// measures gives the number of sums: by group a count and each value.
func (p *Plan) measures() int {
	if len(p.Groups) > 0 {
		return len(p.Groups) * (1 + len(p.Values))
	}
	return len(p.Values)
}

// Encode gives the one encoding.
func (p *Plan) Encode() []byte { return canonical.Encode(p) }

// Check gives Invalid or TooLarge, naming field and rule, where the plan cannot be run.
func (p *Plan) Check() error {
	if err := p.check(KindPlan); err != nil {
		return err
	}
	if err := p.Job.Check(); err != nil {
		return err
	}
	if p.Job.Parties != [2]sandbox.PartyID{p.Parties[0].ID, p.Parties[1].ID} {
		return invalid("parties", "the job's receiver is the first party and its sender the second")
	}
	if p.Job.Threshold < MinThreshold {
		return invalid("threshold", fmt.Sprintf("%d or more: a smaller intersection never leaves", MinThreshold))
	}
	for side, a := range p.Job.Authority {
		if a.Kind == psi.Audited {
			if p.Agencies[side] != nil {
				return invalid("agencies", "an audited set has none")
			}
			continue
		}
		if k, err := sm.ParseVerifyKey(p.Agencies[side]); err != nil || k.Fingerprint() != a.Key {
			return invalid("agencies", "the point of the key that the listed set's authority names")
		}
	}
	if p.Job.Output != psi.JoinSum {
		if len(p.Values)+len(p.Groups) > 0 {
			return invalid("values", "only a join-sum has values and groups")
		}
		return nil
	}
	for _, names := range [][]string{p.Values, p.Groups} {
		for i, n := range names {
			if !label(n, 64) || slices.Contains(names[:i], n) {
				return invalid("values", "values and groups are named once, by 1 to 64 bytes of printable text")
			}
		}
	}
	if len(p.Values)+len(p.Groups) == 0 || p.Job.Measures != p.measures() {
		return invalid("measures", "one for each value; with groups a count and each value for each group, eight in all at most")
	}
	return nil
}

// Explain says in words what the job is, what each side brings and learns, and what is withheld.
func (p *Plan) Explain() []string {
	what := map[psi.Output]string{
		psi.Intersection: "求交: the receiver learns which of its elements the sender has too", psi.IntersectionBoth: "双方求交: both learn which of their elements the other has too",
		psi.Cardinality: "交集基数: the receiver learns how many elements both have", psi.CardinalityBoth: "双方交集基数: both learn how many elements both have",
		psi.JoinSum: "交集求和: the sender learns sums of its own values over the elements that both have, for the gate (出域检查)"}[p.Job.Output]
	out := []string{fmt.Sprintf("job %s: %s: %s", p.Job.Run, p.Job.Output, what), "elements (求交元素): " + p.Element, "model (敌手模型): " + string(p.Job.Model)}
	for i, x := range p.Parties {
		side := psi.Side(i)
		a := p.Job.Authority[side]
		how := "名单授权: the agency of key " + a.Key + " certified that every element is on its signed list"
		if a.Kind == psi.Audited {
			how = "事后审计: nothing about the elements is proved in the job; set and secret are opened to an auditor afterwards"
		}
		out = append(out, fmt.Sprintf("%s %s of %s (%s) brings at most %d elements, padded to that number; %s", side, x.ID, x.Organisation, []string{"结果方", "协作方"}[i], p.Job.Sizes[side], how))
		for _, f := range p.Job.Learns(side) {
			more := ""
			switch f {
			case psi.FactBucket:
				more = fmt.Sprintf(": %d", p.Job.Sizes[side.Peer()])
			case psi.FactSum:
				more = ": " + strings.Join(p.Values, ", ")
				if len(p.Groups) > 0 {
					more += fmt.Sprintf(", and counts, in each of %d groups", len(p.Groups))
				}
			}
			out = append(out, fmt.Sprintf("  %s learns: %s (%s)%s", x.ID, f, f.Term(), more))
		}
	}
	out = append(out, fmt.Sprintf("withheld (不予输出): an intersection of fewer than %d elements; the side that counts it learns the number even then", p.Job.Threshold))
	if p.Job.Output == psi.IntersectionBoth {
		out = append(out, "withheld (不予输出): an intersection that is nearly an earlier one in the sender's ledger")
	} else {
		out = append(out, "near-repeats (近似重复): each side's ledger compares the sets it brings; intersections are not compared, since the side that judges does not see whose elements they are")
	}
	if p.Job.Output == psi.JoinSum {
		out = append(out, fmt.Sprintf("no value is over %d; the sender's program withholds a group with fewer than %d elements, and the sums are the gate's to judge", p.Job.MaxValue, p.Job.Threshold))
	}
	return out
}
