package node

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/query"
)

// silent is a transport whose zones never come; joined is closed once the domain waits for them.
type silent struct {
	once   sync.Once
	joined chan struct{}
}

func (s *silent) Dial(ctx context.Context, _ int) (net.Conn, error) { return s.Accept(ctx) }

func (s *silent) Accept(ctx context.Context) (net.Conn, error) {
	s.once.Do(func() { close(s.joined) })
	<-ctx.Done()
	return nil, ctx.Err()
}

// waits has the domain join a question's run whose zones do not come.
func (o *house) waits(id sandbox.QuestionID) (api.Question, attest.Statement) {
	o.Helper()
	s := &silent{joined: make(chan struct{})}
	o.n.cfg.Shares.Reach = func() (wire.Transport, func() error, error) { return s, func() error { return nil }, nil }
	job, err := o.n.SharedJob(o.Context(), o.agency.Caller, id)
	if err != nil || job.Stage != stagePlanned {
		o.Fatal(job.Stage, err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		o.Fatal(err)
	}
	approval, err := mpc.Approve(rand.Reader, o.agency.key, p, "domain-zone", o.n.now(), o.n.now().Add(time.Hour))
	if err != nil {
		o.Fatal(err)
	}
	q, err := o.n.RunShared(o.Context(), o.agency.Caller, id, approval)
	if err != nil {
		o.Fatal(err)
	}
	<-s.joined
	return q, approval
}

// TestRunHoldsNoQuestion: while the domain waits for its zones other questions are answered, the run is refused twice and another beside it
// is refused; a stop of the domain ends it on record.
func TestRunHoldsNoQuestion(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	other := uplift("sc-m")
	other.Measures = other.Measures[:3]
	second := o.asks(o.operator, other)
	first := o.asks(o.operator, uplift("sc-m"))
	if first.Shares == nil || len(first.Shares.Parties) != 3 || !strings.Contains(first.Shares.Text(), "together can read every input") || first.Shares.Expires.IsZero() {
		t.Errorf("the asker is told: %+v", first.Shares)
	}
	q, approval := o.waits(first.ID)
	if q.State != stateComputing {
		t.Fatalf("it is %s", q.State)
	}
	if job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID); err != nil || job.Stage != stageRunning {
		t.Errorf("%s %v", job.Stage, err)
	}
	own := o.asks(o.operator, query.Spec{Scenario: "sc-m", Purpose: "planning", Inputs: []query.Input{{Alias: "s", Dataset: "ds-s"}}, Dimensions: []query.Dimension{{Column: "s.kind", Bin: "kinds", As: "kind"}},
		Measures: []query.Measure{{Func: sandbox.Subjects, As: "people"}}})
	if rec := o.record(own.ID); !strings.Contains(rec.Review.Uncertified, "run over shares") {
		t.Errorf("what is asked during a run is not compared with it: %q", rec.Review.Uncertified)
	}
	for _, id := range []sandbox.QuestionID{q.ID, second.ID} {
		if _, err := o.n.RunShared(t.Context(), o.agency.Caller, id, approval); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("a second run: %v", err)
		}
	}
	o.n.sharing.close()
	if rec := o.record(q.ID); rec.State != stateReview || !strings.Contains(rec.Review.Cause, "not computed over shares") {
		t.Errorf("stopped: %s", rec.State)
	}
	if _, err := o.n.RunShared(t.Context(), o.agency.Caller, second.ID, approval); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a domain that stops joins: %v", err)
	}
	if seen, err := o.n.Question(t.Context(), o.operator.Caller, q.ID); err != nil || seen.State != stateWithheld || seen.Code != sandbox.CodeWithheld || seen.Shares != nil {
		t.Errorf("the asker sees %+v, %v", seen, err)
	}
	if got := o.bundled(); got[attest.SharesAborted] != 1 || got[attest.SharesComputed] != 0 {
		t.Errorf("evidence: %v", got)
	}
}

// TestRightsAfterTheRun: what opened is withheld where a threshold or the asker's rights changed while it was computed, and not submitted where the
// asker was shut out; the certificate is on record.
func TestRightsAfterTheRun(t *testing.T) {
	for name, x := range map[string]struct {
		meanwhile func(o *house) error
		ends      func(o *house, q api.Question, err error) bool
	}{
		"shut out": {func(o *house) error {
			return o.n.RevokeIdentity(o.Context(), o.agency.Caller, o.operator.Identity.ID, "left")
		}, func(o *house, q api.Question, err error) bool {
			rec := o.record(q.ID)
			return errors.Is(err, sandbox.Expired) && rec.Review == nil && rec.State == stateWithheld
		}},
		"graded anew": {func(o *house) error {
			set, rev, err := o.n.docs.datasets.Get(o.Context(), "ds-s")
			if err == nil {
				set.Columns = slices.Clone(set.Columns)
				set.Columns[1].Grade = sandbox.Grade4
				_, err = o.n.docs.datasets.Update(o.Context(), "ds-s", rev, string(set.Unit), "", set)
			}
			return err
		}, func(o *house, q api.Question, err error) bool {
			return err == nil && q.State == stateWithheld && strings.Contains(o.record(q.ID).Review.Cause, "no longer allowed") && o.record(q.ID).Review.Result == nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newHouse(t, sandbox.P1)
			o.tables("run-1", 0)
			reach := o.n.cfg.Shares.Reach
			o.n.cfg.Shares.Reach = func() (wire.Transport, func() error, error) { // the domain has joined
				if err := x.meanwhile(o); err != nil {
					o.Error(err)
				}
				return reach()
			}
			q, said, err := o.ran(o.asks(o.operator, uplift("sc-m")).ID, false)
			if !x.ends(o, q, err) {
				t.Errorf("%s %v %v", q.State, err, said)
			}
			if got := o.bundled(); got[attest.SharesComputed] != 1 || got[attest.SharesAborted] != 0 {
				t.Errorf("evidence: %v", got)
			}
		})
	}
}

