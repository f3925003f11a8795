package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/fleet"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/node"
	"github.com/opdomain/opdomain/sandbox/query"
)

// cheap is a derivation for tests: the passphrase protects nothing here.
var cheap = keys.Params{Time: 1, Memory: 64, Threads: 1}

// TestPassphraseCost: what the product makes costs whoever guesses a passphrase as much as it should; only scripts are cheaper.
func TestPassphraseCost(t *testing.T) {
	if newKeys != keys.Interactive() {
		t.Errorf("a new folder is made with %+v", newKeys)
	}
	dir := t.TempDir()
	k, err := makeIdentity(filepath.Join(dir, "agency"), secretPhrase, newKeys, rand.Reader, sandbox.Identity{ID: "agency", Party: "agency", Duty: sandbox.Officer})
	if err != nil {
		t.Fatal(err)
	}
	k.keys.Close()
	head, err := os.ReadFile(filepath.Join(dir, "agency", "root.key"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(head, []byte(`"argon2id":{"time":3,"memory":65536,"threads":4}`)) {
		t.Error("its root is sealed at another cost")
	}
}

var secretPhrase = []byte("correct horse battery")

// world is a served domain on generated tables with a clock the test moves.
type world struct {
	*play
	t     *testing.T
	node  *node.Node
	at    *time.Time
	clock *sync.Mutex
	stop  func()
}

// newWorld makes and serves a domain; nothing is registered in it yet.
func newWorld(t *testing.T) *world {
	t.Helper()
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, rand: testRand{}, json: true}
	var mu sync.Mutex // server and clients read the clock on goroutines of their own
	a.now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		at = at.Add(time.Millisecond)
		return at
	}
	s, err := loadStory("district")
	if err != nil {
		t.Fatal(err)
	}
	p := &play{app: a, opts: demoOptions{district: "longhua"}, story: s, data: tables(t), dir: filepath.Join(t.TempDir(), "domain"), sessions: map[sandbox.IdentityID]*session{}}
	w := &world{play: p, t: t, at: &at, clock: &mu}
	m := api.NewMetrics()
	n, people, err := p.found(context.Background(), founding{dir: p.dir, domain: "demo", district: "longhua", hosting: sandbox.P1, units: s.Units, keys: cheap}, secretPhrase, m)
	if err != nil {
		t.Fatal(err)
	}
	p.people = people
	w.serve(n, m)
	t.Cleanup(func() { w.stop() })
	return w
}

func (w *world) serve(n *node.Node, m *api.Metrics) {
	w.t.Helper()
	v, err := w.listen(context.Background(), n, address{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler), m)
	if err != nil {
		w.t.Fatal(err)
	}
	w.node, w.server = n, v.addr
	clear(w.sessions)
	if w.info, err = n.Domain(context.Background()); err != nil {
		w.t.Fatal(err)
	}
	w.stop = func() {
		if err := errors.Join(v.close(), n.Close()); err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
}

// restart closes the domain, lets change touch its folder, and opens it again.
func (w *world) restart(change func(dir string)) error { return w.restartWith(nil, change) }

func (w *world) restartWith(by *fleet.Processes, change func(dir string)) error {
	w.t.Helper()
	w.stop()
	if change != nil {
		change(w.dir)
	}
	m := api.NewMetrics()
	n, err := node.Open(context.Background(), node.Config{Dir: w.dir, Passphrase: secretPhrase, Now: w.now, Rand: w.rand, Metrics: m, Workers: by})
	if err != nil {
		return err
	}
	w.serve(n, m)
	return nil
}

// move sets the clock forward.
func (w *world) move(to func(time.Time) time.Time) {
	w.clock.Lock()
	defer w.clock.Unlock()
	*w.at = to(*w.at)
}

// read gives the time without moving it.
func (w *world) read() time.Time {
	w.clock.Lock()
	defer w.clock.Unlock()
	return *w.at
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) as(id sandbox.IdentityID) *session {
	w.t.Helper()
	s, err := w.by(id)
	w.must(err)
	return s
}

// ask asks a question of the story as the operator.
func (w *world) ask(s query.Spec) api.Question {
	w.t.Helper()
	q, err := result[api.Question](w.as("operator").api.AskQuestion(context.Background(), s))
	w.must(err)
	return q
}

// testRand is the machine's randomness: keys and nonces of a test domain are real ones.
type testRand struct{}

func (testRand) Read(b []byte) (int, error) {
	f, err := os.Open("/dev/urandom")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return io.ReadFull(f, b)
}

// kindOf wants an error of a kind whose text names what it is about and nothing secret.
func kindOf(t *testing.T, err error, kind sandbox.Kind, names ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%v is not %s", err, kind)
		return
	}
	for _, n := range names {
		if !strings.Contains(err.Error(), n) {
			t.Errorf("%v does not name %q", err, n)
		}
	}
}

