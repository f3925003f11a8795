package api_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/query"
)

// route is one operation of the served document with a request that would pass it.
type route struct {
	method, path, contentType, body string
	anyone                          bool
	allow                           []string
}

func served(t *testing.T, s *site) []route {
	t.Helper()
	_, text := s.do(s.request("GET", "/openapi.yaml", "", ""))
	d, err := openapi3.NewLoader().LoadFromData([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var all []route
	for path, item := range d.Paths.Map() {
		for method, op := range item.Operations() {
			r := route{method: method, path: path}
			for _, p := range []string{"dataset", "view", "template", "algorithm", "model", "run", "scenario", "consent", "question", "release", "invoice", "identity"} {
				r.path = strings.ReplaceAll(strings.ReplaceAll(r.path, "{version}", "1"), "{"+p+"}", "x-1")
			}
			r.path = strings.ReplaceAll(r.path, "{index}", "7")
			r.path = strings.NewReplacer("{epoch}", "1", "{kind}", "1", "{from}", "0").Replace(r.path)
			if op.OperationID == "listUsage" {
				r.path += "?month=2026-03"
			}
			if op.RequestBody != nil {
				for ct := range op.RequestBody.Value.Content {
					r.contentType, r.body = ct, "{}"
				}
			}
			if op.OperationID == "revokeIdentity" || op.OperationID == "eraseVersion" {
				r.body = `{"reason":"left the unit"}`
			}
			if op.OperationID == "leaveSum" {
				r.body = `{"epoch":1,"reason":"restart"}`
			}
			if op.OperationID == "compileQuestion" {
				r.body = `{"scenario":"sc-1","purpose":"p","text":"SELECT 1"}`
			}
			if op.OperationID == "issueInvoice" {
				r.body = `{"party":"p-1","month":"2026-03"}`
			}
			for _, a := range op.Extensions["x-allow"].([]any) {
				if a == "anyone" {
					r.anyone = true
				}
				r.allow = append(r.allow, a.(string))
			}
			all = append(all, r)
		}
	}
	if len(all) < 30 {
		t.Fatalf("only %d operations were read", len(all))
	}
	return all
}

// TestEveryRouteByEveryRole walks the whole table: the roles and duties the document names reach the service, all others
// are denied before it, and nobody gets in unsigned.
func TestEveryRouteByEveryRole(t *testing.T) {
	s := open(t)
	opening := []byte("opening")
	digest := sm.Sum(opening)
	s.opening = digest[:]
	for _, op := range served(t, s) {
		if strings.HasSuffix(op.path, "/keys") { // needs a body per caller: TestRenewalIsSignedByBothKeys
			continue
		}
		name := op.method + " " + op.path
		s.took()
		status, body := s.do(s.request(op.method, op.path, op.contentType, op.body))
		if calls := s.took(); op.anyone != (status == 200) || op.anyone != (len(calls) > 0) || !op.anyone && status != 401 {
			t.Errorf("%s unsigned: %d %s, service calls %v", name, status, body, calls)
		}
		for _, role := range roles {
			for _, duty := range duties {
				want := op.anyone || slices.Contains(op.allow, string(role)) || slices.Contains(op.allow, string(role)+"/"+string(duty))
				path := op.path
				if strings.HasSuffix(path, "/certificates") { // an identity's own
					path = strings.Replace(path, "x-1", string(id(role, duty)), 1)
				}
				r := s.request(op.method, path, op.contentType, op.body)
				ctx := r.Context()
				if strings.HasSuffix(op.path, "/frames") {
					ctx = WithOpening(ctx, opening)
				}
				if err := s.signers[id(role, duty)].Sign(ctx, r); err != nil {
					t.Fatal(err)
				}
				status, body := s.do(r)
				calls := s.took()
				switch {
				case want && (status >= 300 || len(calls) == 0):
					t.Errorf("%s by %s/%s: %d %s, service calls %v", name, role, duty, status, body, calls)
				case want && !op.anyone && s.caller.Identity.ID != id(role, duty):
					t.Errorf("%s by %s/%s reached the service as %s", name, role, duty, s.caller.Identity.ID)
				case !want && (status != 403 || len(calls) != 0 || !strings.Contains(body, "role.denied")):
					t.Errorf("%s by %s/%s: %d %s, service calls %v", name, role, duty, status, body, calls)
				}
			}
		}
	}
}

func TestUnsignedReplayedAndChangedRequests(t *testing.T) {
	s := open(t)
	agency := id(sandbox.Agency, sandbox.Officer)
	fresh := func() *http.Request {
		return s.sign(s.request("POST", "/v1/invoices", "application/json", `{"party":"p-1","month":"2026-03"}`), agency)
	}
	if status, body := s.do(fresh()); status != 201 {
		t.Fatal(status, body)
	}
	if len(s.caller.Request) != sm.Size {
		t.Error("the service is not told the digest of the signed request")
	}
	s.took()
	setBody := func(r *http.Request, b string) {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(b)), int64(len(b))
	}
	for name, change := range map[string]func(*http.Request){
		"method":       func(r *http.Request) { r.Method = "PUT" },
		"path":         func(r *http.Request) { r.URL.Path = "/v1/parties" },
		"query":        func(r *http.Request) { r.URL.RawQuery = "a=b" },
		"authority":    func(r *http.Request) { r.Host = "127.0.0.1:1" },
		"content type": func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=utf-8") },
		"body":         func(r *http.Request) { setBody(r, `{"party":"p-2","month":"2026-03"}`) },
		"longer body":  func(r *http.Request) { setBody(r, `{"party":"p-1","month":"2026-03"} `) },
		"no signature": func(r *http.Request) { r.Header.Del("Signature") },
		"no input":     func(r *http.Request) { r.Header.Del("Signature-Input") },
		"no digest":    func(r *http.Request) { r.Header.Del("Content-Digest") },
		"two inputs":   func(r *http.Request) { r.Header.Add("Signature-Input", r.Header.Get("Signature-Input")) },
		"identity": func(r *http.Request) {
			h := r.Header.Get("Signature-Input")
			if !strings.Contains(h, string(agency)) {
				t.Fatal("the signature input does not name the identity")
			}
			r.Header.Set("Signature-Input", strings.Replace(h, string(agency), string(id(sandbox.Unit, sandbox.Officer)), 1))
		},
	} {
		r := fresh()
		change(r)
		if status, body := s.do(r); status != 401 && !(name == "method" && status == 404) {
			t.Errorf("changed %s: %d %s", name, status, body)
		}
		if calls := s.took(); len(calls) != 0 {
			t.Errorf("changed %s reached the service: %v", name, calls)
		}
	}

	r := fresh()
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(strings.NewReader(`{"party":"p-1","month":"2026-03"}`))
	if status, _ := s.do(r); status != 201 {
		t.Fatal(status)
	}
	s.took()
	if status, body := s.do(again); status != 401 || !strings.Contains(body, "replayed") {
		t.Errorf("replayed: %d %s", status, body)
	}

	elsewhere := s.request("GET", "/v1/invoices", "", "") // rightly signed, for another domain
	elsewhere.Host = "other.example:443"
	if status, body := s.do(s.sign(elsewhere, agency)); status != 401 || !strings.Contains(body, "authority") {
		t.Errorf("signed for another domain: %d %s", status, body)
	}

	old := fresh()
	_ = s.clock.Sleep(context.Background(), 10*time.Minute)
	if status, body := s.do(old); status != 401 {
		t.Errorf("expired: %d %s", status, body)
	}
	early := s.signers[agency]
	early.Now = func() time.Time { return s.clock.Now().Add(time.Hour) }
	r = s.request("GET", "/v1/invoices", "", "")
	if err := early.Sign(r.Context(), r); err != nil {
		t.Fatal(err)
	}
	if status, body := s.do(r); status != 401 {
		t.Errorf("from the future: %d %s", status, body)
	}
	if calls := s.took(); len(calls) != 0 {
		t.Errorf("reached the service: %v", calls)
	}
}

// TestUnknownIdentityLooksLikeAWrongKey: who is enrolled cannot be probed.
func TestUnknownIdentityLooksLikeAWrongKey(t *testing.T) {
	s := open(t)
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var bodies []string
	for _, who := range []sandbox.IdentityID{id(sandbox.Agency, sandbox.Officer), "nobody"} {
		r := s.request("GET", "/v1/invoices", "", "")
		if err := (Signer{Identity: who, Key: key, Rand: rand.Reader, Now: s.clock.Now}).Sign(r.Context(), r); err != nil {
			t.Fatal(err)
		}
		late := r.Clone(r.Context())
		status, body := s.do(r)
		_ = s.clock.Sleep(context.Background(), 10*time.Minute)
		lateStatus, lateBody := s.do(late)
		bodies = append(bodies, fmt.Sprint(status, body, lateStatus, lateBody))
	}
	if bodies[0] != bodies[1] || !strings.HasPrefix(bodies[0], "401") || !strings.Contains(bodies[0], "expired") {
		t.Errorf("%q and %q", bodies[0], bodies[1])
	}
	// not even with the key an unknown identity is checked against
	r := s.request("GET", "/v1/invoices", "", "")
	if err := (Signer{Identity: "nobody", Key: s.domain, Rand: rand.Reader, Now: s.clock.Now}).Sign(r.Context(), r); err != nil {
		t.Fatal(err)
	}
	if status, body := s.do(r); status != 401 {
		t.Errorf("an unknown identity with the domain's key: %d %s", status, body)
	}
}

func TestBadInputIsNamed(t *testing.T) {
	s := open(t)
	for name, c := range map[string]struct {
		who                             sandbox.IdentityID
		method, path, contentType, body string
		status                          int
		part                            string
	}{
		"unknown field": {id(sandbox.Agency, sandbox.Officer), "POST", "/v1/invoices", "application/json", `{"party":"p-1","month":"2026-03","x":1}`, 400, `unknown field \"x\"`},
		"month":         {id(sandbox.Agency, sandbox.Officer), "POST", "/v1/invoices", "application/json", `{"party":"p-1","month":"2026-3"}`, 400, "2006-01"},
		"party":         {id(sandbox.Agency, sandbox.Officer), "POST", "/v1/invoices", "application/json", `{"party":"P 1","month":"2026-03"}`, 400, "party"},
		"type":          {id(sandbox.Agency, sandbox.Officer), "POST", "/v1/invoices", "text/plain", `{}`, 400, "content-type"},
		"no type":       {id(sandbox.Agency, sandbox.Officer), "POST", "/v1/invoices", "", `{}`, 400, "content-type"},
		"frames type":   {id(sandbox.Unit, sandbox.Officer), "PUT", "/v1/pushes/r-1/frames", "application/json", `{}`, 400, "content-type"},
		"too large":     {id(sandbox.Agency, sandbox.Officer), "POST", "/v1/invoices", "application/json", strings.Repeat(" ", MaxBody+1), 413, "at most 4 KiB"},
		"body on get":   {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/invoices", "application/json", `{}`, 400, "takes none"},
		"object id":     {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/invoices/A%20B", "", "", 400, "invoice"},
		"index":         {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/evidence/entries/x440305/proof", "", "", 400, "index"},
		"usage month":   {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/usage?month=march", "", "", 400, "2006-01"},
		"no month":      {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/usage", "", "", 400, "month"},
		"route":         {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/nothing", "", "", 404, "no such operation"},
		"method":        {id(sandbox.Agency, sandbox.Officer), "DELETE", "/v1/invoices", "", "", 404, "no such operation"},
		"dots":          {id(sandbox.Agency, sandbox.Officer), "GET", "/v1/x/../invoices", "", "", 404, "no such operation"},
	} {
		s.took()
		status, body := s.do(s.sign(s.request(c.method, c.path, c.contentType, c.body), c.who))
		if status != c.status || !strings.Contains(body, c.part) || strings.Contains(body, "x440305") {
			t.Errorf("%s: %d %s", name, status, body)
		}
		if calls := s.took(); len(calls) != 0 {
			t.Errorf("%s reached the service: %v", name, calls)
		}
	}
}

func TestErrorsOfTheServiceReachTheClient(t *testing.T) {
	s := open(t)
	c, err := NewClientWithResponses(s.url, WithRequestEditorFn(s.signers[id(sandbox.Operator, sandbox.Officer)].Sign))
	if err != nil {
		t.Fatal(err)
	}
	s.err = &sandbox.Error{Op: "scenario", Kind: sandbox.NotFound, Object: "s-1", Hint: "list them"}
	resp, err := c.GetScenarioWithResponse(context.Background(), "s-1")
	if err != nil {
		t.Fatal(err)
	}
	err = Failure(resp.StatusCode(), resp.Body)
	var e *sandbox.Error
	if !errors.As(err, &e) || e.Error() != "scenario s-1: not found" || e.Hint != "list them" {
		t.Errorf("%v", err)
	}
	s.err = nil
	ok, err := c.AskQuestionWithResponse(context.Background(), query.Spec{Scenario: "s-1"})
	if err != nil || ok.JSON201 == nil {
		t.Errorf("%v %v", ok, err)
	}
	many, err := c.ListQuestionsWithResponse(context.Background())
	if err != nil || many.JSON200 == nil || *many.JSON200 == nil || len(*many.JSON200) != 0 {
		t.Errorf("an empty list is not []: %s %v", many.Body, err)
	}
}

// TestClaimRefusalsAreOneAnswerInOneSlot: a hit takes as long as a refusal, and every refusal is the same bytes.
func TestClaimRefusalsAreOneAnswerInOneSlot(t *testing.T) {
	s := open(t)
	body := `{"scenario":"s-1","purpose":"p","consent":"c-1","dataset":"d-1","fields":["a"],"sealed":""}`
	refusal := func(kind sandbox.Kind) func() (ClaimAnswer, error) {
		return func() (ClaimAnswer, error) {
			return ClaimAnswer{}, &sandbox.Error{Op: "claim", Kind: kind, Object: "c-1", Detail: "revoked yesterday"}
		}
	}
	ask := func(f func() (ClaimAnswer, error), work time.Duration) (int, string, time.Duration) {
		s.claim = func() (ClaimAnswer, error) {
			_ = s.clock.Sleep(context.Background(), work)
			return f()
		}
		r := s.sign(s.request("POST", "/v1/claims", "application/json", body), id(sandbox.Insurer, sandbox.Officer))
		began := s.clock.Now()
		status, text := s.do(r)
		return status, text, s.clock.Now().Sub(began)
	}
	hit := func() (ClaimAnswer, error) {
		return ClaimAnswer{Question: "q-1", Envelope: json.RawMessage(`{"sealed":1}`)}, nil
	}
	status, text, took := ask(hit, 13*time.Millisecond)
	if status != 200 || took != 20*time.Millisecond || !strings.Contains(text, "sealed") {
		t.Errorf("a hit: %d %s in %v", status, text, took)
	}
	for _, kind := range []sandbox.Kind{sandbox.NotFound, sandbox.Expired, sandbox.Conflict, sandbox.TooLarge, sandbox.Withheld, sandbox.Tampered, sandbox.Unsigned} {
		status, text, took := ask(refusal(kind), 2*time.Millisecond)
		if status != 200 || text != `{"code":"consent.not-answered"}` || took != 20*time.Millisecond {
			t.Errorf("%s: %d %s in %v", kind, status, text, took)
		}
	}
	// a value with its reason, and an envelope left in it by mistake
	status, text, _ = ask(func() (ClaimAnswer, error) {
		return ClaimAnswer{Question: "q-2", Code: "consent.revoked", Envelope: json.RawMessage(`{"sealed":1}`)}, nil
	}, 0)
	if status != 200 || text != `{"question":"q-2","code":"consent.not-answered"}` {
		t.Errorf("%d %s", status, text)
	}
	for kind, want := range map[sandbox.Kind]int{sandbox.Invalid: 400, sandbox.Denied: 403, sandbox.Unavailable: 503, sandbox.Internal: 500} {
		if status, text, took := ask(refusal(kind), 33*time.Millisecond); status != want || took != 40*time.Millisecond {
			t.Errorf("%s: %d %s in %v", kind, status, text, took)
		}
	}

	s.ask = func() (Question, error) {
		_ = s.clock.Sleep(context.Background(), 45*time.Millisecond)
		return Question{ID: "q-3", State: "withheld", Code: sandbox.CodeWithheld}, nil
	}
	r := s.sign(s.request("POST", "/v1/questions", "application/json", `{"scenario":"s-1"}`), id(sandbox.Operator, sandbox.Officer))
	began := s.clock.Now()
	if status, text := s.do(r); status != 201 || s.clock.Now().Sub(began) != 80*time.Millisecond {
		t.Errorf("a question: %d %s in %v", status, text, s.clock.Now().Sub(began))
	}
}

func TestPushedFramesAreSignedByTheirOpening(t *testing.T) {
	s := open(t)
	opening, other := []byte("opening of r-1"), []byte("opening of r-2")
	digest := sm.Sum(opening)
	s.opening = digest[:]
	var got []byte
	s.receive = func(r io.Reader) (rep PushReport, err error) {
		got, err = io.ReadAll(r)
		return PushReport{Run: "r-1"}, err
	}
	c, err := NewClientWithResponses(s.url, WithRequestEditorFn(s.signers[id(sandbox.Unit, sandbox.Officer)].Sign))
	if err != nil {
		t.Fatal(err)
	}
	push := func(opening []byte, body io.Reader) *PutFramesResponse {
		ctx := context.Background()
		if opening != nil {
			ctx = WithOpening(ctx, opening)
		}
		resp, err := c.PutFramesWithBodyWithResponse(ctx, "r-1", "application/vnd.opdomain.frames", body)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	once := func(s string) io.Reader { return io.MultiReader(strings.NewReader(s)) } // cannot be rewound
	if resp := push(opening, once("frames")); resp.JSON200 == nil || string(got) != "frames" {
		t.Errorf("%s: service got %d bytes", resp.Body, len(got))
	}
	s.took()
	if resp := push(other, once("frames")); resp.StatusCode() != 401 || slices.Contains(s.took(), "ReceivePush") {
		t.Errorf("another push's opening: %s", resp.Body)
	}
	if resp := push(nil, strings.NewReader("frames")); resp.StatusCode() != 401 {
		t.Errorf("signed over the frames: %s", resp.Body)
	}
	if resp := push(opening, once(strings.Repeat("x", 1001))); resp.StatusCode() != 413 {
		t.Errorf("too many bytes: %d %s", resp.StatusCode(), resp.Body)
	}
	if _, err := c.PutFramesWithBodyWithResponse(context.Background(), "r-1", "application/vnd.opdomain.frames", once("frames")); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("signed without an opening: %v", err)
	}
}

func TestCutBundleNeverLooksWhole(t *testing.T) {
	s := open(t)
	get := func() (*http.Response, error) {
		return http.DefaultTransport.RoundTrip(s.sign(s.request("GET", "/v1/evidence/bundle", "", ""), id(sandbox.Auditor, sandbox.Officer)))
	}
	s.bundle = func(w io.Writer) error {
		_, err := io.WriteString(w, "header\nlast\n")
		return err
	}
	resp, err := get()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(b) != "header\nlast\n" || resp.Header.Get("Content-Type") != "application/vnd.opdomain.bundle" {
		t.Errorf("%q %v", b, err)
	}
	s.bundle = func(w io.Writer) error {
		_, _ = io.WriteString(w, strings.Repeat("line\n", 10000))
		return &sandbox.Error{Op: "bundle", Kind: sandbox.Tampered, Object: "entry 7"}
	}
	if resp, err = get(); err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("a bundle that failed half way ends as if it were whole")
	}
	s.bundle = func(io.Writer) error { return &sandbox.Error{Op: "bundle", Kind: sandbox.Tampered, Object: "entry 0"} }
	if resp, err = get(); err != nil || resp.StatusCode != 422 {
		t.Errorf("%v %v", resp, err)
	} else {
		resp.Body.Close()
	}
}

// TestStopLetsRunningRequestsFinish ends the server while a request runs.
func TestStopLetsRunningRequestsFinish(t *testing.T) {
	s := open(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(Config{Service: s.desk, Now: s.clock.Now, Sleep: s.clock.Sleep, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, l) }()
	s.url = (&url.URL{Scheme: "http", Host: l.Addr().String()}).String()
	s.ask = func() (Question, error) {
		stop()
		// the listener closes first: a new connection is refused while this request still runs
		for {
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return Question{ID: "q-1"}, nil
			}
			c.Close()
		}
	}
	r := s.sign(s.request("POST", "/v1/questions", "application/json", `{}`), id(sandbox.Operator, sandbox.Officer))
	if status, body := s.do(r); status != 201 {
		t.Errorf("the running request: %d %s", status, body)
	}
	if err := <-ended; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	s := open(t)
	full := Config{Service: s.desk, Now: s.clock.Now, Sleep: s.clock.Sleep, Log: slog.New(slog.DiscardHandler), Metrics: s.metrics}
	for name, change := range map[string]func(*Config){
		"service": func(c *Config) { c.Service = nil }, "now": func(c *Config) { c.Now = nil }, "sleep": func(c *Config) { c.Sleep = nil },
		"log": func(c *Config) { c.Log = nil }, "metrics": func(c *Config) { c.Metrics = nil }, "slot": func(c *Config) { c.Slot = -1 },
	} {
		c := full
		change(&c)
		if _, err := New(c); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(full); err != nil {
		t.Error(err)
	}
}

// TestRenewalIsSignedByBothKeys: an identity renews its own keys only, and the new key signs for itself.
func TestRenewalIsSignedByBothKeys(t *testing.T) {
	s := open(t)
	who, other := id(sandbox.Unit, sandbox.Officer), id(sandbox.Unit, sandbox.Reviewer)
	sign, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	decrypt, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := func(of sandbox.IdentityID) KeyRenewal {
		k, err := NewRenewal(rand.Reader, of, sign, decrypt.Public())
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	renew := func(at sandbox.IdentityID, k KeyRenewal) (int, string) {
		b, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		return s.do(s.sign(s.request("POST", "/v1/identities/"+string(at)+"/keys", "application/json", string(b)), who))
	}
	for name, c := range map[string]struct {
		at     sandbox.IdentityID
		k      KeyRenewal
		status int
	}{"another's keys": {other, made(other), 404}, "another's proof": {who, made(other), 400}, "no proof": {who, KeyRenewal{SignKey: sign.Public().Bytes(), EncryptKey: decrypt.Public().Bytes()}, 400}} {
		if status, body := renew(c.at, c.k); status != c.status || len(s.took()) != 0 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if status, body := renew(who, made(who)); status != 204 || !slices.Contains(s.took(), "RenewIdentity") {
		t.Errorf("%d %s", status, body)
	}
}
