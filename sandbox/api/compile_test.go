package api_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// compiled stands where the compiler would: it says what it was given. Package sql has the real one, which this package must not
// reach; cmd/opdomain plays both together.
func compiled(r SQLRequest, in map[sandbox.DatasetID]catalog.Dataset) Compiled {
	if strings.HasPrefix(r.Text, "no") {
		return Compiled{Refusal: &SQLRefusal{Code: "sql.syntax", Construct: "word", Line: 1, Column: len(in) + 1, Rule: "a rule", Change: "a change"}}
	}
	return Compiled{Text: r.Text, Spec: &query.Spec{Scenario: r.Scenario, Purpose: r.Purpose, Inputs: []query.Input{}, Measures: []query.Measure{}}}
}

// TestTextIsCompiledInFront: what the Core says of the caller decides whether a text is compiled, and nothing is asked by it.
func TestTextIsCompiledInFront(t *testing.T) {
	s := open(t)
	send := func(who sandbox.IdentityID, body string) (int, string) {
		r := s.request("POST", "/v1/questions/sql", "application/json", body)
		if who != "" {
			if err := s.signers[who].Sign(r.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		return s.do(r)
	}
	operator := id(sandbox.Operator, sandbox.Officer)
	status, body := send(operator, `{"scenario":"sc-1","purpose":"p","text":"SELECT 1"}`)
	var c Compiled
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != http.StatusOK || c.Text != "SELECT 1" || c.Spec == nil || c.Spec.Scenario != "sc-1" || c.Refusal != nil {
		t.Errorf("%d %s", status, body)
	}
	if calls := s.took(); strings.Join(calls, " ") != "Datasets" {
		t.Errorf("the service was called for %v", calls)
	}
	status, body = send(operator, `{"scenario":"sc-1","purpose":"p","text":"no"}`)
	c = Compiled{}
	if err := json.Unmarshal([]byte(body), &c); err != nil || status != http.StatusOK || c.Spec != nil || c.Refusal == nil || c.Refusal.Column != 1 {
		t.Errorf("%d %s", status, body)
	}
	for name, x := range map[string]struct {
		who    sandbox.IdentityID
		body   string
		status int
	}{
		"unsigned":        {"", `{"scenario":"sc-1","purpose":"p","text":"SELECT 1"}`, 401},
		"by the agency":   {id(sandbox.Agency, sandbox.Officer), `{"scenario":"sc-1","purpose":"p","text":"SELECT 1"}`, 403},
		"a second field":  {operator, `{"scenario":"sc-1","purpose":"p","text":"SELECT 1","text":"SELECT 2"}`, 400},
		"an unknown one":  {operator, `{"scenario":"sc-1","purpose":"p","sql":"SECRET"}`, 400},
		"no scenario":     {operator, `{"purpose":"p","text":"SELECT 1"}`, 400},
		"more than a MiB": {operator, `{"text":"` + strings.Repeat("x", MaxBody) + `"}`, 413},
	} {
		if status, body := send(x.who, x.body); status != x.status || strings.Contains(body, "SECRET") || strings.Contains(body, "spec") {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
}