// ready plays the story up to its grants.
func ready(t *testing.T) *world {
	w := newWorld(t)
	ctx := context.Background()
	w.must(w.enrolAndPush(ctx))
	w.must(w.grants(ctx))
	return w
}

func TestGrantExpires(t *testing.T) {
	w := ready(t)
	if q := w.ask(question(w.story.Coarse)); q.State != "in-review" {
		t.Fatalf("before: %s", q.State)
	}
	w.move(func(t time.Time) time.Time { return t.AddDate(1, 0, 1) })
	q := w.ask(question(w.story.Fine))
	if q.State != "refused" || len(q.Decision.Reasons) == 0 || q.Decision.Reasons[0].Code != "grant.expired" {
		t.Errorf("after the term: %+v", q)
	}
}

func TestSameQuestionIsAskedOnce(t *testing.T) {
	w := ready(t)
	first := w.ask(question(w.story.Coarse))
	again := w.ask(question(w.story.Coarse))
	reordered := question(w.story.Coarse)
	reordered.Inputs = append([]query.Input{}, reordered.Inputs...)
	for i := range reordered.Inputs {
		if reordered.Inputs[i].Alias == "c" {
			reordered.Inputs[i].Alias = "z"
		}
		if reordered.Inputs[i].With == "c" {
			reordered.Inputs[i].With = "z"
		}
	}
	reordered.Measures = append([]query.Measure{}, reordered.Measures...)
	for i := range reordered.Measures {
		reordered.Measures[i].Column = strings.Replace(reordered.Measures[i].Column, "c.", "z.", 1)
	}
	third := w.ask(reordered)
	if first.ID != again.ID || first.ID != third.ID {
		t.Errorf("one question has the ids %s, %s, %s", first.ID, again.ID, third.ID)
	}
}

func TestWithheldStaysWithheldAndUniform(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	if _, err := w.answer(ctx, "coarse", question(w.story.Coarse)); err != nil {
		t.Fatal(err)
	}
	w.must(w.difference(ctx))
	w.must(w.difference(ctx)) // asked again it is the same question with the same answer
	all, err := result[[]api.Question](w.as("operator").api.ListQuestions(ctx))
	w.must(err)
	for _, q := range all {
		if q.Code == sandbox.CodeWithheld && (len(q.Decision.Reasons) > 0 || q.Release != "") {
			t.Errorf("the asker sees more than the code: %+v", q)
		}
	}
	if _, err := result[api.Review](w.as("partner").api.GetReview(ctx, all[len(all)-1].ID)); err == nil {
		t.Error("a partner sees a review")
	}
}

func TestReviewersAreTwoOrganisationsAndTheAgencySecond(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	q := w.ask(question(w.story.Coarse))
	agency, unit, officer := w.as("agency-reviewer"), w.as("unit-medical-reviewer"), w.as("unit-medical")
	_, err := agency.vote(ctx, q.ID, true, "")
	kindOf(t, err, sandbox.Conflict, "the agency votes second")
	_, err = officer.vote(ctx, q.ID, true, "")
	kindOf(t, err, sandbox.Denied)
	if _, err := unit.vote(ctx, q.ID, true, ""); err != nil {
		t.Fatal(err)
	}
	_, err = unit.vote(ctx, q.ID, true, "")
	kindOf(t, err, sandbox.Conflict)
	_, err = w.as("unit-population-reviewer").vote(ctx, q.ID, true, "")
	kindOf(t, err, sandbox.Denied)
	if got, err := result[api.Question](w.as("operator").api.GetQuestion(ctx, q.ID)); err != nil || got.Release != "" {
		t.Errorf("released after one vote: %+v %v", got, err)
	}
	r, err := agency.vote(ctx, q.ID, false, "not for this purpose")
	if err != nil || r.State != "conflicted" {
		t.Fatalf("veto: %+v %v", r, err)
	}
	if r, err = w.as("agency").act(ctx, q.ID, egress.Reject, "as the reviewer says"); err != nil || r.State != "rejected" {
		t.Fatalf("the lead: %+v %v", r, err)
	}
	if got, err := result[api.Question](w.as("operator").api.GetQuestion(ctx, q.ID)); err != nil || got.State != "declined" || got.Release != "" {
		t.Errorf("after a veto: %+v %v", got, err)
	}
}

