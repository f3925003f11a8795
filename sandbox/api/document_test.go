package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/query"
)

func loadDocument(t *testing.T) *openapi3.T {
	t.Helper()
	d, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDocumentIsValid(t *testing.T) {
	d := loadDocument(t)
	if d.OpenAPI != "3.1.0" {
		t.Errorf("openapi is %s", d.OpenAPI)
	}
	if err := d.Validate(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestTableIsTheDocuments compares the role table with x-allow, both ways.
func TestTableIsTheDocuments(t *testing.T) {
	table := routes()
	seen := map[string]bool{}
	for path, item := range loadDocument(t).Paths.Map() {
		for method, op := range item.Operations() {
			pattern := method + " " + path
			seen[pattern] = true
			a, ok := table[pattern]
			if !ok {
				t.Errorf("%s has no entry in the role table", pattern)
				continue
			}
			allow := a.allow
			if a.anyone {
				allow = append([]string{"anyone"}, allow...)
			}
			var says []string
			raw, err := json.Marshal(op.Extensions["x-allow"])
			if err != nil || json.Unmarshal(raw, &says) != nil {
				t.Fatalf("%s: x-allow is not a list", pattern)
			}
			if !slices.Equal(says, allow) {
				t.Errorf("%s: the document allows %v, the table %v", pattern, says, allow)
			}
			if a.stream != (op.RequestBody != nil && op.RequestBody.Value.Content[typeFrames] != nil) {
				t.Errorf("%s: the table and the document differ on sealed frames", pattern)
			}
			if a.message != (op.RequestBody != nil && op.RequestBody.Value.Content[typeMessage] != nil) {
				t.Errorf("%s: the table and the document differ on messages of sums", pattern)
			}
		}
	}
	for pattern := range table {
		if !seen[pattern] {
			t.Errorf("%s is in the role table only", pattern)
		}
	}
}

// TestSeparationOfDuties holds what no edit of the table may bring: an agency that asks, an asker that votes on behalf of
// a partner or insurer, rights minted by anyone but the agency.
func TestSeparationOfDuties(t *testing.T) {
	roles := []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Insurer, sandbox.Unit, sandbox.Subject, sandbox.Auditor}
	may := func(pattern string, role sandbox.Role) bool {
		for _, duty := range []sandbox.Duty{sandbox.Officer, sandbox.Reviewer} {
			if routes()[pattern].permits(sandbox.Party{Role: role}, sandbox.Identity{Duty: duty}) {
				return true
			}
		}
		return false
	}
	for pattern, only := range map[string][]sandbox.Role{
		"POST /v1/questions":                          {sandbox.Operator, sandbox.Partner},
		"POST /v1/claims":                             {sandbox.Insurer},
		"POST /v1/consents":                           {sandbox.Subject},
		"POST /v1/parties":                            {sandbox.Agency},
		"POST /v1/subjects":                           {sandbox.Agency},
		"POST /v1/invoices":                           {sandbox.Agency},
		"POST /v1/datasets":                           {sandbox.Unit},
		"POST /v1/datasets/{dataset}/classification":  {sandbox.Unit},
		"POST /v1/classification/rules":               {sandbox.Agency},
		"PUT /v1/pushes/{run}/frames":                 {sandbox.Unit},
		"POST /v1/reviews/{question}/votes":           {sandbox.Agency, sandbox.Operator, sandbox.Unit},
		"PUT /v1/datasets/{dataset}/masking":          {sandbox.Unit},
		"POST /v1/views":                              {sandbox.Unit, sandbox.Agency},
		"DELETE /v1/views/{view}":                     {sandbox.Unit, sandbox.Agency},
		"POST /v1/reviews/{question}/acts":            {sandbox.Agency, sandbox.Unit, sandbox.Operator, sandbox.Partner},
		"POST /v1/templates":                          {sandbox.Agency},
		"POST /v1/submissions":                        {sandbox.Operator, sandbox.Partner},
		"POST /v1/traces":                             {sandbox.Agency},
		"POST /v1/algorithms":                         {sandbox.Agency},
		"POST /v1/algorithms/{algorithm}/withdrawal":  {sandbox.Agency},
		"POST /v1/algorithms/{algorithm}/questions":   {sandbox.Operator, sandbox.Partner},
		"POST /v1/templates/{template}/stop":          {sandbox.Agency},
		"POST /v1/sums":                               {sandbox.Operator, sandbox.Partner},
		"POST /v1/sums/{question}/epochs":             {sandbox.Operator, sandbox.Partner},
		"POST /v1/joints":                             {sandbox.Operator, sandbox.Partner},
		"POST /v1/joints/explain":                     {sandbox.Operator, sandbox.Partner},
		"PUT /v1/joints/{question}/messages/{kind}":   {sandbox.Operator, sandbox.Partner},
		"GET /v1/joints/{question}/messages/{kind}":   {sandbox.Operator, sandbox.Partner},
		"POST /v1/sums/{question}/leave":              {sandbox.Unit},
		"POST /v1/models":                             {sandbox.Operator, sandbox.Partner},
		"POST /v1/models/{model}/approval":            {sandbox.Agency},
		"POST /v1/models/{model}/withdrawal":          {sandbox.Agency, sandbox.Operator, sandbox.Partner},
		"POST /v1/models/{model}/scores":              {sandbox.Operator, sandbox.Partner, sandbox.Insurer},
		"GET /v1/questions/{question}/shares":         {sandbox.Agency},
		"POST /v1/questions/{question}/shares":        {sandbox.Agency},
		"POST /v1/questions/{question}/shares/pushed": {sandbox.Agency, sandbox.Unit},
		"DELETE /v1/questions/{question}/shares":      {sandbox.Agency, sandbox.Operator, sandbox.Partner},
	} {
		for _, role := range roles {
			if got := may(pattern, role); got != slices.Contains(only, role) {
				t.Errorf("%s by %s: %v", pattern, role, got)
			}
		}
	}
	if routes()["POST /v1/reviews/{question}/votes"].permits(sandbox.Party{Role: sandbox.Agency}, sandbox.Identity{Duty: sandbox.Officer}) {
		t.Error("an officer votes")
	}
	if (access{}).permits(sandbox.Party{Role: sandbox.Agency}, sandbox.Identity{Duty: sandbox.Officer}) {
		t.Error("the zero access lets somebody in")
	}
}

// TestSchemasAreTheTypes compares each schema with the Go type that is written for it, field by field.
func TestSchemasAreTheTypes(t *testing.T) {
	d := loadDocument(t)
	for name, v := range map[string]any{
		"DomainInfo": DomainInfo{}, "Enrolment": Enrolment{}, "SubjectEnrolment": SubjectEnrolment{}, "Dataset": catalog.Dataset{}, "SchemaVersion": catalog.SchemaVersion{},
		"PushOpening": PushOpening{}, "Push": Push{}, "PushReport": PushReport{}, "Statement": attest.Statement{},
		"Application": grant.Application{}, "Scenario": grant.Scenario{}, "ConsentRequest": ConsentRequest{}, "ConsentRecord": consent.Record{},
		"Spec": query.Spec{}, "SQLRequest": SQLRequest{}, "Compiled": Compiled{}, "Explanation": Explanation{}, "Question": Question{}, "ClaimRequest": ClaimRequest{}, "ClaimAnswer": ClaimAnswer{},
		"Algorithm": Algorithm{}, "AlgorithmRequest": AlgorithmRequest{}, "AlgorithmUse": AlgorithmUse{}, "AlgorithmAnswer": AlgorithmAnswer{}, "AlgorithmExplanation": AlgorithmExplanation{},
		"ScoringFiling": ScoringFiling{}, "ScoringModel": ScoringModel{}, "ScoringRequest": ScoringRequest{}, "ScoringAnswer": ScoringAnswer{}, "Review": Review{}, "Template": Template{}, "ReleaseInfo": ReleaseInfo{}, "UsageEvent": meter.Event{}, "InvoiceRequest": InvoiceRequest{}, "Invoice": bill.Invoice{},
		"GrowthRequest": GrowthRequest{}, "Problem": Problem{}, "CertificateRequests": CertificateRequests{}, "CertificatePair": CertificatePair{},
		"AuthorityInfo": AuthorityInfo{}, "Overdue": Overdue{}, "Quarantine": Quarantine{}, "SearchPage": SearchPage{}, "SeedRequest": SeedRequest{}, "Entry": catalog.Entry{}, "Conflict": catalog.Conflict{},
		"Revision": catalog.Revision{}, "Scorecard": catalog.Scorecard{}, "ErasureRequest": ErasureRequest{}, "ErasureReport": ErasureReport{},
		"Classification": Classification{}, "ConfirmationRequest": ConfirmationRequest{}, "GradingRules": GradingRules{}, "RegradeRequest": RegradeRequest{}, "Regrading": Regrading{},
		"AffectedGrant": AffectedGrant{},
		"ViewRequest":   ViewRequest{}, "ViewOutcome": ViewOutcome{}, "View": View{}, "MaskingRequest": MaskingRequest{}, "MaskingOutcome": MaskingOutcome{}, "Masking": Masking{},
		"Sum": Sum{}, "SumUnit": SumUnit{}, "SumPlan": SumPlan{}, "SumRequest": SumRequest{}, "SumOrder": SumOrder{}, "SumLabels": SumLabels{}, "SumList": SumList{}, "SumLeave": SumLeave{},
		"Submission": Submission{}, "CopyTrace": CopyTrace{}, "TracedCopy": TracedCopy{}, "TraceSuspect": TraceSuspect{},
		"SharesTerms": SharesTerms{}, "SharesJob": SharesJob{}, "SharesPush": SharesPush{},
	} {
		s := d.Components.Schemas[name]
		if s == nil {
			t.Errorf("no schema %s", name)
			continue
		}
		for _, diff := range differ(name, s.Value, reflect.TypeOf(v), 0) {
			t.Error(diff)
		}
	}
}

// differ lists where a schema and the JSON of a Go type disagree.
func differ(at string, s *openapi3.Schema, t reflect.Type, depth int) (out []string) {
	is := func(want string) []string {
		if !s.Type.Is(want) {
			return []string{fmt.Sprintf("%s: the schema's type is %v, the value is a %s", at, s.Type, want)}
		}
		return nil
	}
	switch {
	case depth > 12:
		return nil
	case t == reflect.TypeFor[json.RawMessage]():
		return nil
	case t == reflect.TypeFor[time.Time]():
		return is("string")
	case t.Kind() == reflect.Pointer:
		return differ(at, s, t.Elem(), depth)
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return is("string")
	case t.Kind() == reflect.Slice:
		if bad := is("array"); bad != nil {
			return bad
		}
		return differ(at+"[]", s.Items.Value, t.Elem(), depth+1)
	case t.Kind() == reflect.String:
		return is("string")
	case t.Kind() == reflect.Bool:
		return is("boolean")
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64:
		return is("integer")
	case t.Kind() == reflect.Float64:
		return is("number")
	case t.Kind() != reflect.Struct:
		return []string{fmt.Sprintf("%s: a %s has no place in the interface", at, t)}
	}
	if bad := is("object"); bad != nil {
		return bad
	}
	fields, required := map[string]reflect.Type{}, []string{}
	collect(t, fields, &required)
	for name, ft := range fields {
		if p := s.Properties[name]; p == nil {
			out = append(out, fmt.Sprintf("%s: the schema lacks %s", at, name))
		} else {
			out = append(out, differ(at+"."+name, p.Value, ft, depth+1)...)
		}
	}
	for name := range s.Properties {
		if fields[name] == nil {
			out = append(out, fmt.Sprintf("%s: the type lacks %s", at, name))
		}
	}
	want := slices.Sorted(slices.Values(s.Required))
	slices.Sort(required)
	if !slices.Equal(want, required) {
		out = append(out, fmt.Sprintf("%s: the schema requires %v, the type writes %v", at, want, required))
	}
	return out
}

func collect(t reflect.Type, fields map[string]reflect.Type, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			collect(f.Type, fields, required)
			continue
		}
		name, opts, _ := strings.Cut(tag, ",")
		if !f.IsExported() || tag == "-" {
			continue
		}
		if name == "" {
			name = f.Name
		}
		fields[name] = f.Type
		if !strings.Contains(opts, "omit") {
			*required = append(*required, name)
		}
	}
}

