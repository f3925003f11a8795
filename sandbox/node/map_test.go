package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/run"
)

// carried is what testdata/carry declares.
var carried = mapper.Declaration{Dataset: "codes", Columns: []mapper.Column{{Name: "code", Type: "text"}, {Name: "kind", Type: "text"}},
	Groups: []mapper.Group{{Name: "code", Labels: []string{"a", "b", "c"}}},
	Values: []mapper.Value{{Name: "carried", Of: mapper.Sum, Max: 1000, Step: 1}, {Name: "length", Of: mapper.Mean, Scale: 1, Max: 50, Step: 10}}, Yields: 2}

// plainly is a Map of the same declaration that only counts.
func plainly(s *mapper.Subject, y *mapper.Yields) {
	code, _ := s.Text(0, 0)
	if kind, _ := s.Text(0, 1); kind == "trap" {
		y.Yield(nil)
	}
	y.Yield([]int{strings.Index("abc", code)}, int64(s.Rows()), int64(10*s.Rows()))
}

// madeMap stands where the jail's process does, where a test is about what comes before and after it.
type madeMap struct {
	run.InProcess
	says []byte
	fail error
	odd  bool // the number of the answer depends on when it is asked
}

func (m *madeMap) Declares(context.Context) ([]byte, error) { return m.says, nil }
func (*madeMap) Posture() jail.Posture                      { return jail.Posture{"made"} }
func (*madeMap) Kill(jail.Reason)                           {}
func (*madeMap) Close() error                               { return nil }
func (m *madeMap) Map(ctx context.Context, in [][]byte) ([][]byte, error) {
	out, err := m.InProcess.Map(ctx, in)
	if m.odd && len(out) > 0 {
		out[0] = nil
	}
	return out, errors.Join(err, m.fail)
}

// mapOffice is an office with a Map's author.
type mapOffice struct {
	*noisy
	author *sm.SigningKey
	image  []byte
}

func newMapOffice(t *testing.T) *mapOffice {
	o := &mapOffice{noisy: newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-1": {}}), image: []byte("module")}
	var err error
	if o.author, err = sm.NewSigningKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	return o
}

// made has the domain start fakes in turn, the last for ever.
func (o *mapOffice) made(maps ...*madeMap) {
	for _, m := range maps {
		if m.Func == nil {
			m.InProcess = run.InProcess{Func: plainly, Declaration: carried}
		}
		if m.says == nil {
			m.says = carried.Encode()
		}
	}
	o.n.startMap = func(_ context.Context, tier jail.Tier, image []byte, digest [sm.Size]byte, _ jail.Limits) (startedMap, error) {
		if tier != jail.W || sm.Sum(image) != digest {
			return nil, &jail.Fault{Op: "jail: start", Reason: jail.BadImage}
		}
		m := maps[0]
		if len(maps) > 1 {
			maps = maps[1:]
		}
		return m, nil
	}
}

// request is what the agency sends; change is made before the author signs.
func (o *mapOffice) request(change func(*manifest.Manifest)) api.AlgorithmRequest {
	o.Helper()
	digest := sm.Sum(o.image)
	m := &manifest.Manifest{Name: "carry", Version: "1.0.0", Contract: manifest.Map, SDK: mapper.Version, Format: "wasm", Image: digest[:], Author: "a", Limits: manifest.Limits{MemoryMiB: 512, Seconds: 300}}
	m.DeclareMap(carried)
	if change != nil {
		change(m)
	}
	if m.Signature == nil {
		if err := m.Sign(rand.Reader, o.author); err != nil {
			o.Fatal(err)
		}
	}
	if len(m.Signature) == 1 { // unsigned on purpose
		m.Signature = nil
	}
	whole := m.Digest()
	a := attest.AlgorithmApproval{Name: m.Name, Version: m.Version, Manifest: whole[:], Image: digest[:], At: o.n.now()}
	return api.AlgorithmRequest{Manifest: m.Encode(), Image: o.image, Statement: o.agency.says(o.T, attest.ContextAlgorithm, a)}
}

func (o *mapOffice) approve(change func(*manifest.Manifest)) sandbox.AlgorithmID {
	o.Helper()
	got, err := o.n.ApproveAlgorithm(o.Context(), o.agency.Caller, o.request(change))
	if err != nil {
		o.Fatal(err)
	}
	return got.ID
}

// events counts those of a kind and gives the body of the last.
func (o *mapOffice) events(kind attest.Kind, body any) int {
	return (&agencyOffice{noisy: o.noisy}).events(kind, body)
}

// people pushes a version: of each entry so many people of a code, with as many rows of a kind.
type people struct {
	many, rows int
	code, kind string
}

func (o *mapOffice) push(id sandbox.RunID, list ...people) {
	o.Helper()
	ctx := o.Context()
	set, _, err := o.n.docs.datasets.Get(ctx, "ds-c")
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, id)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	var who []sandbox.Pseudonym
	n := 0
	for _, x := range list {
		for range x.many {
			n++
			for range x.rows {
				b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("person ", n))
				b.Field(1).(*array.StringBuilder).Append(x.code)
				b.Field(2).(*array.StringBuilder).Append(x.kind)
				var p sandbox.Pseudonym
				copy(p[:], fmt.Sprintf("q%015d", n))
				who = append(who, p)
			}
		}
	}
	rec := b.NewRecord()
	defer rec.Release()
	w, err := o.n.vault.Begin(ctx, set.Unit, "ds-c", id, batch.Schema(set), 3)
	if err == nil {
		err = w.Write(ctx, rec, who)
	}
	if err != nil {
		o.Fatal(err)
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		o.Fatal(err)
	}
	rep := api.PushReport{Run: id, Dataset: "ds-c", Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
	if err := o.n.committed(ctx, domainIdentity, snap, rep, nil, nil); err != nil {
		o.Fatal(err)
	}
}

