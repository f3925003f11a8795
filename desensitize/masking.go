package desensitize

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Masking (动态脱敏) shows one table to each role by the role's own rules, when it is read. 依据: 三级及以上数据的访问控制与动态脱敏.
type Masking struct {
	roles map[sandbox.Role]*Pipeline
	rest  *Pipeline
}

// CompileRoles holds the plan's rules by role to a dataset's description. In a role's rules "pass" shows a column as it is, up to
// grade 3, since the owner names the role that may see it; columns without a step are hidden whole. Of a role that has no
// rules every column is hidden whole.
func CompileRoles(p *Plan, d catalog.Dataset, o Options) (*Masking, sandbox.Decision) {
	o.own = p.Hierarchies
	m := &Masking{roles: map[sandbox.Role]*Pipeline{}}
	var reasons []sandbox.Reason
	for _, r := range append([]RoleRules{{}}, p.Roles...) {
		c := &compiler{d: &d, o: o}
		if p.Dataset != "" && p.Dataset != d.ID {
			c.refuse("plan.dataset", "", fmt.Sprintf("the plan is for dataset %s", p.Dataset), "apply it to that one, or write a plan for this one")
		}
		digest := p.Digest()
		out := &Pipeline{plan: p.ID, version: p.Version, route: Route{Kind: Desensitised, Plan: digest[:]}, seed: o.Seed}
		steps := c.steps(r.Columns)
		for _, col := range d.Columns {
			s, named := steps[col.Name]
			switch {
			case !named:
				view := catalog.Column{Name: col.Name, Title: col.Title, Type: col.Type, Scale: col.Scale, Unit: col.Unit, Nullable: col.Nullable || col.Type != catalog.Text,
					Grade: col.Effective(), Personal: col.Personal}
				out.columns = append(out.columns, column{name: col.Name, op: "hidden", apply: whole(col)})
				out.view = append(out.view, view)
				continue
			case s.Op == Pass && col.Effective() >= sandbox.Grade4:
				c.refuse("plan.passed", c.name(col.Name), "a column of grade 4 is shown to no role as it is", "give it an operation, or take the step out")
				continue
			}
			c.add(out, s, col)
		}
		done, decision := c.finish(out)
		for _, reason := range decision.Reasons {
			if r.Role != "" {
				reason.Rule = fmt.Sprintf("role %s: %s", r.Role, reason.Rule)
			}
			reasons = append(reasons, reason)
		}
		if r.Role == "" {
			m.rest = done
		} else {
			m.roles[r.Role] = done
		}
	}
	if len(reasons) > 0 {
		return nil, sandbox.Decision{Reasons: reasons}
	}
	return m, sandbox.Decision{Allow: true}
}

// For gives what a role sees the table through; never nil, and everything hidden for a role without rules.
func (m *Masking) For(role sandbox.Role) *Pipeline {
	if p := m.roles[role]; p != nil {
		return p
	}
	return m.rest
}

// Apply shows one batch to a role.
func (m *Masking) Apply(mem memory.Allocator, role sandbox.Role, rec arrow.Record, who []sandbox.Pseudonym) (arrow.Record, []mask.Count, error) {
	return m.For(role).Apply(mem, rec, who)
}
