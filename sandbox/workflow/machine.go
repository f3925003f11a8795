package workflow

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// System (系统) is the role of the domain itself in a Machine: what a clock or a check causes, not a party.
const System sandbox.Role = "system"

// Edge (流转) is one permitted move: in From, the event On by one of Who leads to To.
type Edge[S, E ~string] struct {
	From S
	On   E
	To   S
	Who  []sandbox.Role
}

// Machine (状态机) is a fixed set of states and edges. It is immutable and safe for concurrent use.
type Machine[S, E ~string] struct {
	op     string
	states []S
	edges  map[S]map[E]Edge[S, E]
}

// NewMachine checks and builds a machine; op names it in errors. The first state is the initial one. A state or an edge
// named twice, an edge of an unknown state, an edge nobody may cause and a state that cannot be reached are Invalid.
func NewMachine[S, E ~string](op string, states []S, edges []Edge[S, E]) (*Machine[S, E], error) {
	bad := func(object, rule string) (*Machine[S, E], error) {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	m := &Machine[S, E]{op: op, states: slices.Clone(states), edges: map[S]map[E]Edge[S, E]{}}
	if len(states) == 0 {
		return bad("machine", "a machine has states")
	}
	for _, s := range states {
		if _, ok := m.edges[s]; ok || s == "" {
			return bad("state "+string(s), "states are named, each once")
		}
		m.edges[s] = map[E]Edge[S, E]{}
	}
	for _, e := range edges {
		at := fmt.Sprintf("edge %s on %s", e.From, e.On)
		if m.edges[e.From] == nil || m.edges[e.To] == nil {
			return bad(at, "an edge joins known states")
		}
		if _, ok := m.edges[e.From][e.On]; ok || e.On == "" {
			return bad(at, "a state takes an event in one way")
		}
		for _, r := range e.Who {
			if !r.Valid() && r != System {
				return bad(at, "only known roles cause an edge")
			}
		}
		if len(e.Who) == 0 {
			return bad(at, "an edge names who may cause it")
		}
		e.Who = slices.Clone(e.Who)
		m.edges[e.From][e.On] = e
	}
	reached := map[S]bool{states[0]: true}
	for todo := []S{states[0]}; len(todo) > 0; todo = todo[1:] {
		for _, e := range m.edges[todo[0]] {
			if !reached[e.To] {
				reached[e.To] = true
				todo = append(todo, e.To)
			}
		}
	}
	for _, s := range states {
		if !reached[s] {
			return bad("state "+string(s), "every state is reached from the first")
		}
	}
	return m, nil
}

// States lists the states in their given order.
func (m *Machine[S, E]) States() []S { return slices.Clone(m.states) }

// Initial gives the state a new object starts in.
func (m *Machine[S, E]) Initial() S { return m.states[0] }

// Final says whether nothing leads out of s. An unknown state is not final.
func (m *Machine[S, E]) Final(s S) bool {
	out, ok := m.edges[s]
	return ok && len(out) == 0
}

// Next gives the state that follows when who causes on in from: Conflict if the state does not take the event, Denied
// if the role may not cause it.
func (m *Machine[S, E]) Next(from S, on E, who sandbox.Role) (S, error) {
	e, ok := m.edges[from][on]
	if !ok {
		return from, &sandbox.Error{Op: m.op, Kind: sandbox.Conflict, Object: string(on),
			Detail: fmt.Sprintf("the state %q does not take it", string(from)), Hint: "read the current state again"}
	}
	if !slices.Contains(e.Who, who) {
		return from, &sandbox.Error{Op: m.op, Kind: sandbox.Denied, Object: string(on),
			Detail: fmt.Sprintf("the role %q may not do it in the state %q", string(who), string(from))}
	}
	return e.To, nil
}