// TestReviewersSeeWhatTheyMay: numbers are the agency's, or a unit's when all the data are its own; bytes are shown while a
// vote is open; an answer that reviewers saw counts against later ones whatever became of it.
func TestReviewersSeeWhatTheyMay(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	q := w.ask(question(w.story.Coarse)) // over data of both units
	see := func(id sandbox.IdentityID) (api.Review, error) {
		return result[api.Review](w.as(id).api.GetReview(ctx, q.ID))
	}
	if r, err := see("agency-reviewer"); err != nil || !strings.Contains(string(r.Pack), `"people"`) {
		t.Errorf("the agency: %s %v", r.Pack, err)
	}
	if r, err := see("unit-medical-reviewer"); err != nil || strings.Contains(string(r.Pack), `"people"`) || len(r.Result) == 0 {
		t.Errorf("a unit that owns some of the data: %s %v", r.Pack, err)
	}
	if _, err := w.as("unit-medical-reviewer").vote(ctx, q.ID, false, "no"); err != nil {
		t.Fatal(err)
	}
	w.must(w.difference(ctx)) // withheld against the refused answer
	own := question(w.story.Coarse)
	own.Inputs = own.Inputs[:1]
	own.Dimensions = []query.Dimension{{Column: "c.icd10", Bin: "disease-group", As: "d"}}
	q = w.ask(own)
	if r, err := see("unit-medical-reviewer"); err != nil || !strings.Contains(string(r.Pack), `"people"`) {
		t.Errorf("a unit that owns all of the data: %s %v", r.Pack, err)
	}
}

// TestCheckpointIsPublishedAtIntervals: the size of the log does not tell what happens inside a minute.
func TestCheckpointIsPublishedAtIntervals(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	size := func() string {
		info, err := w.node.Domain(ctx)
		w.must(err)
		return info.Checkpoint
	}
	w.move(func(t time.Time) time.Time { return t.Truncate(time.Minute).Add(time.Minute) })
	before := size()
	_, err := result[catalog.Dataset](w.as("unit-population").api.RegisterDataset(ctx, w.story.table("persons").Dataset))
	w.must(err)
	if size() != before {
		t.Error("an event shows at once")
	}
	w.move(func(t time.Time) time.Time { return t.Add(time.Minute) })
	if size() == before {
		t.Error("an event never shows")
	}
}

func TestReleaseIsItsRecipientsOnly(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	if _, err := w.answer(ctx, "coarse", question(w.story.Coarse)); err != nil {
		t.Fatal(err)
	}
	all, err := result[[]api.ReleaseInfo](w.as("operator").api.ListReleases(ctx))
	w.must(err)
	if len(all) != 1 {
		t.Fatalf("%d releases", len(all))
	}
	_, err = body(w.as("partner").api.GetRelease(ctx, all[0].ID))
	kindOf(t, err, sandbox.NotFound)
	b, err := body(w.as("operator").api.GetRelease(ctx, all[0].ID))
	w.must(err)
	_, err = openEnvelope(w.people["insurer"], compact(b), w.info.SignKey, w.as("insurer"))
	kindOf(t, err, sandbox.Denied, "not sealed to this identity")
	_, err = openEnvelope(w.people["operator"], compact(b), w.people["agency"].SignKey, w.as("operator"))
	kindOf(t, err, sandbox.Tampered)
	w.move(func(t time.Time) time.Time { return t.AddDate(0, 6, 0) })
	_, err = openEnvelope(w.people["operator"], compact(b), w.info.SignKey, w.as("operator"))
	kindOf(t, err, sandbox.Expired)
}

