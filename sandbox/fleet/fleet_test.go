package fleet

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// TestMain makes the test's program a worker when it is started as one: honest, or not.
func TestMain(m *testing.M) {
	if len(os.Args) < 2 || !strings.HasPrefix(os.Args[1], "fleet-") {
		os.Exit(m.Run())
	}
	var in io.Reader = os.Stdin
	var out io.Writer = os.Stdout
	first := len(os.Args) > 2 && claim(os.Args[2])
	number := func(i int) int { n, _ := strconv.Atoi(os.Args[i]); return n }
	ctx := context.Background()
	var err error
	switch mode := os.Args[1]; {
	case mode == "fleet-silent":
		_, err = io.Copy(io.Discard, in)
	case mode == "fleet-stopped":
		if first {
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		}
		err = Work(ctx, memory.DefaultAllocator, rand.Reader, in, out)
	case mode == "fleet-environment":
		err = os.WriteFile(os.Args[2], []byte(strings.Join(os.Environ(), "\n")), 0o600)
		if err == nil {
			err = Work(ctx, memory.DefaultAllocator, rand.Reader, in, out)
		}
	case mode == "fleet-dies-writing" && first:
		err = Work(ctx, memory.DefaultAllocator, rand.Reader, in, &edited{w: out, at: number(3), kill: true})
	case mode == "fleet-dies-reading" && first:
		err = Work(ctx, memory.DefaultAllocator, rand.Reader, &dying{in, number(3)}, out)
	case mode == "fleet-changed" && first:
		err = Work(ctx, memory.DefaultAllocator, rand.Reader, in, &edited{w: out, at: number(3)})
	case mode == "fleet-liar" && first:
		err = lie(ctx, in, out)
	default:
		err = Work(ctx, memory.DefaultAllocator, rand.Reader, in, out)
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// claim says whether this process is the first that asks for a path.
func claim(path string) bool {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	_ = f.Close()
	return true
}

// edited changes the byte at a place of what is written, or dies there.
type edited struct {
	w    io.Writer
	at   int
	kill bool
}

func (e *edited) Write(b []byte) (int, error) {
	if e.at >= 0 && e.at < len(b) {
		if e.kill {
			_, _ = e.w.Write(b[:e.at])
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		b = append([]byte(nil), b...)
		b[e.at] ^= 4
	}
	e.at -= len(b)
	return e.w.Write(b)
}

// dying dies when so many bytes were read.
type dying struct {
	r    io.Reader
	left int
}

func (d *dying) Read(b []byte) (int, error) {
	if d.left <= 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	n, err := d.r.Read(b[:min(len(b), d.left)])
	d.left -= n
	return n, err
}

// lie is a worker that computes the part before the one it is asked for and seals it as the right one.
func lie(ctx context.Context, in io.Reader, out io.Writer) error {
	hello := make([]byte, len(magic)+jobSize+secretSize)
	if _, err := io.ReadFull(in, hello); err != nil {
		return err
	}
	b := bound{job: hello[len(magic) : len(magic)+jobSize]}
	l, err := newLine(in, out, b.job, hello[len(magic)+jobSize:], true)
	if err != nil {
		return err
	}
	m, err := l.receive(b.to(noPart), maxOrder)
	if err != nil {
		return err
	}
	o, err := decodeOrder(m)
	if err != nil {
		return err
	}
	if b.kernel, err = o.digest(); err != nil {
		return err
	}
	w, err := newWorker(ctx, memory.DefaultAllocator, rand.Reader, o, 1)
	if err != nil {
		return err
	}
	n := uint64(w.parts.Len())
	if err := l.send(b.to(noPart), binary.BigEndian.AppendUint64([]byte{isReady}, n)); err != nil {
		return err
	}
	for {
		if m, err = l.receive(b.to(noPart), 8); err != nil {
			return err
		}
		part := binary.BigEndian.Uint64(m)
		r, err := w.parts.Scan(ctx, memory.DefaultAllocator, w.columns, int((part+n-1)%n))
		if err != nil {
			return err
		}
		p, err := w.kernel.Consume(ctx, r)
		if err != nil {
			return err
		}
		if err := l.send(b.to(part), append([]byte{isPartial}, w.kernel.Encode(p)...)); err != nil {
			return err
		}
	}
}

var claims = catalog.Dataset{ID: "claims", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{
		{Name: "person", Type: catalog.Text, Grade: 2},
		{Name: "site", Type: catalog.Text, Grade: 2, Nullable: true, Public: true, JoinKey: true},
		{Name: "fee", Type: catalog.Money, Grade: 2, Nullable: true},
		{Name: "secret", Type: catalog.Money, Grade: 2},
	}}

var people = catalog.Dataset{ID: "people", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "street", Type: catalog.Text, Grade: 2, Public: true}}}

// world is two committed versions and a question on them.
type world struct {
	v         *vault.Vault
	plan      columnar.Plan
	snapshots []vault.Snapshot
	parts     *vault.Parts
	size      int   // rows of a batch
	rows      int64 // least of a part
}

const partRows = 150

func newWorld(t testing.TB) *world { return worldOf(t, 1500, 31, partRows) }

// worldOf has so many claims, in batches and parts of so many rows.
func worldOf(t testing.TB, rows, size int, part int64) *world {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), "keys"), []byte("test"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{size: size, rows: part}
	if w.v, err = vault.Open(filepath.Join(t.TempDir(), "vault"), k, rand.Reader); err != nil {
		t.Fatal(err)
	}
	draw := mathrand.New(mathrand.NewPCG(1, 2))
	w.commit(t, claims, rows, func(b *array.RecordBuilder, i int) sandbox.Pseudonym {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("p", i/7))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("s", draw.IntN(4)))
		if draw.IntN(9) == 0 {
			b.Field(2).AppendNull()
		} else {
			b.Field(2).(*array.Int64Builder).Append(draw.Int64N(100_000))
		}
		b.Field(3).(*array.Int64Builder).Append(int64(i))
		return subject(i / 7)
	})
	w.commit(t, people, rows/7, func(b *array.RecordBuilder, i int) sandbox.Pseudonym {
		b.Field(0).(*array.StringBuilder).Append(fmt.Sprint("p", i))
		b.Field(1).(*array.StringBuilder).Append(fmt.Sprint("street ", draw.IntN(3)))
		return subject(i)
	})
	agg := []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean, sandbox.Quantile, sandbox.Variance}
	list := []sandbox.ListItem{
		{Dataset: "claims", Columns: []sandbox.ColumnRule{{Column: "person", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "site", Uses: []sandbox.Use{sandbox.UseGroup}},
			{Column: "fee", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: agg}}},
		{Dataset: "people", Columns: []sandbox.ColumnRule{{Column: "person", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "street", Uses: []sandbox.Use{sandbox.UseGroup}}}}}
	spec := query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "c", Dataset: "claims"}, {Alias: "p", Dataset: "people", With: "c", Join: query.LeftJoin}},
		Dimensions: []query.Dimension{{Column: "c.site", As: "site"}, {Column: "p.street", As: "street"}},
		Measures: []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Subjects, As: "persons"}, {Func: sandbox.Sum, Column: "c.fee", As: "fee"},
			{Func: sandbox.Quantile, Column: "c.fee", Q: 500, As: "median"}, {Func: sandbox.Variance, Column: "c.fee", As: "variance"}}}
	d, reasons := query.Derive(spec, map[sandbox.DatasetID]catalog.Dataset{"claims": claims, "people": people}, list)
	if len(reasons) > 0 {
		t.Fatalf("refused: %+v", reasons)
	}
	w.plan.Derivation = d
	if w.parts, err = w.v.Parts(w.snapshots[0], part); err != nil || w.parts.Len() < 4 {
		t.Fatal(w.parts.Len(), err)
	}
	return w
}