func (o *mapOffice) asksMap(id sandbox.AlgorithmID) api.AlgorithmAnswer {
	o.Helper()
	a, err := o.n.AskAlgorithm(o.Context(), o.operator.Caller, id, mapOf)
	if err != nil {
		o.Fatal(err)
	}
	return a
}

func (o *mapOffice) record(id sandbox.QuestionID) questionRecord {
	o.Helper()
	r, _, err := o.n.docs.questions.Get(o.Context(), string(id))
	if err != nil {
		o.Fatal(err)
	}
	return r
}

// verified has the whole log checked offline.
func (o *mapOffice) verified() {
	o.Helper()
	var b bytes.Buffer
	if err := o.n.Bundle(o.Context(), o.agency.Caller, &b); err != nil {
		o.Fatal(err)
	}
	if _, err := attest.VerifyBundle(&b, nil); err != nil {
		o.Error(err)
	}
}

var mapOf = api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning", Bind: codesBound}

// TestMapFromApprovalToReview: an approved Map explains itself without charge, is asked like any question, goes through the same gate and ledger, and
// is gone once it is withdrawn. What runs it is made here; the jail itself is in TestMapInTheJail.
func TestMapFromApprovalToReview(t *testing.T) {
	o := newMapOffice(t)
	o.made(&madeMap{})
	o.n.cfg.Algorithms.Repeat = 100
	id := o.approve(nil)
	digest := sm.Sum(o.image)
	if kept, err := o.n.image(t.Context(), digest[:]); err != nil || !bytes.Equal(kept, o.image) {
		t.Fatal("the image is not kept", err)
	}
	o.push("run-2", people{20, 1, "a", "x"}, people{20, 3, "a", "x"}, people{15, 1, "b", "x"}, people{15, 3, "b", "x"}, people{8, 2, "c", "x"}, people{8, 3, "c", "x"}, people{5, 1, "a", "trap"})
	x, err := o.n.ExplainAlgorithm(t.Context(), o.operator.Caller, id, mapOf)
	if err != nil || !x.Decision.Allow || x.Decision.Engine != sandbox.Map || len(x.Questions) != 1 {
		t.Fatalf("%+v %v", x.Decision, err)
	}
	for _, want := range []string{"opens code, kind", "group 分组 code: a, b, c", "value 取值 length: mean, 0.0 to 5.0 in steps of 1.0", "output 输出 subjects = subjects; evidence 证据: people", "tier W of the jail", "at most 3 cells"} {
		if !strings.Contains(x.Questions[0].Text, want) {
			t.Errorf("%q is not in\n%s", want, x.Questions[0].Text)
		}
	}
	var plan MapPlan
	if err := json.Unmarshal(x.Plan, &plan); err != nil || !reflect.DeepEqual(plan.Declaration, carried) || plan.SubjectBits != carried.Bits() || plan.Tier != "W" {
		t.Errorf("%+v %v", plan, err)
	}
	bits := func() int64 {
		b, err := o.n.store.Counter(t.Context(), bitsOf(o.record(o.asksMap(id).Questions[0].ID).grantOf(o)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a := o.asksMap(id)
	if !a.Decision.Allow || len(a.Questions) != 1 || a.Questions[0].Decision.Engine != sandbox.Map {
		t.Fatalf("%+v", a)
	}
	got, r := o.result(a.Questions[0])
	if got["a subjects"] != 40 || got["a count"] != 40 || got["a sum"] != 80 || got["b subjects"] != 30 || got["b mean"] != 20 || len(r.Rows) != 3 {
		t.Errorf("%v of %d rows", got, len(r.Rows))
	}
	rec := o.record(a.Questions[0].ID)
	if len(rec.Ledger) != 1 || rec.Review.Template != "" || !slices.ContainsFunc(rec.Review.Flags, func(f egress.Flag) bool { return f.Rule == egress.FlagFaults && f.Places == 5 }) {
		t.Errorf("ledger %v, template %q, flags %+v", rec.Ledger, rec.Review.Template, rec.Review.Flags)
	}
	spent := bits()
	if again := o.asksMap(id); again.Questions[0].ID != a.Questions[0].ID || bits() != spent {
		t.Error("the same Map over the same version is asked twice")
	}
	var ran attest.AlgorithmRanBody
	if n := o.events(attest.AlgorithmRan, &ran); n != 1 || ran.Tier != "W" || !ran.Repeated || len(ran.Posture) != sm.Size || !bytes.Equal(ran.Image, digest[:]) || ran.Faults != 5 || ran.Fault != "" || ran.Question != rec.ID {
		t.Errorf("%d runs in the log: %+v", n, ran)
	}
	var asked attest.AlgorithmAskedBody
	if n := o.events(attest.AlgorithmAsked, &asked); n != 1 || asked.Questions[0] != a.Questions[0].ID {
		t.Errorf("%d uses in the log: %+v", n, asked)
	}
	o.verified()

	// Two answers that differ on few people are compared whoever computed them.
	o.push("run-3", people{20, 1, "a", "x"}, people{20, 3, "a", "x"}, people{15, 1, "b", "x"}, people{15, 3, "b", "x"}, people{8, 2, "c", "x"}, people{8, 3, "c", "x"}, people{3, 1, "b", "x"})
	if q := o.asksMap(id).Questions[0]; q.State != stateWithheld || q.Code != sandbox.CodeWithheld {
		t.Errorf("%s %s", q.State, q.Code)
	}

	st := o.agency.says(t, attest.ContextAlgorithmWithdraw, attest.AlgorithmWithdrawal{Name: "carry", Version: "1.0.0", Reason: "r", At: o.n.now()})
	if _, err := o.n.WithdrawAlgorithm(t.Context(), o.agency.Caller, id, st); err != nil {
		t.Fatal(err)
	}
	if a := o.asksMap(id); a.Decision.Allow || a.Decision.Reasons[0].Code != codeWithdrawn {
		t.Errorf("after its withdrawal: %+v", a)
	}
	o.verified()
}

func (q questionRecord) grantOf(o *mapOffice) sandbox.GrantID {
	o.Helper()
	s, _, err := o.n.docs.scenarios.Get(o.Context(), string(q.Spec.Scenario))
	if err != nil {
		o.Fatal(err)
	}
	return s.Grant.ID
}

// TestMapIsRefused: what breaks a rule before data has a typed reason, and evidence names it; nothing of it is kept.
func TestMapIsRefused(t *testing.T) {
	o := newMapOffice(t)
	lie := carried
	lie.Yields = 1
	for name, c := range map[string]struct {
		start  *madeMap
		change func(*manifest.Manifest)
		send   func(*api.AlgorithmRequest)
		rule   string
		kind   sandbox.Kind
	}{
		"wrong digest":   {&madeMap{}, nil, func(r *api.AlgorithmRequest) { r.Image = []byte("another") }, "image.digest", sandbox.Tampered},
		"unsigned":       {&madeMap{}, func(m *manifest.Manifest) { m.Signature = []byte{0} }, nil, "manifest.unsigned", sandbox.Unsigned},
		"another SDK":    {&madeMap{}, func(m *manifest.Manifest) { m.SDK = "0" }, nil, "manifest.sdk", sandbox.Invalid},
		"no declaration": {&madeMap{}, func(m *manifest.Manifest) { m.Map = nil }, nil, "manifest.invalid", sandbox.Invalid},
		"lying manifest": {&madeMap{}, func(m *manifest.Manifest) { m.DeclareMap(lie) }, nil, "image.declaration", sandbox.Invalid},
		"lying module":   {&madeMap{says: lie.Encode()}, nil, nil, "image.declaration", sandbox.Invalid},
		"too long":       {&madeMap{}, func(m *manifest.Manifest) { m.Limits.Seconds = 3600 }, nil, "manifest.limits", sandbox.TooLarge},
		"approval of a graph": {&madeMap{}, nil, func(r *api.AlgorithmRequest) {
			var a attest.AlgorithmApproval
			if err := json.Unmarshal(r.Statement.Body, &a); err != nil {
				t.Fatal(err)
			}
			a.Graph = a.Image
			r.Statement = o.agency.says(t, attest.ContextAlgorithm, a)
		}, "approval.other", sandbox.Invalid},
	} {
		o.made(c.start)
		r := o.request(c.change)
		if c.send != nil {
			c.send(&r)
		}
		before := o.events(attest.AlgorithmRefused, &attest.AlgorithmRefusedBody{})
		_, err := o.n.ApproveAlgorithm(t.Context(), o.agency.Caller, r)
		var b attest.AlgorithmRefusedBody
		if n := o.events(attest.AlgorithmRefused, &b); err == nil || sandbox.KindOf(err) != c.kind || n != before+1 || b.Rule != c.rule {
			t.Errorf("%s: %v, evidence %q, not %q", name, err, b.Rule, c.rule)
		}
	}
	o.n.startMap = nil // as on a machine without a jail
	if _, err := o.n.ApproveAlgorithm(t.Context(), o.agency.Caller, o.request(nil)); sandbox.KindOf(err) != sandbox.Unavailable || !strings.Contains(err.Error(), "tier W") {
		t.Errorf("without a jail: %v", err)
	}
	o.made(&madeMap{})
	id := o.approve(nil)
	o.n.startMap = nil
	a := o.asksMap(id)
	if a.Decision.Allow || len(a.Decision.Reasons) != 1 || a.Decision.Reasons[0].Code != "engine.tier" || len(a.Questions) > 0 {
		t.Errorf("%+v", a)
	}
	if q := o.asks(o.operator, asking("sc-1", []string{"code"}, countOf)); q.State != stateInReview {
		t.Errorf("questions are answered with %s", q.State)
	}
	o.made(&madeMap{})
	for name, c := range map[string]struct {
		use  api.AlgorithmUse
		code string
	}{
		"without binding":   {api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning"}, "dataset.not-listed"},
		"another purpose":   {api.AlgorithmUse{Scenario: "sc-1", Purpose: "marketing", Bind: codesBound}, "purpose.mismatch"},
		"no scenario":       {api.AlgorithmUse{Scenario: "sc-9", Purpose: "planning", Bind: codesBound}, "scenario.unknown"},
		"something unknown": {api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "codes", Dataset: "ds-x"}}}, "dataset.not-listed"},
	} {
		a, err := o.n.AskAlgorithm(t.Context(), o.operator.Caller, id, c.use)
		if err != nil || a.Decision.Allow || len(a.Questions) > 0 || a.Decision.Reasons[0].Code != c.code {
			t.Errorf("%s: %+v %v", name, a.Decision, err)
		}
	}
	if _, err := o.n.AskAlgorithm(t.Context(), o.operator.Caller, id, api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "x", Dataset: "ds-c"}}}); sandbox.KindOf(err) != sandbox.Invalid {
		t.Error("an input that it does not have is bound", err)
	}
	o.verified()
}