func TestRequests(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	bare, err := newSession(w.server, nil, w.now, w.rand)
	w.must(err)
	_, err = result[[]catalog.Dataset](bare.api.ListDatasets(ctx))
	kindOf(t, err, sandbox.Unsigned)

	// A captured request, sent again to the byte.
	var captured *http.Request
	s := w.as("operator")
	_, err = body(s.api.ListDatasets(ctx, func(_ context.Context, r *http.Request) error { captured = r.Clone(ctx); return nil }))
	w.must(err)
	send := func() error {
		resp, err := http.DefaultClient.Do(captured.Clone(ctx))
		_, err = body(resp, err)
		return err
	}
	captured.RequestURI = ""
	kindOf(t, send(), sandbox.Unsigned)
	w.move(func(t time.Time) time.Time { return t.Add(10 * time.Minute) })
	kindOf(t, send(), sandbox.Unsigned)

	// A stranger's signature under an enrolled name, and an operation of another role.
	stranger := *w.people["operator"]
	stranger.keys = w.people["insurer"].keys
	x, err := newSession(w.server, &stranger, w.now, w.rand)
	w.must(err)
	_, err = body(x.api.ListDatasets(ctx))
	kindOf(t, err, sandbox.Unsigned)
	_, err = body(w.as("operator").api.EnrolParty(ctx, api.Enrolment{}))
	kindOf(t, err, sandbox.Denied)
	second := api.Enrolment{Party: sandbox.Party{ID: "agency-two", Role: sandbox.Agency, Name: "x"}, Identities: []sandbox.Identity{{ID: "agency-two", Party: "agency-two", Duty: sandbox.Reviewer,
		SignKey: w.people["agency"].SignKey, EncryptKey: w.people["agency"].EncryptKey}}}
	_, err = body(w.as("agency").api.EnrolParty(ctx, second))
	kindOf(t, err, sandbox.Denied, "one agency")
	_, err = body(w.as("agency").api.AskQuestion(ctx, question(w.story.Coarse)))
	kindOf(t, err, sandbox.Denied)
}

func TestReplayIsRefusedAfterRestart(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	// The address changes with a restart and is signed, so the nonce is asked directly.
	w.must(w.node.Seen(ctx, "operator", "fresh-nonce", w.read().Add(time.Minute)))
	w.must(w.restart(nil))
	kindOf(t, w.node.Seen(ctx, "operator", "fresh-nonce", w.read().Add(time.Minute)), sandbox.Unsigned)
}

// pushCSV registers the persons table and pushes a CSV text to it.
func (w *world) pushCSV(csv string, run sandbox.RunID) (api.PushReport, error) {
	w.t.Helper()
	ctx := context.Background()
	t := w.story.table("persons")
	u := w.as(sandbox.IdentityID(t.Dataset.Unit))
	d, err := result[catalog.Dataset](u.api.GetDataset(ctx, t.Dataset.ID))
	if errors.Is(err, sandbox.NotFound) {
		d, err = result[catalog.Dataset](u.api.RegisterDataset(ctx, t.Dataset))
	}
	w.must(err)
	return u.push(ctx, w.info, d, run, func(ctx context.Context) (connectors.Source, error) {
		src, err := file.NewReader(ctx, allocator(), strings.NewReader(csv), "persons.csv", t.Dataset, t.Mapping, file.Options{})
		if err != nil {
			return nil, err
		}
		return src, nil
	}, nil)
}