func subject(i int) (p sandbox.Pseudonym) {
	binary.BigEndian.PutUint32(p[:], uint32(i))
	return p
}

// commit writes rows in batches whose subjects go over from one batch, and part, to the next.
func (w *world) commit(t testing.TB, d catalog.Dataset, rows int, row func(*array.RecordBuilder, int) sandbox.Pseudonym) {
	t.Helper()
	ctx := t.Context()
	writer, err := w.v.Begin(ctx, d.Unit, d.ID, sandbox.RunID("run-"+d.ID), batch.Schema(d), 3)
	if err == nil {
		err = writer.Straight()
	}
	for from := 0; err == nil && from < rows; from += w.size {
		b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(d))
		var subjects []sandbox.Pseudonym
		for i := from; i < min(from+w.size, rows); i++ {
			subjects = append(subjects, row(b, i))
		}
		rec := b.NewRecord()
		err = writer.Write(ctx, rec, subjects)
		rec.Release()
		b.Release()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := writer.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	w.snapshots = append(w.snapshots, s)
	w.plan.Inputs = append(w.plan.Inputs, sandbox.InputVersion{Dataset: d.ID, Version: s.Version})
}

func (w *world) source(mem memory.Allocator) columnar.Source {
	opened := func(r *vault.Scanner, err error) (batch.Reader, error) {
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	return columnar.Source{Parts: w.parts.Len(),
		Open: func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
			for _, s := range w.snapshots {
				if s.Dataset == ds {
					return opened(w.v.Scan(ctx, mem, s, columns))
				}
			}
			return nil, errors.New("no such dataset")
		},
		OpenPart: func(ctx context.Context, _ sandbox.DatasetID, columns []string, part int) (batch.Reader, error) {
			return opened(w.parts.Scan(ctx, mem, columns, part))
		}}
}