// TestGeneratedIsCurrent catches an edited document whose routes were not generated again.
func TestGeneratedIsCurrent(t *testing.T) {
	b, err := os.ReadFile("openapi.gen.go")
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range loadDocument(t).Paths.Map() {
		for method, op := range item.Operations() {
			name := strings.ToUpper(op.OperationID[:1]) + op.OperationID[1:]
			constant := "Method" + method[:1] + strings.ToLower(method[1:])
			line := fmt.Sprintf("m.HandleFunc(http.%s+\" \"+options.BaseURL+%q, wrapper.%s)", constant, path, name)
			if !strings.Contains(string(b), line) {
				t.Errorf("%s %s is not generated: run go generate", method, path)
			}
		}
	}
}

func TestStatusOfEveryKind(t *testing.T) {
	for kind, want := range map[sandbox.Kind]int{
		sandbox.Invalid: http.StatusBadRequest, sandbox.Unsigned: http.StatusUnauthorized, sandbox.Denied: http.StatusForbidden,
		sandbox.NotFound: http.StatusNotFound, sandbox.Conflict: http.StatusConflict, sandbox.Expired: http.StatusGone,
		sandbox.TooLarge: http.StatusRequestEntityTooLarge, sandbox.Tampered: http.StatusUnprocessableEntity,
		sandbox.Unavailable: http.StatusServiceUnavailable, sandbox.Internal: http.StatusInternalServerError,
		sandbox.Passphrase: http.StatusInternalServerError, sandbox.Withheld: http.StatusConflict, "new": http.StatusInternalServerError,
	} {
		if got := Status(kind); got != want {
			t.Errorf("%s: %d, want %d", kind, got, want)
		}
	}
}
