package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// killed is a domain served by a process of its own that is killed again and again, and what it has acknowledged.
type killed struct {
	*play
	t     *testing.T
	child *exec.Cmd

	mu         sync.Mutex
	registered map[sandbox.DatasetID]bool
	pushed     map[sandbox.RunID]api.PushReport
	unsure     map[sandbox.RunID]sandbox.DatasetID // sent, not acknowledged
	busy       map[sandbox.RunID]bool              // being sent in this round
	resumed    int
	overtaken  int
}

// TestKillUnderLoad kills the serving process at random points while units push and register, opens it again and looks for
// everything it had acknowledged: nothing is lost, nothing is there twice. OPDOMAIN_KILLS sets how often; the default is short.
func TestKillUnderLoad(t *testing.T) {
	rounds := 6
	if s := os.Getenv("OPDOMAIN_KILLS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatal("OPDOMAIN_KILLS is a number from 1")
		}
		rounds = n
	}
	k := newKilled(t)
	ctx := context.Background()
	for round := 1; round <= rounds; round++ {
		k.serve()
		k.settle(ctx)
		load, stop := context.WithCancel(ctx)
		var work sync.WaitGroup
		for _, table := range k.story.Tables {
			work.Go(func() { k.pushes(load, table) })
		}
		for range 2 {
			work.Go(func() { k.registers(load) })
		}
		if round%2 == 0 { // a slow machine gets a push through too
			k.acknowledged(ctx)
		}
		if err := sleep(ctx, time.Duration(rand.IntN(400))*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		k.kill()
		stop()
		work.Wait()
		if round%50 == 0 || round == rounds {
			k.serve()
			k.settle(ctx)
			k.audit(ctx)
			k.kill()
			t.Logf("after %d kills: %d pushes (%d gone on with after a kill) and %d datasets acknowledged, all there once", round, len(k.pushed), k.resumed, len(k.registered))
		}
		if t.Failed() {
			t.FailNow()
		}
	}
	if len(k.pushed) == 0 || len(k.registered) == 0 {
		t.Fatal("nothing was acknowledged: the load did not run")
	}
	code, out, errOut := opdomain(t, "serve", "--dir", k.dir, "--listen", "256.0.0.1:0", "--check")
	if code == 0 || !strings.Contains(errOut, "256.0.0.1") {
		t.Errorf("the last state does not pass the check of every file: exit %d %s%s", code, out, errOut)
	}
}

// acknowledged waits for one push more, a minute at most.
func (k *killed) acknowledged(ctx context.Context) {
	k.t.Helper()
	count := func() int {
		k.mu.Lock()
		defer k.mu.Unlock()
		return len(k.pushed)
	}
	for was, left := count(), 12_000; count() == was; left-- {
		if left == 0 || sleep(ctx, 5*time.Millisecond) != nil {
			k.t.Fatal("no push is acknowledged under load")
		}
	}
}

func newKilled(t *testing.T) *killed {
	t.Helper()
	return newKilledIn(t, filepath.Join(t.TempDir(), "domain"))
}

func fileOptions() file.Options { return file.Options{} }

func newKilledIn(t *testing.T, dir string) *killed {
	t.Helper()
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, rand: testRand{}, now: time.Now, json: true}
	s, err := loadStory("district")
	if err != nil {
		t.Fatal(err)
	}
	p := &play{app: a, opts: demoOptions{district: "longhua"}, story: s, data: tables(t), dir: dir, sessions: map[sandbox.IdentityID]*session{}}
	k := &killed{play: p, t: t, registered: map[sandbox.DatasetID]bool{}, pushed: map[sandbox.RunID]api.PushReport{}, unsure: map[sandbox.RunID]sandbox.DatasetID{}, busy: map[sandbox.RunID]bool{}}
	t.Setenv("OPDOMAIN_PASSPHRASE", string(secretPhrase))
	n, people, err := p.found(context.Background(), founding{dir: p.dir, domain: "demo", district: "longhua", hosting: sandbox.P1, units: s.Units, keys: cheap}, secretPhrase, api.NewMetrics())
	if err != nil {
		t.Fatal(err)
	}
	p.people = people
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	k.serve()
	for _, table := range s.Tables {
		if _, err := result[catalog.Dataset](k.as(sandbox.IdentityID(table.Dataset.Unit)).api.RegisterDataset(context.Background(), table.Dataset)); err != nil {
			t.Fatal(err)
		}
		k.registered[table.Dataset.ID] = true
	}
	k.kill()
	t.Cleanup(k.kill)
	return k
}