// TestShutOutBeforeTheRun: of a question whose asker was shut out nothing runs, and it is computing no more.
func TestShutOutBeforeTheRun(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	q := o.asks(o.operator, uplift("sc-m"))
	job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		t.Fatal(err)
	}
	approval, err := mpc.Approve(rand.Reader, o.agency.key, p, "domain-zone", o.n.now(), o.n.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := o.n.RevokeIdentity(t.Context(), o.agency.Caller, o.operator.Identity.ID, "left"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.RunShared(t.Context(), o.agency.Caller, q.ID, approval); !errors.Is(err, sandbox.Expired) {
		t.Errorf("it runs: %v", err)
	}
	if rec := o.record(q.ID); rec.State != stateWithheld || rec.Review != nil {
		t.Errorf("it stands at %s", rec.State)
	}
	if got := o.bundled(); got[attest.SharesComputed] != 0 || got[attest.SharesAborted] != 1 {
		t.Errorf("evidence: %v", got)
	}
}

// TestStoppedInTheRun: a domain that starts again after a stop in a run puts its end on record before it takes a request: the asker sees the uniform
// code, or nothing is submitted where it was shut out meanwhile; a question that nobody joined waits on. In a domain that goes on, an officer
// ends it without an approval, since nothing runs.
func TestStoppedInTheRun(t *testing.T) {
	for _, shutOut := range []bool{false, true} {
		o := newHouse(t, sandbox.P1)
		o.tables("run-1", 0)
		other := uplift("sc-m")
		other.Measures = other.Measures[:3]
		waiting, q := o.asks(o.operator, other), o.asks(o.operator, uplift("sc-m"))
		joins := func(id sandbox.QuestionID) { // durable before a link is made
			if _, err := o.n.store.Add(t.Context(), joinedOf(attest.SharesJob(id, 1)), 1, 1); err != nil {
				t.Fatal(err)
			}
		}
		joins(q.ID)
		if job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID); err != nil || job.Stage != stageStopped {
			t.Fatalf("%s %v", job.Stage, err)
		}
		if shutOut {
			if err := o.n.RevokeIdentity(t.Context(), o.agency.Caller, o.operator.Identity.ID, "left"); err != nil {
				t.Fatal(err)
			}
		}
		cfg := o.n.cfg
		cfg.Metrics = api.NewMetrics()
		if err := o.n.Close(); err != nil {
			t.Fatal(err)
		}
		var err error
		if o.n, err = Open(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		rec := o.record(q.ID)
		if shutOut {
			if rec.State != stateWithheld || rec.Review != nil {
				t.Errorf("its asker was shut out: %s", rec.State)
			}
		} else {
			if rec.State != stateReview || rec.Review.Result != nil || !strings.Contains(rec.Review.Cause, "the domain stopped in the run") {
				t.Errorf("it stands at %s", rec.State)
			}
			if seen, err := o.n.Question(t.Context(), o.operator.Caller, q.ID); err != nil || seen.State != stateWithheld || seen.Code != sandbox.CodeWithheld || seen.Shares != nil {
				t.Errorf("the asker sees %+v, %v", seen, err)
			}
		}
		if rec := o.record(waiting.ID); rec.State != stateComputing {
			t.Errorf("what nobody joined is %s", rec.State)
		}
		if got := o.bundled(); got[attest.SharesAborted] != 1 || got[attest.SharesComputed] != 0 {
			t.Errorf("evidence: %v", got)
		}
		if shutOut {
			continue
		}
		if _, err := o.n.RunShared(t.Context(), o.agency.Caller, waiting.ID, attest.Statement{}); !errors.Is(err, sandbox.Denied) {
			t.Errorf("what runs wants an approval: %v", err)
		}
		joins(waiting.ID)
		if seen, err := o.n.RunShared(t.Context(), o.agency.Caller, waiting.ID, attest.Statement{}); err != nil || seen.State != stateWithheld {
			t.Errorf("%s %v", seen.State, err)
		}
	}
}

// TestSharesConfigured: a domain does not open with a configuration that is wrong for it; each fault names its field.
func TestSharesConfigured(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	if err := o.n.Close(); err != nil {
		t.Fatal(err)
	}
	good := *o.n.cfg.Shares
	for name, x := range map[string]struct {
		change func(*Shares)
		field  string
	}{
		"as it is":        {func(*Shares) {}, ""},
		"no adversary":    {func(s *Shares) { s.Adversary = "" }, "adversary"},
		"no generator":    {func(s *Shares) { s.Generator = "xor" }, "generator"},
		"one zone twice":  {func(s *Shares) { s.Zones[1] = s.Zones[0] }, "party bank-zone"},
		"own house":       {func(s *Shares) { s.Zones[1].Organisation = "agency" }, "party custodian-zone"},
		"not a key":       {func(s *Shares) { s.Zones[1].Key = []byte{4} }, "party custodian-zone"},
		"owner's key":     {func(s *Shares) { s.Zones[0].OwnerKey = o.agency.Identity.SignKey }, "party bank-zone"},
		"no officer":      {func(s *Shares) { s.Self.Owner = o.operator.Identity.ID }, "domain owner"},
		"other agency":    {func(s *Shares) { s.Self.Organisation = "another" }, "domain owner"},
		"deadline":        {func(s *Shares) { s.Seconds = 0 }, "seconds"},
		"validity":        {func(s *Shares) { s.Valid = 0 }, "valid"},
		"nothing outside": {func(s *Shares) { s.Outside = nil }, "outside"},
		"rows":            {func(s *Shares) { s.Outside["ds-l"] = Beyond{Zone: "bank-zone", Version: 1, Rows: 1000} }, "outside ds-l rows"},
		"version":         {func(s *Shares) { s.Outside["ds-l"] = Beyond{Zone: "bank-zone", Version: 0, Rows: 1024} }, "outside ds-l version"},
		"zone":            {func(s *Shares) { s.Outside["ds-l"] = Beyond{Zone: "domain-zone", Version: 1, Rows: 1024} }, "outside ds-l zone"},
		"no holder":       {func(s *Shares) { s.Outside["ds-l"] = Beyond{Version: 1, Rows: 1024} }, "outside ds-l zone"},
		"two holders": {func(s *Shares) {
			s.Outside["ds-l"] = Beyond{Zone: "bank-zone", Unit: o.bank.Identity.SignKey, Version: 1, Rows: 1024}
		}, "outside ds-l zone"},
		"no point":     {func(s *Shares) { s.Outside["ds-l"] = Beyond{Unit: []byte{4}, Version: 1, Rows: 1024} }, "outside ds-l unit_key"},
		"a zone's key": {func(s *Shares) { s.Outside["ds-l"] = Beyond{Unit: s.Zones[1].OwnerKey, Version: 1, Rows: 1024} }, "outside ds-l unit_key"},
		"the domain's": {func(s *Shares) {
			s.Outside["ds-l"] = Beyond{Unit: o.n.keys.SigningKey().Public().Bytes(), Version: 1, Rows: 1024}
		}, "outside ds-l unit_key"},
		"not registered": {func(s *Shares) { s.Outside["ds-x"] = Beyond{Zone: "bank-zone", Version: 1, Rows: 1024} }, "outside ds-x"},
		"owners' key": {func(s *Shares) {
			s.SubjectKey = func(sandbox.DatasetID) ([]byte, error) { return []byte("short"), nil }
		}, "subject_key"},
	} {
		s := good
		s.Outside = maps.Clone(good.Outside)
		x.change(&s)
		cfg := testConfig(o.dir)
		cfg.Shares = &s
		n, err := Open(t.Context(), cfg)
		if err == nil {
			_ = n.Close()
		}
		if (x.field == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), x.field) {
			t.Errorf("%s: %v, want %q", name, err, x.field)
		}
	}
	o.n, _ = Open(t.Context(), testConfig(o.dir)) // for the end of the test
}

// TestRunBreaksOff: what panics in a run ends it as an abort on record, and the domain goes on.
func TestRunBreaksOff(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	q := o.asks(o.operator, uplift("sc-m"))
	job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		t.Fatal(err)
	}
	approval, err := mpc.Approve(rand.Reader, o.agency.key, p, "domain-zone", o.n.now(), o.n.now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	o.n.cfg.Shares.Reach = func() (wire.Transport, func() error, error) { panic("nobody foresaw it") }
	if _, err := o.n.RunShared(t.Context(), o.agency.Caller, q.ID, approval); err != nil {
		t.Fatal(err)
	}
	o.n.sharing.close()
	if rec := o.record(q.ID); rec.State != stateReview || !strings.Contains(rec.Review.Cause, "a step of the protocol broke off") {
		t.Errorf("it stands at %s", rec.State)
	}
	if got := o.bundled(); got[attest.SharesAborted] != 1 {
		t.Errorf("evidence: %v", got)
	}
}