// TestMapFaultsAreOneCode: whatever goes wrong over data, the asker sees one code, owners and reviewers the cause, and the domain goes on.
func TestMapFaultsAreOneCode(t *testing.T) {
	for name, c := range map[string]struct {
		maps  []*madeMap
		harm  func(*mapOffice, sandbox.AlgorithmID)
		cause string
	}{
		"deadline":    {[]*madeMap{{}, {fail: &jail.Fault{Op: "jail: call", Reason: jail.Deadline}}}, nil, "the Map deadline"},
		"memory":      {[]*madeMap{{}, {fail: &jail.Fault{Op: "jail: call", Reason: jail.Memory}}}, nil, "the Map memory"},
		"lies later":  {[]*madeMap{{}, {says: []byte("{}")}}, nil, "the declaration that its manifest carries"},
		"two answers": {[]*madeMap{{}, {}, {odd: true}}, nil, "computed a second time it gives another answer"},
		"another image": {[]*madeMap{{}}, func(o *mapOffice, id sandbox.AlgorithmID) {
			digest := sm.Sum(o.image)
			_, rev, err := o.n.docs.images.Get(t.Context(), imageName(digest[:], 0))
			if err == nil {
				_, err = o.n.docs.images.Update(t.Context(), imageName(digest[:], 0), rev, "", "approved", imagePart{[]byte("another")})
			}
			if err != nil {
				t.Fatal(err)
			}
		}, "the image that is kept is the one that was approved"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newMapOffice(t)
			o.n.cfg.Algorithms.Repeat = 100
			o.made(c.maps...)
			id := o.approve(nil)
			if c.harm != nil {
				c.harm(o, id)
			}
			before, _, err := o.n.docs.datasets.Get(t.Context(), "ds-c")
			if err != nil {
				t.Fatal(err)
			}
			a := o.asksMap(id)
			if !a.Decision.Allow || len(a.Questions) != 1 || a.Questions[0].State != stateWithheld || a.Questions[0].Code != sandbox.CodeWithheld {
				t.Fatalf("%+v", a)
			}
			seen, err := json.Marshal(a)
			if err != nil || bytes.Contains(seen, []byte(c.cause)) {
				t.Errorf("the asker sees %s", seen)
			}
			if got := o.record(a.Questions[0].ID).Review.Cause; !strings.Contains(got, c.cause) {
				t.Errorf("cause %q", got)
			}
			var checked attest.EgressCheckedBody
			var ran attest.AlgorithmRanBody
			if n := o.events(attest.AlgorithmRan, &ran); n != 1 || ran.Fault == "" {
				t.Errorf("%d runs in the log, %+v", n, ran)
			}
			if n := o.events(attest.EgressChecked, &checked); n != 1 || checked.Verdict != "withheld" {
				t.Errorf("%d checks in the log, %+v", n, checked)
			}
			if after, _, err := o.n.docs.datasets.Get(t.Context(), "ds-c"); err != nil || !reflect.DeepEqual(after, before) {
				t.Error("the dataset has changed", err)
			}
			if q := o.asks(o.operator, asking("sc-1", []string{"code"}, countOf)); q.State != stateInReview {
				t.Errorf("the domain answers with %s", q.State)
			}
			o.verified()
		})
	}
}