// execute computes the question and holds the run to giving its memory back.
func (w *world) execute(t testing.TB, ctx context.Context, by columnar.Executor) (*sandbox.Answer, error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	return columnar.Execute(ctx, mem, w.plan, w.source(mem), columnar.Limits{}, by)
}

func (w *world) fleet(t testing.TB, c Config, args ...string) Processes {
	t.Helper()
	c.Program, c.Command, c.Rand = os.Args[0], append([]string{os.Args[0]}, args...), rand.Reader
	if c.Workers == 0 {
		c.Workers = 2
	}
	p, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return p.For(Job{Plan: w.plan, Vault: w.v, Snapshots: w.snapshots, Rows: w.rows})
}

func (w *world) want(t *testing.T) *sandbox.Answer {
	t.Helper()
	want, err := w.execute(t, t.Context(), columnar.Goroutines{Workers: 2})
	if err != nil || len(want.Cells) < 12 {
		t.Fatal(err)
	}
	return want
}

// TestSameBits: worker processes give what goroutines give, whatever their number and however many compute each part.
func TestSameBits(t *testing.T) {
	w := newWorld(t)
	want := w.want(t)
	for _, c := range []Config{{Workers: 1}, {Workers: 2}, {Workers: 3, Copies: 2}} {
		got, err := w.execute(t, t.Context(), w.fleet(t, c, "fleet-worker"))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%d processes, %d for each part, give another answer", c.Workers, c.Copies)
		}
	}
}

// TestSpilledSameBits: with no memory for the joined input, two processes that compute one part give the same bytes, and all of them what
// goroutines give in memory. Nothing stays on the disk.
func TestSpilledSameBits(t *testing.T) {
	w := newWorld(t)
	want := w.want(t)
	job := Job{Plan: w.plan, Vault: w.v, Snapshots: w.snapshots, Rows: w.rows, Limits: columnar.Limits{MaxBuildBytes: 1}}
	for _, by := range []columnar.Executor{columnar.Goroutines{Workers: 2}, w.fleet(t, Config{Workers: 2}, "fleet-worker").For(job), w.fleet(t, Config{Workers: 3, Copies: 2}, "fleet-worker").For(job)} {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		spill, err := w.v.Spill()
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		src := w.source(mem)
		src.Spill = func() (columnar.SpillFile, error) { made++; return spill.Create() }
		got, err := columnar.Execute(t.Context(), mem, w.plan, src, job.Limits, by)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || made == 0 {
			t.Errorf("%T with %d files: another answer", by, made)
		}
		mem.AssertSize(t, 0)
		left, err := os.ReadDir(filepath.Join(w.v.Dir(), ".spill"))
		if err != nil || len(left) > 0 {
			t.Errorf("%d files left, %v", len(left), err)
		}
	}
}