func TestPushIsAllOrNothing(t *testing.T) {
	w := newWorld(t)
	b, err := os.ReadFile(filepath.Join(w.data, "persons.csv"))
	w.must(err)
	good := string(b)
	lines := strings.SplitAfter(good, "\n")
	field := func(line, i int, v string) string {
		out := append([]string{}, lines...)
		f := strings.Split(strings.TrimSuffix(out[line], "\n"), ",")
		f[i] = v
		out[line] = strings.Join(f, ",") + "\n"
		return strings.Join(out, "")
	}
	header := strings.Split(strings.TrimSpace(lines[0]), ",")
	at := func(name string) int {
		for i, h := range header {
			if h == name {
				return i
			}
		}
		t.Fatalf("no column %s in %v", name, header)
		return -1
	}
	secret := "440399199001010007" // wrong check character
	for name, c := range map[string]struct {
		csv   string
		kind  sandbox.Kind
		names []string
	}{
		"ragged row":     {strings.Join(append(append([]string{}, lines[:3]...), "a,b\n"), ""), sandbox.Invalid, []string{"persons.csv", "line 4"}},
		"bad date":       {field(5, at("birth_date"), "1990-13-40"), sandbox.Invalid, []string{"line 6", "birth_date"}},
		"bad identity":   {field(2, at("resident_id"), secret), sandbox.Invalid, []string{"row 2", "id_no", "GB 11643"}},
		"missing header": {strings.Replace(good, "birth_date", "born", 1), sandbox.Invalid, []string{"persons.csv", "birth_date"}},
		"not text":       {good[:2000] + "\xff\xfe\xfd" + good[2000:], sandbox.Invalid, []string{"persons.csv"}},
		"empty subject":  {field(3, at("resident_id"), ""), sandbox.Invalid, []string{"line 4"}},
		"header only":    {lines[0], sandbox.Invalid, []string{"at least one row"}},
	} {
		_, err := w.pushCSV(c.csv, sandbox.RunID("run-"+strings.ReplaceAll(name, " ", "-")))
		kindOf(t, err, c.kind, c.names...)
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats the value", name)
		}
	}
	d, err := result[catalog.Dataset](w.as("unit-population").api.GetDataset(context.Background(), "ds-persons"))
	if err != nil || d.Version != 0 || d.Rows != 0 {
		t.Errorf("after refused pushes: version %d, %d rows, %v", d.Version, d.Rows, err)
	}
	rep, err := w.pushCSV(good, "run-good")
	if err != nil || rep.Version != 1 || rep.Rows != 1000 {
		t.Fatalf("%+v %v", rep, err)
	}
	// The same run again is the same push: it gives the same report and commits nothing.
	if again, err := w.pushCSV(good, "run-good"); err != nil || again.Version != 1 || !bytes.Equal(again.Manifest, rep.Manifest) {
		t.Fatalf("%+v %v", again, err)
	}
	if rep, err = w.pushCSV(good, "run-better"); err != nil || rep.Version != 2 {
		t.Fatalf("%+v %v", rep, err)
	}
	for _, stage := range []string{"ds-persons/stage-*", "*/*.tmp"} {
		if left, _ := filepath.Glob(filepath.Join(w.dir, "vault", stage)); len(left) > 0 {
			t.Errorf("half-written: %v", left)
		}
	}
}

// TestErasedVersionIsNotAskedAbout: a question about a version that was erased is refused before it is charged; what was
// answered before stands.
func TestErasedVersionIsNotAskedAbout(t *testing.T) {
	w := ready(t)
	before := w.ask(question(w.story.Coarse))
	unit := w.story.Coarse.Inputs[0].Dataset
	owner := sandbox.IdentityID("unit-medical")
	_, err := result[api.ErasureReport](w.as(owner).api.EraseVersion(t.Context(), unit, 1, api.ErasureRequest{Reason: "the contract ended", Current: true}))
	w.must(err)
	if again := w.ask(question(w.story.Coarse)); again.ID != before.ID || again.State != before.State {
		t.Errorf("what was asked before is now %+v", again)
	}
	other := question(w.story.Coarse)
	other.Measures = other.Measures[:1]
	used, err := result[[]meter.Event](w.as("operator").api.ListUsage(t.Context(), &api.ListUsageParams{Month: meter.Month(w.read())}))
	w.must(err)
	_, err = result[api.Question](w.as("operator").api.AskQuestion(t.Context(), other))
	kindOf(t, err, sandbox.Expired, string(unit), "version 1")
	after, err := result[[]meter.Event](w.as("operator").api.ListUsage(t.Context(), &api.ListUsageParams{Month: meter.Month(w.read())}))
	w.must(err)
	if len(after) != len(used) {
		t.Error("a refused question was charged")
	}
}

