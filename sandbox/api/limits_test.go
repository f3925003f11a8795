package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// whole sends a request and gives the status, the Retry-After field and the body.
func (s *site) whole(r *http.Request) (status int, after, body string) {
	s.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		s.t.Error(err)
		return 0, "", ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Error(err)
	}
	return resp.StatusCode, resp.Header.Get("Retry-After"), string(b)
}

func (s *site) expect(what string, r *http.Request, status int, after, part string) {
	s.t.Helper()
	got, wait, body := s.whole(r)
	if got != status || wait != after || !strings.Contains(body, part) {
		s.t.Errorf("%s: %d, Retry-After %q, %s; want %d, %q, %s", what, got, wait, body, status, after, part)
	}
}

func TestRateOfAnAddress(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits = Limits{AddressRate: 0.5, AddressBurst: 3} })
	for range 3 {
		s.expect("within the burst", s.request("GET", "/healthz", "", ""), 200, "", "ok")
	}
	s.took()
	for _, r := range []*http.Request{s.request("GET", "/healthz", "", ""), s.request("GET", "/v1/nothing", "", ""),
		s.sign(s.request("GET", "/v1/datasets", "", ""), id(sandbox.Operator, sandbox.Officer))} {
		s.expect("over it", r, 429, "2", "one address")
	}
	if calls := s.took(); len(calls) != 0 {
		t.Errorf("reached the service: %v", calls)
	}
	_ = s.clock.Sleep(context.Background(), 2*time.Second)
	s.expect("after Retry-After", s.request("GET", "/healthz", "", ""), 200, "", "ok")
	s.expect("and once only", s.request("GET", "/healthz", "", ""), 429, "2", "one address")
}

func TestRateOfAnIdentity(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits = Limits{IdentityRate: 1, IdentityBurst: 10} })
	operator, agency := id(sandbox.Operator, sandbox.Officer), id(sandbox.Agency, sandbox.Officer)
	read := func(who sandbox.IdentityID) *http.Request {
		return s.sign(s.request("GET", "/v1/datasets", "", ""), who)
	}
	for range 30 { // what is not proven to come from an identity costs it nothing
		r := read(operator)
		r.Header.Set("Content-Type", "text/plain")
		s.expect("forged", r, 401, "", "does not verify")
	}
	for range 10 {
		s.expect("within the burst", read(operator), 200, "", "[]")
	}
	s.took()
	late := read(operator)
	again := late.Clone(context.Background())
	s.expect("over it", late, 429, "1", "one identity")
	s.expect("another identity", read(agency), 200, "", "[]")
	question := func() *http.Request {
		return s.sign(s.request("POST", "/v1/questions", "application/json", `{}`), operator)
	}
	s.expect("a dear one", question(), 429, "10", "one identity")
	if calls := s.took(); slices.Contains(calls, "Ask") {
		t.Errorf("reached the service: %v", calls)
	}
	_ = s.clock.Sleep(context.Background(), time.Second)
	s.expect("the same request later: its nonce was not spent", again, 200, "", "[]")
	_ = s.clock.Sleep(context.Background(), 10*time.Second)
	s.expect("a dear one after Retry-After", question(), 201, "", "{")
	s.expect("which took all", read(operator), 429, "1", "one identity")

	_ = s.clock.Sleep(context.Background(), time.Hour) // the burst bounds what was saved up
	invoice := func() *http.Request {
		return s.sign(s.request("POST", "/v1/invoices", "application/json", `{"party":"p-1","month":"2026-03"}`), agency)
	}
	for range 5 {
		s.expect("a writing one", invoice(), 201, "", "{")
	}
	s.expect("the sixth", invoice(), 429, "2", "one identity")
}

// held makes every question of s wait; go releases them.
func held(s *site) (began <-chan struct{}, release func()) {
	in, out := make(chan struct{}, 100), make(chan struct{})
	s.ask = func() (Question, error) {
		in <- struct{}{}
		<-out
		return Question{ID: "q-1"}, nil
	}
	return in, func() { close(out) }
}

func TestRequestsRunningAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		limits Limits
		status int
		part   string
		other  int // status of another identity's request meanwhile
	}{
		"in all":      {Limits{InFlight: 2}, 503, "as many requests are running", 503},
		"by identity": {Limits{PerIdentity: 2}, 429, "of this identity", 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, func(config *Config) { config.Limits = c.limits })
			began, release := held(s)
			operator, agency := id(sandbox.Operator, sandbox.Officer), id(sandbox.Agency, sandbox.Officer)
			question := func() *http.Request {
				return s.sign(s.request("POST", "/v1/questions", "application/json", `{}`), operator)
			}
			done := make(chan int, 2)
			for range 2 {
				r := question()
				go func() {
					status, _, _ := s.whole(r)
					done <- status
				}()
				<-began
			}
			s.expect("a third", question(), c.status, "1", c.part)
			if status, _, _ := s.whole(s.sign(s.request("GET", "/v1/datasets", "", ""), agency)); status != c.other {
				t.Errorf("another identity: %d", status)
			}
			release()
			for range 2 {
				if status := <-done; status != 201 {
					t.Errorf("a running one: %d", status)
				}
			}
			for range 5 { // places are given back
				s.expect("later", question(), 201, "", "q-1")
			}
		})
	}
}

// TestLargeRequestsAtOnce: of what may hold many megabytes one request of a party runs; others and small ones run meanwhile.
func TestLargeRequestsAtOnce(t *testing.T) {
	s := open(t)
	began, release := held(s)
	scores := func(role sandbox.Role) *http.Request {
		return s.sign(s.request("POST", "/v1/models/m-1/scores", "application/json", `{}`), id(role, sandbox.Officer))
	}
	done := make(chan int, 2)
	for _, role := range []sandbox.Role{sandbox.Operator, sandbox.Partner} {
		r := scores(role)
		go func() {
			status, _, _ := s.whole(r)
			done <- status
		}()
		<-began
	}
	s.expect("a second of a party", scores(sandbox.Operator), 429, "1", "large requests of this party")
	if status, _, _ := s.whole(s.sign(s.request("GET", "/v1/datasets", "", ""), id(sandbox.Operator, sandbox.Officer))); status != 200 {
		t.Errorf("a small one: %d", status)
	}
	release()
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("a running one: %d", status)
		}
	}
	s.expect("later", scores(sandbox.Operator), 200, "", "q-1")
}

// TestCoreBoundsWhatRuns: a Core behind another front end counts by itself.
func TestCoreBoundsWhatRuns(t *testing.T) {
	s := open(t)
	k := s.core(func(c *Config) { c.Limits.InFlight = 1 })
	began, release := held(s)
	running := s.call("POST", "/v1/questions", "application/json", `{}`, id(sandbox.Operator, sandbox.Officer))
	done := make(chan int)
	go func() { done <- k.Do(context.Background(), running).Status }()
	<-began
	health := Call{Route: "GET /healthz", Method: "GET", Authority: s.authority(), Path: "/healthz"}
	if a := k.Do(context.Background(), health); a.Status != 503 || a.RetryAfter < time.Second {
		t.Errorf("a second call: %d after %v", a.Status, a.RetryAfter)
	}
	release()
	if status := <-done; status != 201 {
		t.Error(status)
	}
	if a := k.Do(context.Background(), health); a.Status != 200 {
		t.Errorf("later: %d", a.Status)
	}
}

