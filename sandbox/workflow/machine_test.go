package workflow

import (
	"errors"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

func door(t *testing.T) *Machine[string, string] {
	t.Helper()
	m, err := NewMachine("door", []string{"shut", "open", "gone"}, []Edge[string, string]{
		{"shut", "open", "open", []sandbox.Role{sandbox.Operator, sandbox.Agency}},
		{"open", "shut", "shut", []sandbox.Role{sandbox.Operator}},
		{"open", "rot", "gone", []sandbox.Role{System}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Every state × event × role: what the table does not list is refused.
func TestMachineEveryPair(t *testing.T) {
	m := door(t)
	allowed := map[[3]string]string{
		{"shut", "open", "operator"}: "open",
		{"shut", "open", "agency"}:   "open",
		{"open", "shut", "operator"}: "shut",
		{"open", "rot", "system"}:    "gone",
	}
	takes := map[[2]string]bool{{"shut", "open"}: true, {"open", "shut"}: true, {"open", "rot"}: true}
	roles := []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Insurer, sandbox.Unit, sandbox.Subject, sandbox.Auditor, System, ""}
	for _, from := range append(m.States(), "unknown", "") {
		for _, on := range []string{"open", "shut", "rot", "unknown", ""} {
			for _, who := range roles {
				to, err := m.Next(from, on, who)
				want, ok := allowed[[3]string{from, on, string(who)}]
				switch {
				case ok && (err != nil || to != want):
					t.Errorf("%s on %s by %s: %q, %v", from, on, who, to, err)
				case !ok && to != from:
					t.Errorf("%s on %s by %s moved to %q", from, on, who, to)
				case !ok && takes[[2]string{from, on}] && !errors.Is(err, sandbox.Denied):
					t.Errorf("%s on %s by %s: %v, want denied", from, on, who, err)
				case !ok && !takes[[2]string{from, on}] && !errors.Is(err, sandbox.Conflict):
					t.Errorf("%s on %s by %s: %v, want conflict", from, on, who, err)
				}
			}
		}
	}
	if m.Initial() != "shut" || m.Final("open") || !m.Final("gone") || m.Final("unknown") {
		t.Error("initial and final states are wrong")
	}
}

func TestMachineIsImmutable(t *testing.T) {
	who := []sandbox.Role{sandbox.Agency}
	m, err := NewMachine("m", []string{"a", "b"}, []Edge[string, string]{{"a", "go", "b", who}})
	if err != nil {
		t.Fatal(err)
	}
	who[0] = sandbox.Operator
	m.States()[0] = "x"
	if _, err := m.Next("a", "go", sandbox.Operator); !errors.Is(err, sandbox.Denied) {
		t.Error("the caller's slice changed who may")
	}
	if !slices.Equal(m.States(), []string{"a", "b"}) {
		t.Error("the caller's slice changed the states")
	}
}

func TestNewMachineRefuses(t *testing.T) {
	by := []sandbox.Role{sandbox.Agency}
	type edge = Edge[string, string]
	for name, c := range map[string]struct {
		states []string
		edges  []edge
	}{
		"no states":     {nil, nil},
		"unnamed state": {[]string{""}, nil},
		"state twice":   {[]string{"a", "a"}, nil},
		"unknown from":  {[]string{"a"}, []edge{{"x", "go", "a", by}}},
		"unknown to":    {[]string{"a"}, []edge{{"a", "go", "x", by}}},
		"unnamed event": {[]string{"a"}, []edge{{"a", "", "a", by}}},
		"edge twice":    {[]string{"a", "b"}, []edge{{"a", "go", "b", by}, {"a", "go", "b", by}}},
		"nobody":        {[]string{"a", "b"}, []edge{{"a", "go", "b", nil}}},
		"unknown role":  {[]string{"a", "b"}, []edge{{"a", "go", "b", []sandbox.Role{"root"}}}},
		"out of reach":  {[]string{"a", "b"}, nil},
	} {
		if _, err := NewMachine("m", c.states, c.edges); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