// TestSchemaDrift: what only allows more passes and changes the registered schema; anything else is held back, with the exact
// difference for the unit and the agency.
func TestSchemaDrift(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	table := w.story.table("persons")
	u := w.as(sandbox.IdentityID(table.Dataset.Unit))
	_, err := result[catalog.Dataset](u.api.RegisterDataset(ctx, table.Dataset))
	w.must(err)
	send := func(change func(*catalog.Column), run sandbox.RunID) (api.PushReport, error) {
		d := table.Dataset
		d.Columns = append([]catalog.Column{}, d.Columns...)
		change(&d.Columns[1])
		return u.push(ctx, w.info, d, run, csvSource(filepath.Join(w.data, table.File), d, table.Mapping, file.Options{}), nil)
	}
	moved := table.Dataset
	moved.Columns = append([]catalog.Column{}, moved.Columns...)
	moved.Columns[1], moved.Columns[2] = moved.Columns[2], moved.Columns[1]
	name := moved.Columns[2].Name
	_, err = u.push(ctx, w.info, moved, "run-moved", csvSource(filepath.Join(w.data, table.File), moved, table.Mapping, file.Options{}), nil)
	kindOf(t, err, sandbox.Conflict, "ds-persons", "schema drift", name)
	held, err := w.node.Quarantine(ctx, api.Caller{Party: sandbox.Party{ID: table.Dataset.Unit, Role: sandbox.Unit}})
	if err != nil || len(held) != 1 || held[0].Run != "run-moved" || !strings.Contains(held[0].Reason, name) {
		t.Errorf("quarantine: %+v %v", held, err)
	}
	if other, err := w.node.Quarantine(ctx, api.Caller{Party: sandbox.Party{ID: "unit-medical", Role: sandbox.Unit}}); err != nil || len(other) != 0 {
		t.Errorf("another unit sees %+v %v", other, err)
	}
	rep, err := send(func(c *catalog.Column) { c.Nullable = true }, "run-nullable")
	if err != nil || rep.Version != 1 {
		t.Fatalf("%+v %v", rep, err)
	}
	got, err := result[catalog.Dataset](u.api.GetDataset(ctx, table.Dataset.ID))
	if err != nil || !got.Columns[1].Nullable {
		t.Errorf("the schema did not change: %+v %v", got.Columns[1], err)
	}
	_, err = send(func(*catalog.Column) {}, "run-back") // nulls are allowed now: a schema that forbids them narrows
	kindOf(t, err, sandbox.Conflict, "schema drift")
}

func TestWrongPassphrase(t *testing.T) {
	w := newWorld(t)
	w.stop()
	bad := filepath.Join(t.TempDir(), "p")
	w.must(os.WriteFile(bad, []byte("not the passphrase"), 0o600))
	code, out, errOut := opdomain(t, "serve", "--dir", w.dir, "--passphrase-file", bad)
	if code != exitFailed || !strings.Contains(errOut, "error:") || !strings.Contains(errOut, "hint:") || strings.Contains(out+errOut, "not the passphrase") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
}

func TestOneServerPerFolder(t *testing.T) {
	w := newWorld(t)
	_, err := node.Open(context.Background(), node.Config{Dir: w.dir, Passphrase: secretPhrase, Now: w.now, Rand: w.rand, Metrics: api.NewMetrics()})
	kindOf(t, err, sandbox.Conflict, "another process")
}

// flip changes one bit in the middle of the first file that matches.
func flip(t *testing.T, dir, pattern string, at func(b []byte) int) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil || len(found) == 0 {
		t.Fatalf("%s: no such file: %v", pattern, err)
	}
	b, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	b[at(b)] ^= 4
	if err := os.WriteFile(found[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func replaceIn(t *testing.T, path, old, new string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil || !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%s: %v", path, err)
	}
	if err := os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(new), 1), 0o600); err != nil {
		t.Fatal(err)
	}
}

func replaceFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func middle(b []byte) int { return len(b) / 2 }