// TestKilled: a worker that is killed after any byte it reads or writes changes nothing.
func TestKilled(t *testing.T) {
	w := newWorld(t)
	want := w.want(t)
	draw := mathrand.New(mathrand.NewPCG(3, 4))
	modes := []struct {
		name string
		at   []int
	}{
		{"fleet-dies-writing", []int{0, 3, 4, 28, 29, 200, 1000, 5000 + draw.IntN(20000), draw.IntN(40000)}},
		{"fleet-dies-reading", []int{0, 10, 52, 60, 1000, 2000 + draw.IntN(6000)}},
	}
	for _, m := range modes {
		for _, at := range m.at {
			path := filepath.Join(t.TempDir(), "first")
			got, err := w.execute(t, t.Context(), w.fleet(t, Config{}, m.name, path, strconv.Itoa(at)))
			if err != nil {
				t.Errorf("%s at byte %d: %v", m.name, at, err)
			} else if !reflect.DeepEqual(got, want) {
				t.Errorf("%s at byte %d: another answer", m.name, at)
			}
		}
	}
}

// TestKilledFromOutside: kill -9 at moments that nobody chose.
func TestKilledFromOutside(t *testing.T) {
	w := newWorld(t)
	want := w.want(t)
	draw := mathrand.New(mathrand.NewPCG(5, 6))
	for round := range 6 {
		var once sync.Once
		var wait sync.WaitGroup
		c := Config{Attempts: 3}
		delay := time.Duration(draw.IntN(60)) * time.Millisecond
		c.began = func(pid int) {
			once.Do(func() {
				wait.Go(func() {
					time.Sleep(delay)
					_ = syscall.Kill(pid, syscall.SIGKILL) // not waited for before: the number is still its own
				})
			})
		}
		got, err := w.execute(t, t.Context(), w.fleet(t, c, "fleet-worker"))
		wait.Wait()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// TestLost: when every process dies, the run ends and says so.
func TestLost(t *testing.T) {
	w := newWorld(t)
	for name, args := range map[string][]string{
		"a program that is none": {"fleet-no-such", filepath.Join(t.TempDir(), "no", "folder")},
	} {
		var pids []int
		var mu sync.Mutex
		c := Config{began: func(pid int) {
			mu.Lock()
			defer mu.Unlock()
			pids = append(pids, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}}
		if _, err := w.execute(t, t.Context(), w.fleet(t, c, args...)); !errors.Is(err, sandbox.Unavailable) {
			t.Errorf("%s: %v", name, err)
		}
		if len(pids) > 4 {
			t.Errorf("%s: %d processes were tried", name, len(pids))
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, 0); err == nil {
				t.Errorf("%s: a process is left", name)
			}
		}
	}
	p := w.fleet(t, Config{}, "fleet-worker")
	p.config.Program = filepath.Join(t.TempDir(), "absent")
	if _, err := w.execute(t, t.Context(), p); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a program that is not there: %v", err)
	}
}

// TestLease: a worker that never answers is killed when its lease ends, and another one computes; if none ever answers, the run fails.
func TestLease(t *testing.T) {
	w := newWorld(t)
	want := w.want(t)
	over := make(chan time.Time)
	close(over)
	path := filepath.Join(t.TempDir(), "first")
	lease := make(chan time.Time)
	var wait sync.WaitGroup
	wait.Go(func() { // the first lease ends when the process that holds it has begun to stop itself
		defer close(lease)
		for t.Context().Err() == nil {
			if _, err := os.Stat(path); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	defer wait.Wait()
	leases := 0
	c := Config{Workers: 1, After: func(time.Duration) <-chan time.Time {
		if leases++; leases == 1 {
			return lease
		}
		return nil // never
	}}
	got, err := w.execute(t, t.Context(), w.fleet(t, c, "fleet-stopped", path))
	if err != nil || !reflect.DeepEqual(got, want) || leases < 3 {
		t.Errorf("a stopped worker: %v", err)
	}
	c = Config{After: func(time.Duration) <-chan time.Time { return over }}
	if _, err := w.execute(t, t.Context(), w.fleet(t, c, "fleet-silent")); !errors.Is(err, sandbox.Unavailable) || !strings.Contains(err.Error(), "lease") {
		t.Errorf("silent workers: %v", err)
	}
}

// TestChanged: a byte of a worker's answers that was changed on its way ends the run, wherever it stands.
func TestChanged(t *testing.T) {
	w := newWorld(t)
	for _, at := range []int{0, 3, 7, 8, 23, 24, 33, 28, 29, 40, 300, 2000} {
		path := filepath.Join(t.TempDir(), "first")
		_, err := w.execute(t, t.Context(), w.fleet(t, Config{Workers: 1}, "fleet-changed", path, strconv.Itoa(at)))
		if !errors.Is(err, sandbox.Tampered) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

// TestLiar: a worker that seals another part's partial as the one it was asked for is found by a second one.
func TestLiar(t *testing.T) {
	w := newWorld(t)
	_, err := w.execute(t, t.Context(), w.fleet(t, Config{Workers: 2, Copies: 2}, "fleet-liar", filepath.Join(t.TempDir(), "first")))
	if !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "same bytes") {
		t.Errorf("a liar beside an honest worker: %v", err)
	}
}

// TestEnvironment: a worker has the variables it was given and no others.
func TestEnvironment(t *testing.T) {
	t.Setenv("OPDOMAIN_PASSPHRASE", "not for workers")
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "environment")
	if _, err := w.execute(t, t.Context(), w.fleet(t, Config{Workers: 1, Env: []string{"A=1"}}, "fleet-environment", path)); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "A=1" {
		t.Errorf("a worker had %d bytes of variables: %v", len(b), err)
	}
}

// TestWorkerFailures: what a worker cannot compute ends the run with the worker's own reason, at once.
func TestWorkerFailures(t *testing.T) {
	w := newWorld(t)
	names, err := filepath.Glob(filepath.Join(w.v.Dir(), "claims", "v*", "*.col"))
	if err != nil || len(names) == 0 {
		t.Fatal(err)
	}
	want := w.fleet(t, Config{}, "fleet-worker")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.execute(t, t.Context(), want); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "worker claims") {
		t.Errorf("changed columns: %v", err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := newWorld(t).execute(t, ctx, want); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// BenchmarkExecutors computes one question over 2 million rows in 8 parts on goroutines and on processes, which start each time.
func BenchmarkExecutors(b *testing.B) {
	w := worldOf(b, 2_000_000, 8192, 1<<18)
	for _, n := range []int{1, 2} {
		for _, x := range []struct {
			name string
			by   columnar.Executor
		}{{"goroutines", columnar.Goroutines{Workers: n}}, {"processes", w.fleet(b, Config{Workers: n}, "fleet-worker")}} {
			b.Run(fmt.Sprint(x.name, "-", n), func(b *testing.B) {
				for b.Loop() {
					if _, err := w.execute(b, b.Context(), x.by); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkStart computes a question over a few rows: what a process costs before it has computed anything.
func BenchmarkStart(b *testing.B) {
	w := newWorld(b)
	for _, x := range []struct {
		name string
		by   columnar.Executor
	}{{"goroutines", columnar.Goroutines{Workers: 1}}, {"processes", w.fleet(b, Config{Workers: 1}, "fleet-worker")}} {
		b.Run(x.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := w.execute(b, b.Context(), x.by); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
