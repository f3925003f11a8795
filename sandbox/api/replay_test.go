package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/store"
)

// keep opens the store in a folder and makes the desk spend its nonces there.
func (s *site) keep(dir string) (closed func()) {
	s.t.Helper()
	st, err := store.Open(context.Background(), filepath.Join(dir, store.File), []byte("0123456789abcdef"), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	s.spend = func(ctx context.Context, who sandbox.IdentityID, nonce string, expires time.Time) error {
		return st.Seen(ctx, who, nonce, expires, s.clock.Now())
	}
	return func() {
		if err := st.Close(); err != nil {
			s.t.Error(err)
		}
	}
}

// Names the domain of TestReplayMatrix answers to.
const here, alsoHere = "domain.example:443", "domain.example:8443"

func named(c *Config) { c.Authorities = []string{here, alsoHere} }

// captured is a signed request as somebody on the way would have it.
type captured struct {
	method, target, authority string
	fields                    http.Header
	body                      string
}

func (s *site) capture(who sandbox.IdentityID) captured {
	s.t.Helper()
	const body = `{"party":"p-1","month":"2026-03"}`
	r := s.request("POST", "/v1/invoices", "application/json", body)
	r.Host = here
	s.sign(r, who)
	return captured{"POST", "/v1/invoices", here, r.Header.Clone(), body}
}

// replay sends what was captured, changed or not.
func (s *site) replay(c captured, change func(*captured)) (int, string) {
	s.t.Helper()
	c.fields = c.fields.Clone()
	if change != nil {
		change(&c)
	}
	r, err := http.NewRequest(c.method, s.url+c.target, strings.NewReader(c.body))
	if err != nil {
		s.t.Fatal(err)
	}
	r.Host, r.Header = c.authority, c.fields
	return s.do(r)
}

// TestReplayMatrix captures signed requests and sends them again in every way that is not the one they were signed for,
// against a real store of nonces.
func TestReplayMatrix(t *testing.T) {
	s := open(t, named)
	dir := t.TempDir()
	closed := s.keep(dir)
	agency := id(sandbox.Agency, sandbox.Officer)
	refused := func(what string, c captured, change func(*captured)) {
		t.Helper()
		status, body := s.replay(c, change)
		if status != 401 && status != 404 {
			t.Errorf("%s: %d %s", what, status, body)
		}
		if calls := s.took(); len(calls) != 0 {
			t.Errorf("%s: reached the service: %v", what, calls)
		}
	}
	changes := map[string]func(*captured){
		"path":          func(c *captured) { c.target = "/v1/parties" },
		"path, no such": func(c *captured) { c.target = "/v1/nothing" },
		"method":        func(c *captured) { c.method = "PUT" },
		"method, route": func(c *captured) { c.method, c.body = "GET", "" },
		"query":         func(c *captured) { c.target += "?month=2026-04" },
		"empty query":   func(c *captured) { c.target += "?a" },
		"authority":     func(c *captured) { c.authority = alsoHere },
		"elsewhere":     func(c *captured) { c.authority = "other.example:443" },
		"content type":  func(c *captured) { c.fields.Set("Content-Type", "application/json; charset=utf-8") },
		"no type":       func(c *captured) { c.fields.Del("Content-Type") },
		"body":          func(c *captured) { c.body = `{"party":"p-2","month":"2026-03"}` },
		"shorter body":  func(c *captured) { c.body = c.body[:len(c.body)-1] },
		"longer body":   func(c *captured) { c.body += "\n" },
		"no body":       func(c *captured) { c.body = "" },
		"body, digest": func(c *captured) {
			c.body = `{"party":"p-2","month":"2026-03"}`
			q := s.request("POST", "/v1/invoices", "application/json", c.body)
			c.fields.Set("Content-Digest", s.sign(q, agency).Header.Get("Content-Digest"))
		},
		"nonce": func(c *captured) {
			q := s.request("POST", "/v1/invoices", "application/json", c.body)
			q.Host = here
			c.fields.Set("Signature-Input", s.sign(q, agency).Header.Get("Signature-Input"))
		},
		"expiry": func(c *captured) {
			in := c.fields.Get("Signature-Input")
			at := s.clock.Now().Add(time.Minute).Unix()
			was := fmt.Sprintf(";expires=%d", at)
			if !strings.Contains(in, was) {
				t.Fatal("the signature input does not say when it expires as expected")
			}
			c.fields.Set("Signature-Input", strings.Replace(in, was, fmt.Sprintf(";expires=%d", at+60), 1))
		},
	}
	unspent, spent := s.capture(agency), s.capture(agency)
	if status, body := s.replay(spent, nil); status != 201 {
		t.Fatal(status, body)
	}
	s.took()
	for name, change := range changes {
		refused("not yet used, changed "+name, unspent, change)
		refused("used, changed "+name, spent, change)
	}
	refused("used", spent, nil)
	if status, body := s.replay(unspent, nil); status != 201 {
		t.Errorf("what was refused only when changed: %d %s", status, body)
	}
	s.took()
	refused("used", unspent, nil)

	kept := s.capture(agency) // never used while it was valid
	closed()
	restarted := open(t, named)
	restarted.desk, restarted.clock = s.desk, s.clock
	defer restarted.keep(dir)()
	restarted.serve(loopback(t), named)
	s.url = restarted.url
	refused("after a restart", spent, nil)
	refused("after a restart", unspent, nil)

	_ = s.clock.Sleep(context.Background(), time.Minute+time.Second)
	refused("after its expiry", spent, nil)
	refused("unused after its expiry", kept, nil)

	_ = s.clock.Sleep(context.Background(), 24*time.Hour)
	if status, body := s.replay(s.capture(agency), nil); status != 201 {
		t.Fatal(status, body)
	}
	s.took()
	_ = s.clock.Sleep(context.Background(), -24*time.Hour-time.Minute-time.Second) // the clock is set back
	refused("the clock set back", spent, nil)
	refused("unused, the clock set back", kept, nil)
}

// raw sends a request over a connection of its own and gives every byte of the answer but the date.
func (s *site) raw(r *http.Request) string {
	s.t.Helper()
	c, err := net.Dial("tcp", s.authority())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	r.Close = true
	if err := r.Write(c); err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	if err != nil {
		s.t.Fatal(err)
	}
	head, body, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	lines := strings.Split(string(head), "\r\n")
	var out []string
	for _, l := range lines {
		if !strings.HasPrefix(l, "Date: ") {
			out = append(out, l)
		}
	}
	sort.Strings(out[1:])
	return strings.Join(out, "\n") + "\n\n" + string(body)
}

// TestRevokedUnknownAndWrongLookAlike: who is enrolled, and who no longer is, cannot be probed.
func TestRevokedUnknownAndWrongLookAlike(t *testing.T) {
	s := open(t)
	operator := id(sandbox.Operator, sandbox.Officer)
	other, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by := func(who sandbox.IdentityID, key *sm.SigningKey) string {
		r := s.request("POST", "/v1/invoices", "application/json", `{"party":"p-1","month":"2026-03"}`)
		if err := (Signer{Identity: who, Key: key, Rand: rand.Reader, Now: s.clock.Now}).Sign(r.Context(), r); err != nil {
			t.Fatal(err)
		}
		return s.raw(r)
	}
	answers := map[string]string{"wrong signature": by(operator, other), "unknown": by("nobody", other), "unknown, the domain's key": by("nobody", s.domain)}
	if denied := by(operator, s.signers[operator].Key); !strings.HasPrefix(denied, "HTTP/1.1 403") {
		t.Fatalf("before the revocation: %s", denied)
	}
	s.revoked = map[sandbox.IdentityID]bool{operator: true}
	answers["revoked"] = by(operator, s.signers[operator].Key)
	answers["revoked, wrong signature"] = by(operator, other)
	answers["revoked, the domain's key"] = by(operator, s.domain)
	want := answers["wrong signature"]
	if !strings.HasPrefix(want, "HTTP/1.1 401") {
		t.Fatalf("%s", want)
	}
	for name, got := range answers {
		if got != want {
			t.Errorf("%s is told apart:\n%s\n%s", name, got, want)
		}
	}
}

// TestRevokedWhileTheRequestRuns: a key that is revoked between the signature check and the operation is refused.
func TestRevokedWhileTheRequestRuns(t *testing.T) {
	s := open(t)
	operator := id(sandbox.Operator, sandbox.Officer)
	s.spend = func(context.Context, sandbox.IdentityID, string, time.Time) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.revoked = map[sandbox.IdentityID]bool{operator: true}
		return nil
	}
	if status, body := s.do(s.sign(s.request("GET", "/v1/datasets", "", ""), operator)); status != 401 || strings.Contains(body, "revoked") {
		t.Errorf("%d %s", status, body)
	}
	if calls := s.took(); len(calls) != 0 {
		t.Errorf("reached the service: %v", calls)
	}
}