// TestChangedFilesAreNamed changes one byte of each kind of file: the domain does not open, or fails closed when it
// needs the file, and says which.
func TestChangedFilesAreNamed(t *testing.T) {
	w := ready(t)
	older := filepath.Join(t.TempDir(), "older")
	w.must(w.restart(func(dir string) { w.must(os.CopyFS(older, os.DirFS(dir))) }))
	if _, err := w.answer(context.Background(), "coarse", question(w.story.Coarse)); err != nil {
		t.Fatal(err)
	}
	w.stop()
	master := w.dir
	for name, c := range map[string]struct {
		change func(dir string)
		kind   sandbox.Kind
		names  []string
	}{
		"root key":    {func(d string) { flip(t, d, "keys/root.key", middle) }, "", nil},
		"signing key": {func(d string) { flip(t, d, "keys/sign.key", middle) }, sandbox.Tampered, []string{"sign.key"}},
		"secret":      {func(d string) { flip(t, d, "keys/secret-store.key", middle) }, sandbox.Tampered, []string{"secret-store.key"}},
		"lost secret": {func(d string) { w.must(os.Remove(filepath.Join(d, "keys", "secret-pseudonym.key"))) }, sandbox.Tampered, []string{"secret-pseudonym.key", "missing"}},
		"version key": {func(d string) { flip(t, d, "keys/v-*.key", middle) }, sandbox.Tampered, []string{".key"}},
		"log entry":   {func(d string) { flip(t, d, "log/records/00000000", middle) }, sandbox.Tampered, []string{"entr"}},
		"checkpoint":  {func(d string) { flip(t, d, "log/checkpoint", func([]byte) int { return 20 }) }, sandbox.Tampered, []string{"checkpoint"}},
		"log cut": {func(d string) {
			b, _ := os.ReadFile(filepath.Join(d, "log/records/00000000"))
			w.must(os.Truncate(filepath.Join(d, "log/records/00000000"), int64(len(b)/2)))
		}, sandbox.Tampered, []string{"cut off; the checkpoint covers"}},
		"older log": {func(d string) {
			w.must(os.RemoveAll(filepath.Join(d, "log")))
			w.must(os.CopyFS(filepath.Join(d, "log"), os.DirFS(filepath.Join(older, "log"))))
		}, sandbox.Tampered, []string{"log", "earlier state"}},
		"older store": {func(d string) {
			w.must(os.Remove(filepath.Join(d, "domain.db")))
			replaceFile(t, filepath.Join(older, "domain.db"), filepath.Join(d, "domain.db"))
		}, sandbox.Tampered, []string{"domain.db", "earlier state"}},
		"manifest": {func(d string) { flip(t, d, "vault/ds-claims/v*/manifest", middle) }, sandbox.Tampered, []string{"ds-claims"}},
		"head":     {func(d string) { flip(t, d, "vault/ds-claims/HEAD", middle) }, sandbox.Tampered, []string{"ds-claims"}},
		"description": {func(d string) {
			flip(t, d, "domain.json", func(b []byte) int { return bytes.Index(b, []byte("longhua")) })
		}, "", nil},
		"other district": {func(d string) { replaceIn(t, filepath.Join(d, "domain.json"), "longhua", "futian") }, sandbox.Tampered, []string{"domain.json"}},
		"other hosting":  {func(d string) { replaceIn(t, filepath.Join(d, "domain.json"), "P1", "P2") }, sandbox.Tampered, []string{"domain.json"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "copy")
			if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
				t.Fatal(err)
			}
			c.change(dir)
			n, err := node.Open(context.Background(), node.Config{Dir: dir, Passphrase: secretPhrase, Now: w.now, Rand: w.rand, Metrics: api.NewMetrics()})
			if err == nil { // what is read only when it is needed, the check of every file names
				_, faults := n.Check(context.Background())
				err = errors.Join(faults...)
				_ = n.Close()
			}
			if err == nil {
				t.Fatal("the changed domain passes")
			}
			if c.kind != "" {
				kindOf(t, err, c.kind, c.names...)
			}
		})
	}
}

// TestChangedColumnsAndPopulationsFailClosed changes files that are read only when they are needed.
func TestChangedColumnsAndPopulationsFailClosed(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	if _, err := w.answer(ctx, "coarse", question(w.story.Coarse)); err != nil {
		t.Fatal(err)
	}
	w.must(w.restart(func(dir string) { flip(t, dir, "ledger/*.pop", middle) }))
	q, err := result[api.Question](w.as("operator").api.AskQuestion(ctx, question(w.story.Fine)))
	if err != nil || q.Code != sandbox.CodeWithheld {
		t.Fatalf("the asker sees more than the code: %+v %v", q, err)
	}
	r, err := result[api.Review](w.as("agency-reviewer").api.GetReview(ctx, q.ID))
	if err != nil || !strings.Contains(string(r.Pack), "population of an earlier answer") {
		t.Errorf("reviewers do not see the cause: %s %v", r.Pack, err)
	}
	if _, faults := w.node.Check(ctx); len(faults) != 1 {
		t.Errorf("check finds %v", faults)
	}
	w.must(w.restart(func(dir string) {
		flip(t, dir, "ledger/*.pop", middle) // back as it was
		flip(t, dir, "vault/ds-claims/v*/005.col", middle)
	}))
	third := question(w.story.Coarse)
	third.Filters = []query.Filter{{Column: "p.sex", In: []string{"1"}}}
	q, err = result[api.Question](w.as("operator").api.AskQuestion(ctx, third))
	if err != nil || q.Code != sandbox.CodeWithheld {
		t.Fatalf("%+v %v", q, err)
	}
	r, err = result[api.Review](w.as("agency-reviewer").api.GetReview(ctx, q.ID))
	if err != nil || !strings.Contains(string(r.Pack), "chunk") || !strings.Contains(string(r.Pack), "ds-claims") {
		t.Errorf("reviewers do not see the cause: %s %v", r.Pack, err)
	}
}