func TestPushesOfAUnitAtOnce(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits = Limits{PerUnit: 1} })
	opening := []byte("opening")
	digest := sm.Sum(opening)
	s.opening = digest[:]
	unit, colleague, other := id(sandbox.Unit, sandbox.Officer), sandbox.IdentityID("unit-second"), sandbox.IdentityID("other-unit")
	for who, party := range map[sandbox.IdentityID]sandbox.PartyID{colleague: "unit", other: "unit-b"} {
		i := s.identities[unit]
		i.ID, i.Party = who, party
		s.identities[who] = i
		s.parties[party] = sandbox.Party{ID: party, Role: sandbox.Unit}
		signer := s.signers[unit]
		signer.Identity = who
		s.signers[who] = signer
	}
	in, out := make(chan struct{}, 10), make(chan struct{})
	s.receive = func(r io.Reader) (PushReport, error) {
		in <- struct{}{}
		<-out
		_, err := io.ReadAll(r)
		return PushReport{}, err
	}
	push := func(who sandbox.IdentityID) *http.Request {
		r := s.request("PUT", "/v1/pushes/r-1/frames", "application/vnd.opdomain.frames", "frames")
		if err := s.signers[who].Sign(WithOpening(context.Background(), opening), r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	done := make(chan int, 2)
	for _, who := range []sandbox.IdentityID{unit, other} { // each unit has a place of its own
		r := push(who)
		go func() {
			status, _, _ := s.whole(r)
			done <- status
		}()
		<-in
	}
	s.expect("a second of the unit", push(unit), 429, "1", "pushes of this unit")
	s.expect("by a colleague", push(colleague), 429, "1", "pushes of this unit")
	close(out)
	for range 2 {
		if status := <-done; status != 200 {
			t.Errorf("a running push: %d", status)
		}
	}
	s.expect("afterwards", push(colleague), 200, "", "{")
}

// serve runs a server on l until the test ends.
func (s *site) serve(l net.Listener, change ...func(*Config)) {
	s.t.Helper()
	config := Config{Service: s.desk, Now: s.clock.Now, Sleep: s.clock.Sleep, Log: slog.New(slog.NewTextHandler(s, nil)), Metrics: s.metrics}
	for _, f := range change {
		f(&config)
	}
	server, err := New(config)
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx, l) }()
	s.t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			s.t.Errorf("stop: %v", err)
		}
	})
	s.url = (&url.URL{Scheme: "http", Host: l.Addr().String()}).String()
}

func loopback(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestConnectionsAtOnce: one connection too many waits unanswered until another ends.
func TestConnectionsAtOnce(t *testing.T) {
	s := open(t)
	l := loopback(t)
	s.serve(l, func(c *Config) { c.Limits.Connections = 2 })
	dial := func() net.Conn {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ask := func(c net.Conn) error {
		_, err := fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: %s\r\n\r\n", l.Addr())
		return err
	}
	answer := func(c net.Conn) error {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
		if resp.StatusCode != 200 {
			return errors.New(resp.Status)
		}
		return err
	}
	first, second := dial(), dial()
	for range 2 {
		for _, c := range []net.Conn{first, second} {
			if err := errors.Join(ask(c), answer(c)); err != nil {
				t.Fatal(err)
			}
		}
	}
	third := dial()
	if err := ask(third); err != nil {
		t.Fatal(err)
	}
	for range 50 { // the two that are open are served meanwhile
		if err := errors.Join(ask(first), answer(first)); err != nil {
			t.Fatal(err)
		}
	}
	if err := third.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if n, _ := third.Read(b[:]); n != 0 {
		t.Error("a third connection is answered while two are open")
	}
	if err := third.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	first.Close()
	if err := answer(third); err != nil {
		t.Errorf("after one ended: %v", err)
	}
}

func TestLimitsAreChecked(t *testing.T) {
	s := open(t)
	for name, l := range map[string]Limits{
		"rate": {AddressRate: -1}, "identity rate": {IdentityRate: -1}, "no number": {AddressRate: math.NaN()}, "infinite": {IdentityRate: math.Inf(1)},
		"burst": {AddressBurst: -1}, "small burst": {IdentityBurst: 9}, "in flight": {InFlight: -1}, "per identity": {PerIdentity: -1},
		"per unit": {PerUnit: -1}, "connections": {Connections: -1}, "addresses": {Addresses: -1}, "identities": {Identities: -1}, "huge": {InFlight: 1 << 31},
	} {
		_, err := New(Config{Service: s.desk, Now: s.clock.Now, Sleep: s.clock.Sleep, Log: slog.New(slog.DiscardHandler), Metrics: NewMetrics(), Limits: l})
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "limits") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