// serve starts the process and waits for its first line.
func (k *killed) serve() {
	k.t.Helper()
	path, err := exec.LookPath("opdomain")
	if err != nil {
		k.t.Fatal(err)
	}
	k.child = exec.Command(path, "serve", "--dir", k.dir, "--listen", "127.0.0.1:0")
	var errOut bytes.Buffer
	k.child.Stderr = &errOut
	out, err := k.child.StdoutPipe()
	if err == nil {
		err = k.child.Start()
	}
	if err != nil {
		k.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	_, rest, ok := strings.Cut(line, " at ")
	if err != nil || !ok {
		_ = k.child.Wait()
		k.t.Fatalf("the domain does not open after a kill: %s", errOut.String())
	}
	addr, _, _ := strings.Cut(rest, ";")
	k.server = strings.TrimSpace(addr)
	clear(k.sessions)
	for id := range k.people { // sessions are made before goroutines share them
		k.as(id)
	}
	if k.info, err = k.as("agency").domain(context.Background()); err != nil {
		k.t.Fatal(err)
	}
}

func (k *killed) as(id sandbox.IdentityID) *session {
	k.t.Helper()
	s, err := k.by(id)
	if err != nil {
		k.t.Fatal(err)
	}
	return s
}

// kill ends the process as a power cut would, without a word.
func (k *killed) kill() {
	if k.child == nil {
		return
	}
	_ = k.child.Process.Kill()
	_ = k.child.Wait()
	k.child = nil
}

// pushes pushes one table over and over.
func (k *killed) pushes(ctx context.Context, table storyTable) {
	s := k.sessions[sandbox.IdentityID(table.Dataset.Unit)]
	for ctx.Err() == nil {
		run, err := k.open(table.Dataset.ID)
		if err != nil {
			k.t.Error(err)
			return
		}
		rep, err := s.push(ctx, k.info, table.Dataset, run, csvSource(filepath.Join(k.data, table.File), table.Dataset, table.Mapping, file.Options{}), nil)
		if errors.Is(err, sandbox.Conflict) && strings.Contains(err.Error(), "meanwhile") { // the run before it committed after all
			k.mu.Lock()
			k.overtaken++
			delete(k.unsure, run)
			k.mu.Unlock()
			continue
		}
		if err != nil {
			k.expected(ctx, err)
			continue
		}
		k.mu.Lock()
		k.pushed[run] = rep
		delete(k.unsure, run)
		k.mu.Unlock()
	}
}

// open gives the run to push: one that was broken off, to be gone on with, or a new one.
func (k *killed) open(d sandbox.DatasetID) (sandbox.RunID, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for run, of := range k.unsure {
		if of == d && !k.busy[run] {
			k.busy[run] = true
			k.resumed++
			return run, nil
		}
	}
	run, err := k.newRun()
	k.unsure[run], k.busy[run] = d, true
	return run, err
}

// registers registers new datasets.
func (k *killed) registers(ctx context.Context) {
	s := k.sessions["unit-medical"]
	for ctx.Err() == nil {
		run, err := k.newRun()
		if err != nil {
			k.t.Error(err)
			return
		}
		d := catalog.Dataset{ID: sandbox.DatasetID("ds-" + string(run)), Unit: "unit-medical", Title: "t", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
			Columns: []catalog.Column{{Name: "who", Title: "w", Type: catalog.Text, Grade: 3, Personal: true}}}
		if _, err := result[catalog.Dataset](s.api.RegisterDataset(ctx, d)); err != nil {
			k.expected(ctx, err)
			continue
		}
		k.mu.Lock()
		k.registered[d.ID] = true
		k.mu.Unlock()
	}
}

// expected lets errors of a dying server pass and reports any other.
func (k *killed) expected(ctx context.Context, err error) {
	if ctx.Err() == nil && !errors.Is(err, sandbox.Unavailable) {
		k.t.Errorf("under load: %v", err)
	}
	_ = sleep(ctx, 5*time.Millisecond) // the server is gone or about to be
}

// settle asks where the unacknowledged pushes stand, and holds every acknowledged one to its report.
func (k *killed) settle(ctx context.Context) {
	k.t.Helper()
	k.busy = map[sandbox.RunID]bool{}
	for run, d := range k.unsure {
		p, err := result[api.Push](k.owner(d).api.GetPush(ctx, run))
		switch {
		case errors.Is(err, sandbox.NotFound): // the opening never arrived
		case err != nil:
			k.t.Fatalf("a push that was not acknowledged: %v", err)
		case p.State == "committed":
			k.pushed[run] = *p.Report
		case p.State == "open": // it is gone on with
			continue
		}
		delete(k.unsure, run)
	}
}

func (k *killed) owner(d sandbox.DatasetID) *session {
	for _, t := range k.story.Tables {
		if t.Dataset.ID == d {
			return k.sessions[sandbox.IdentityID(t.Dataset.Unit)]
		}
	}
	return k.sessions["unit-medical"]
}

// audit compares catalogue, pushes and evidence with what was acknowledged.
func (k *killed) audit(ctx context.Context) {
	k.t.Helper()
	all, err := result[[]catalog.Dataset](k.as("agency").api.ListDatasets(ctx))
	if err != nil {
		k.t.Fatal(err)
	}
	versions := map[sandbox.DatasetID]uint64{}
	for _, d := range all {
		if _, twice := versions[d.ID]; twice {
			k.t.Errorf("%s is listed twice", d.ID)
		}
		versions[d.ID] = d.Version
	}
	for d := range k.registered {
		if _, ok := versions[d]; !ok {
			k.t.Errorf("%s was acknowledged and is lost", d)
		}
	}
	type place struct {
		d sandbox.DatasetID
		v uint64
	}
	at := map[place]sandbox.RunID{}
	count := map[sandbox.DatasetID]uint64{}
	for run, rep := range k.pushed {
		p, err := result[api.Push](k.owner(rep.Dataset).api.GetPush(ctx, run))
		if err != nil || p.State != "committed" || p.Report == nil || p.Report.Version != rep.Version || p.Report.Rows != rep.Rows || !bytes.Equal(p.Report.Manifest, rep.Manifest) {
			k.t.Errorf("push %s was acknowledged as version %d and now is %+v, %v", run, rep.Version, p, err)
		}
		if other, twice := at[place{rep.Dataset, rep.Version}]; twice {
			k.t.Errorf("%s version %d was acknowledged to %s and %s", rep.Dataset, rep.Version, other, run)
		}
		at[place{rep.Dataset, rep.Version}] = run
		count[rep.Dataset]++
	}
	for d, n := range count {
		if versions[d] != n {
			k.t.Errorf("%s is at version %d after %d committed pushes", d, versions[d], n)
		}
	}
	b, err := body(k.as("agency").api.GetBundle(ctx))
	if err != nil {
		k.t.Fatal(err)
	}
	runs, regs := map[string]int{}, map[string]int{}
	if _, err := attest.VerifyBundle(bytes.NewReader(b), nil); err != nil {
		k.t.Errorf("the evidence does not verify: %v", err)
	}
	for line := range bytes.Lines(b) {
		for _, x := range []struct {
			mark string
			seen map[string]int
		}{{`"kind":"ingest.committed"`, runs}, {`"kind":"dataset.registered"`, regs}} {
			if !bytes.Contains(line, []byte(x.mark)) {
				continue
			}
			name := `"run":"`
			if strings.Contains(x.mark, "dataset") {
				name = `"dataset":"`
			}
			_, rest, _ := bytes.Cut(line, []byte(name))
			id, _, _ := bytes.Cut(rest, []byte(`"`))
			x.seen[string(id)]++
		}
	}
	for run := range k.pushed {
		if runs[string(run)] != 1 {
			k.t.Errorf("push %s has %d events", run, runs[string(run)])
		}
	}
	for d := range k.registered {
		if regs[string(d)] != 1 {
			k.t.Errorf("dataset %s has %d events", d, regs[string(d)])
		}
	}
	for id, n := range regs {
		if n != 1 {
			k.t.Errorf("%s was registered %d times", id, n)
		}
	}
	if len(runs) != len(k.pushed) {
		k.t.Errorf("%d pushes have events, %d are known as committed", len(runs), len(k.pushed))
	}
}