// TestRepeatedRunsAreDrawn: a part of runs, by the domain's key, and the same ones each time.
func TestRepeatedRunsAreDrawn(t *testing.T) {
	n := &Node{questionKey: bytes.Repeat([]byte{7}, sm.Size)}
	for percent, want := range map[int][2]int{-1: {0, 0}, 0: {60, 140}, 50: {420, 580}, 100: {1000, 1000}} {
		n.cfg.Algorithms.Repeat = percent
		got := 0
		for i := range 1000 {
			q := &questionRecord{ID: sandbox.QuestionID(fmt.Sprint("q-", i))}
			if once, again := n.repeats(q), n.repeats(q); once != again {
				t.Fatal("drawn anew")
			}
			if n.repeats(q) {
				got++
			}
		}
		if got < want[0] || got > want[1] {
			t.Errorf("%d%%: %d of 1000", percent, got)
		}
	}
}

// TestMapInTheJail runs the attacking Map from its source: built to wasm, approved, over sealed columns, in tier W. Where nothing is between subjects it
// carries one into the next; in the jail it does not, and what it does with a subject is that subject's alone.
func TestMapInTheJail(t *testing.T) {
	dir, err := os.MkdirTemp("", "node-map-") // not the test's own folder, which the jail's users cannot enter
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := func(to, from string, env ...string) string {
		path := filepath.Join(dir, to)
		args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", path}
		if len(env) > 1 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, from)...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return path
	}
	free := exec.Command(build("carry", "./testdata/carry", "CGO_ENABLED=0"))
	var said bytes.Buffer
	free.Stderr = &said
	if err := free.Run(); err != nil || !strings.Contains(said.String(), "carried 4\n") {
		t.Fatalf("the attack carries nothing where nothing stops it: %v\n%s", err, said.String())
	}
	l, err := jail.New(jail.Config{Program: build("opdomain-jail", "../../cmd/opdomain-jail", "CGO_ENABLED=0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if lacks := l.Probe().Missing(jail.W); len(lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: the machine lacks layers of tier W, and no Map runs without: %v", lacks)
	}
	o := newMapOffice(t)
	o.n.cfg.Jail, o.n.cfg.Algorithms.Repeat = l, 100
	if o.image, err = os.ReadFile(build("carry.wasm", "./testdata/carry", "GOOS=wasip1", "GOARCH=wasm")); err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]api.AlgorithmRequest{
		"lying manifest": o.request(func(m *manifest.Manifest) {
			d := carried
			d.Values = slices.Clone(d.Values)
			d.Values[0].Max = 2000
			m.DeclareMap(d)
		}),
		"no module": func() api.AlgorithmRequest {
			image := o.image
			defer func() { o.image = image }()
			o.image = []byte("not wasm")
			return o.request(nil)
		}(),
	} {
		if _, err := o.n.ApproveAlgorithm(t.Context(), o.agency.Caller, r); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	id := o.approve(func(m *manifest.Manifest) { m.Limits.Seconds = 120 })

	// What each does: 23 of 83 fail, in all the ways there are, and are in no cell; the others are counted, with nothing of each other.
	o.push("run-2", people{20, 1, "a", "x"}, people{20, 3, "a", "x"}, people{10, 1, "b", "x"}, people{10, 3, "b", "x"}, people{4, 1, "a", "trap"}, people{4, 1, "a", "exit"}, people{5, 1, "b", "memory"}, people{5, 1, "b", "label"}, people{5, 1, "a", "flood"})
	a := o.asksMap(id)
	if !a.Decision.Allow || len(a.Questions) != 1 {
		t.Fatalf("%+v", a)
	}
	got, _ := o.result(a.Questions[0])
	for key, want := range map[string]int64{"a subjects": 40, "a count": 40, "a sum": 80, "a mean": 20, "b subjects": 20, "b sum": 40, "b mean": 20} {
		if got[key] != want {
			t.Errorf("%s is %d, not %d", key, got[key], want)
		}
	}
	if flags := o.record(a.Questions[0].ID).Review.Flags; !slices.ContainsFunc(flags, func(f egress.Flag) bool { return f.Rule == egress.FlagFaults && f.Places == 23 }) {
		t.Errorf("flags %+v", flags)
	}
	var ran attest.AlgorithmRanBody
	digest := sm.Sum(o.image)
	if o.events(attest.AlgorithmRan, &ran); !ran.Repeated || len(ran.Posture) != sm.Size || !bytes.Equal(ran.Image, digest[:]) || ran.Faults != 23 {
		t.Errorf("%+v", ran)
	}

	// One that never ends is killed: the asker sees the one code, and the domain goes on.
	st := o.agency.says(t, attest.ContextAlgorithmWithdraw, attest.AlgorithmWithdrawal{Name: "carry", Version: "1.0.0", Reason: "r", At: o.n.now()})
	if _, err := o.n.WithdrawAlgorithm(t.Context(), o.agency.Caller, id, st); err != nil {
		t.Fatal(err)
	}
	id = o.approve(func(m *manifest.Manifest) { m.Version, m.Limits.Seconds = "1.0.1", 1 })
	o.push("run-3", people{1, 1, "a", "hang"})
	a = o.asksMap(id)
	if len(a.Questions) != 1 || a.Questions[0].State != stateWithheld || a.Questions[0].Code != sandbox.CodeWithheld {
		t.Fatalf("%+v", a)
	}
	if cause := o.record(a.Questions[0].ID).Review.Cause; !strings.Contains(cause, "the Map deadline") {
		t.Errorf("cause %q", cause)
	}
	if q := o.asks(o.operator, asking("sc-1", []string{"code"}, countOf)); q.State != stateInReview && q.State != stateWithheld {
		t.Errorf("the domain answers with %s", q.State)
	}
	o.verified()
}