// disclosed gives the kinds of events a party's bundle discloses, verified first.
func (w *world) disclosed(id sandbox.IdentityID) (attest.Report, string) {
	w.t.Helper()
	b, err := body(w.as(id).api.GetBundle(context.Background()))
	w.must(err)
	rep, err := attest.VerifyBundle(bytes.NewReader(b), nil)
	w.must(err)
	return rep, string(b)
}

// TestBundlesDiscloseByParty plays the whole story and looks into each party's bundle: every one verifies, and none shows
// what its party may not know.
func TestBundlesDiscloseByParty(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	for _, step := range []func(context.Context) error{w.questions, w.claims, w.refusals, w.account} {
		w.must(step(ctx))
	}
	for id, c := range map[sandbox.IdentityID]struct{ yes, no []attest.Kind }{
		"auditor":      {yes: []attest.Kind{attest.ClaimRefused, attest.EgressChecked, attest.ConsentGiven, attest.SubjectEnrolled}},
		"operator":     {yes: []attest.Kind{attest.QuestionDecided, attest.ReleaseSent, attest.InvoiceIssued}, no: []attest.Kind{attest.EgressChecked, attest.ClaimRefused, attest.ClaimAnswered, attest.ConsentGiven, attest.SubjectEnrolled, attest.IngestCommitted}},
		"insurer":      {yes: []attest.Kind{attest.ClaimAnswered, attest.ConsentGiven, attest.UsageMetered}, no: []attest.Kind{attest.ClaimRefused, attest.QuestionDecided, attest.EgressChecked, attest.SubjectEnrolled}},
		"unit-medical": {yes: []attest.Kind{attest.IngestCommitted, attest.EgressChecked, attest.ReleaseSent, attest.ClaimAnswered}, no: []attest.Kind{attest.ClaimRefused, attest.InvoiceIssued, attest.SubjectEnrolled}},
		"patient":      {yes: []attest.Kind{attest.ConsentGiven, attest.ConsentRevoked, attest.ClaimAnswered, attest.ClaimRefused, attest.SubjectEnrolled}, no: []attest.Kind{attest.QuestionDecided, attest.EgressChecked, attest.InvoiceIssued}},
	} {
		rep, text := w.disclosed(id)
		for _, k := range c.yes {
			if rep.Events[k] == 0 {
				t.Errorf("%s does not see %s", id, k)
			}
		}
		for _, k := range c.no {
			if rep.Events[k] != 0 {
				t.Errorf("%s sees %d of %s", id, rep.Events[k], k)
			}
		}
		if id != "auditor" && id != "patient" && strings.Contains(text, "consent.revoked\"") && strings.Contains(text, "consent.none") {
			t.Errorf("%s learns why a claim was refused", id)
		}
		if id != "auditor" && rep.Hidden == 0 {
			t.Errorf("%s sees everything", id)
		}
	}
	if rep, _ := w.disclosed("auditor"); rep.Hidden != 0 || len(rep.NotChecked) != 0 {
		t.Errorf("hidden from the auditor: %d, not checked: %v", rep.Hidden, rep.NotChecked)
	}
	if rep, _ := w.disclosed("agency"); rep.Events[attest.ClaimRefused] != 0 || rep.Events[attest.EgressChecked] == 0 {
		t.Errorf("the agency sees %v", rep.Events)
	}
}
