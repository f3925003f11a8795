package api_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// clock is a time that moves only when something sleeps on it or a test says so.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Sleep(_ context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	return nil
}

// site is a served desk with one key pair per identity.
type site struct {
	*desk
	t       testing.TB
	clock   *clock
	url     string
	log     *bytes.Buffer
	logMu   sync.Mutex
	signers map[sandbox.IdentityID]Signer
	metrics *Metrics
	domain  *sm.SigningKey
}

func (s *site) Write(b []byte) (int, error) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.Write(b)
}

func (s *site) logged() string {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.String()
}

var roles = []sandbox.Role{sandbox.Agency, sandbox.Operator, sandbox.Partner, sandbox.Insurer, sandbox.Unit, sandbox.Subject, sandbox.Auditor}
var duties = []sandbox.Duty{sandbox.Officer, sandbox.Reviewer}

func id(role sandbox.Role, duty sandbox.Duty) sandbox.IdentityID {
	return sandbox.IdentityID(string(role) + "-" + string(duty))
}

// open serves a desk. A change alters the configuration before that.
func open(t testing.TB, change ...func(*Config)) *site {
	t.Helper()
	s := &site{
		desk: &desk{identities: map[sandbox.IdentityID]sandbox.Identity{}, parties: map[sandbox.PartyID]sandbox.Party{}, nonces: map[string]bool{},
			envelope: json.RawMessage(`{}`)},
		t: t, clock: &clock{now: time.Date(2026, 3, 5, 10, 0, 0, 0, time.UTC)}, log: &bytes.Buffer{}, signers: map[sandbox.IdentityID]Signer{}, metrics: NewMetrics(),
	}
	for _, role := range roles {
		key, err := sm.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		party := sandbox.Party{ID: sandbox.PartyID(role), Role: role}
		s.parties[party.ID] = party
		for _, duty := range duties {
			s.identities[id(role, duty)] = sandbox.Identity{ID: id(role, duty), Party: party.ID, Duty: duty, SignKey: key.Public().Bytes()}
			s.signers[id(role, duty)] = Signer{Identity: id(role, duty), Key: key, Rand: rand.Reader, Now: s.clock.Now}
		}
	}
	domain, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s.domain, s.domainKey = domain, domain.Public().Bytes()
	ts := httptest.NewUnstartedServer(nil)
	config := Config{Service: s.desk, Compile: compiled, Authorities: []string{ts.Listener.Addr().String()}, Now: s.clock.Now, Sleep: s.clock.Sleep,
		Slot: 20 * time.Millisecond, MaxPush: 1000, Log: slog.New(slog.NewTextHandler(s, nil)), Metrics: s.metrics}
	for _, f := range change {
		f(&config)
	}
	server, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ts.Config.Handler = server
	ts.Start()
	t.Cleanup(ts.Close)
	s.url = ts.URL
	return s
}

// request makes an unsigned request.
func (s *site) request(method, path, contentType, body string) *http.Request {
	s.t.Helper()
	r, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	return r
}

func (s *site) sign(r *http.Request, who sandbox.IdentityID) *http.Request {
	s.t.Helper()
	if err := s.signers[who].Sign(r.Context(), r); err != nil {
		s.t.Fatal(err)
	}
	return r
}

func (s *site) do(r *http.Request) (int, string) {
	s.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (s *site) authority() string { return strings.TrimPrefix(s.url, "http://") }

// core gives a Core without HTTP before the same desk.
func (s *site) core(change ...func(*Config)) Core {
	s.t.Helper()
	config := Config{Service: s.desk, Authorities: []string{s.authority()}, Now: s.clock.Now, Sleep: s.clock.Sleep, MaxPush: 1000,
		Log: slog.New(slog.NewTextHandler(s, nil)), Metrics: NewMetrics()}
	for _, f := range change {
		f(&config)
	}
	k, err := NewCore(config)
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

// call signs a request and takes it down as a front end would. The route is a pattern without wildcards.
func (s *site) call(method, path, contentType, body string, who sandbox.IdentityID) Call {
	s.t.Helper()
	r := s.sign(s.request(method, path, contentType, body), who)
	return Call{Route: method + " " + r.URL.Path, Method: method, Authority: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Fields: Fields{ContentType: r.Header.Get("Content-Type"), ContentDigest: r.Header.Get("Content-Digest"),
			SignatureInput: r.Header.Get("Signature-Input"), Signature: r.Header.Get("Signature")}, Body: strings.NewReader(body)}
}
