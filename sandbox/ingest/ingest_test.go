package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/vault"
)

var claims = catalog.Dataset{ID: "ds-claims", Unit: "unit-a", Title: "claims", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.ResidentID,
	Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "phone", Type: catalog.Text, Grade: 1, Nullable: true},
		{Name: "fee", Type: catalog.Money, Grade: 1}}}

// resident builds a number that passes GB 11643 from its first 17 digits.
func resident(n int) string {
	s := fmt.Sprintf("44030119900101%03d", n)
	sum := 0
	for i, c := range s {
		w := 1
		for range 17 - i {
			w = w * 2 % 11
		}
		sum += int(c-'0') * w
	}
	return s + string("10X98765432"[sum%11])
}

type row struct {
	person, phone string
	fee           int64
}

func rows(from, to int) (out []row) {
	for i := from; i < to; i++ {
		out = append(out, row{resident(i), fmt.Sprintf("1380000%04d", i*37%10000), int64(i) * 100})
	}
	return out
}

func record(t testing.TB, d catalog.Dataset, in []row) arrow.Record {
	t.Helper()
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(d))
	defer b.Release()
	for _, r := range in {
		b.Field(0).(*array.StringBuilder).Append(r.person)
		if r.phone == "" {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(r.phone)
		}
		b.Field(2).(*array.Int64Builder).Append(r.fee)
	}
	return b.NewRecord()
}

func encode(t testing.TB, d catalog.Dataset, in []row) []byte {
	t.Helper()
	rec := record(t, d, in)
	defer rec.Release()
	b, err := batch.Encode(nil, rec)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// sealed carries payloads through a real stream; cut drops bytes from its end.
func sealed(t testing.TB, cut int, payloads ...[]byte) Frames {
	t.Helper()
	key, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o, secret, err := channel.NewOpening(rand.Reader, key.Public(), channel.Opening{From: "unit-a-1", To: "domain", Domain: "d", Run: "run-1", Dataset: "ds-claims",
		SchemaDigest: make([]byte, sm.Size), Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	var stream bytes.Buffer
	w, err := channel.NewWriter(&stream, secret, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range numbered(t, payloads...) {
		if err := w.WriteFrame(p); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := channel.NewReader(bytes.NewReader(stream.Bytes()[:stream.Len()-cut]), secret, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// numbered gives the payloads of a whole run: each batch under its number, then the closing.
func numbered(t testing.TB, batches ...[]byte) (out [][]byte) {
	t.Helper()
	var chain wire.Chain
	var n int64
	for _, b := range batches {
		chain.Add(wire.Leaf(b))
		out = append(out, append(wire.AppendHeader(nil, wire.Batch, chain.N), b...))
		if len(b) >= 16 {
			n += int64(binary.LittleEndian.Uint64(b[8:]))
		}
	}
	c, err := wire.Closing{Batches: chain.N, Rows: n, Digest: chain.Sum[:], Read: n}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(out, append(wire.AppendHeader(nil, wire.Close, chain.N), c...))
}

// listed yields payloads, then end.
func listed(payloads [][]byte, end error) Frames {
	return frames(func() ([]byte, error) {
		if len(payloads) == 0 {
			return nil, end
		}
		p := payloads[0]
		payloads = payloads[1:]
		return p, nil
	})
}

type place struct {
	dir      string
	keys     *keys.File
	vault    *vault.Vault
	subjects *Pseudonymizer
	intake   *Intake
}

func (p place) bounded(t testing.TB, mem memory.Allocator, lim Limits) *Intake {
	t.Helper()
	in, err := New(Config{Limits: lim, Now: time.Now}, mem, p.vault, p.subjects)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func open(t testing.TB) place {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), "keys"), []byte("test"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "vault")
	v, err := vault.Open(dir, k, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := place{dir: dir, keys: k, vault: v, subjects: NewPseudonymizer(bytes.Repeat([]byte{7}, 32))}
	p.intake = p.bounded(t, memory.DefaultAllocator, Limits{})
	return p
}

// standing gives where run-1 stands.
func (p place) standing(t testing.TB) Progress {
	t.Helper()
	at, err := p.intake.Standing(context.Background(), claims.ID, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// reopened is the place as a new process finds it.
func (p place) reopened(t testing.TB) place {
	t.Helper()
	var err error
	if p.vault, err = vault.Open(p.dir, p.keys, rand.Reader); err != nil {
		t.Fatal(err)
	}
	p.intake = p.bounded(t, memory.DefaultAllocator, Limits{})
	return p
}

// bySubject sorts rows as the vault stores them: by pseudonym, then in the order they came.
func (p place) bySubject(d catalog.Dataset, in []row) []row {
	out := slices.Clone(in)
	slices.SortStableFunc(out, func(a, b row) int {
		x, _ := p.subjects.Pseudonym(d.SubjectKind, a.person)
		y, _ := p.subjects.Pseudonym(d.SubjectKind, b.person)
		return bytes.Compare(x[:], y[:])
	})
	return out
}

func (p place) receive(t testing.TB, d catalog.Dataset, run sandbox.RunID, f Frames, lim Limits) (Result, error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	in := p.bounded(t, mem, lim)
	res, err := in.Receive(context.Background(), Push{Run: run, Dataset: d, Frames: f})
	return res, err
}

// files lists what lies under the vault's folder.
func (p place) files(t testing.TB) (out []string) {
	t.Helper()
	err := filepath.WalkDir(p.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (p place) read(t testing.TB, s vault.Snapshot, column string) (out []string) {
	t.Helper()
	r, err := p.vault.Scan(context.Background(), memory.DefaultAllocator, s, []string{column})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.Next(context.Background())
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			out = append(out, strings.Clone(rec.Column(0).ValueStr(i)))
		}
		rec.Release()
	}
}

func TestReceive(t *testing.T) {
	p := open(t)
	one, two := rows(0, 200), rows(200, 300)
	two[3].phone = ""
	a, b := encode(t, claims, one), encode(t, claims, two)
	rep, err := p.receive(t, claims, "run-1", sealed(t, 0, a, b), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if rep.Progress.Rows != 300 || rep.Snapshot.Rows != 300 || rep.Snapshot.Version != 1 || rep.Snapshot.Run != "run-1" || rep.Progress.Bytes != int64(len(a)+len(b)) {
		t.Errorf("report: %d rows, version %d, %d sealed", rep.Progress.Rows, rep.Snapshot.Version, rep.Progress.Bytes)
	}
	found := map[string]classify.Kind{}
	for _, f := range rep.Findings {
		found[f.Column] = f.Finding
	}
	if found["person"] != classify.ResidentID || found["phone"] != classify.Mobile || found["fee"] != classify.None {
		t.Errorf("findings: %v", found)
	}
	sorted := p.bySubject(claims, append(slices.Clone(one), two...))
	if got := p.read(t, rep.Snapshot, "person"); len(got) != 300 || got[0] != sorted[0].person || got[299] != sorted[299].person {
		t.Error("the column does not hold what was pushed")
	}
	head, err := p.vault.Head(claims.ID)
	if err != nil || head.Manifest != rep.Snapshot.Manifest {
		t.Errorf("head: %v", err)
	}
	// The version itself says all of it, to who takes it up after a crash.
	kept, known, err := Committed(head)
	rep.Snapshot, kept.Snapshot = vault.Snapshot{}, vault.Snapshot{}
	if want, got := fmt.Sprintf("%+v", rep), fmt.Sprintf("%+v", kept); err != nil || !known || got != want {
		t.Errorf("the version says %s, its run %s, %v", got, want, err)
	}
	if _, err := p.receive(t, claims, "run-1", sealed(t, 0, a), Limits{}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a run twice: %v", err)
	}
}

// TestRefusedPushLeavesNothing: every failure names its place and rule, shows no value, keeps the version that was, and
// lets the next push in.
func TestRefusedPushLeavesNothing(t *testing.T) {
	good := encode(t, claims, rows(0, 5))
	wrong := rows(5, 9)
	digit := wrong[2].person[16]
	wrong[2].person = wrong[2].person[:16] + string('0'+(digit-'0'+1)%10) + wrong[2].person[17:]
	opaque := claims
	opaque.SubjectKind = catalog.Opaque
	gone := claims
	gone.Subject = "nobody"
	other := claims
	other.Columns = append([]catalog.Column{}, claims.Columns...)
	other.Columns[2] = catalog.Column{Name: "fee", Type: catalog.Date, Grade: 1}
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1 // inside the last money value: still valid
	flipped[0] ^= 1

	for name, c := range map[string]struct {
		d      catalog.Dataset
		frames Frames
		lim    Limits
		kind   sandbox.Kind
		words  []string
	}{
		"not a batch":            {claims, sealed(t, 0, good, []byte("rubbish")), Limits{}, sandbox.Invalid, []string{"ds-claims", "batch 2", "header"}},
		"another magic":          {claims, sealed(t, 0, flipped), Limits{}, sandbox.Invalid, []string{"batch 1", "magic"}},
		"another schema":         {other, sealed(t, 0, good), Limits{}, sandbox.Invalid, []string{"batch 1"}},
		"wrong check character":  {claims, sealed(t, 0, good, encode(t, claims, wrong)), Limits{}, sandbox.Invalid, []string{"ds-claims", "batch 2", "row 3", "column person", "GB 11643"}},
		"empty opaque subject":   {opaque, sealed(t, 0, encode(t, opaque, []row{{"a", "", 1}, {" \u3000", "", 1}})), Limits{}, sandbox.Invalid, []string{"row 2", "column person", "1 to 256 bytes"}},
		"no frames":              {claims, sealed(t, 0), Limits{}, sandbox.Invalid, []string{"ds-claims", "at least one row"}},
		"only empty batches":     {claims, sealed(t, 0, encode(t, claims, nil), encode(t, claims, nil)), Limits{}, sandbox.Invalid, []string{"at least one row"}},
		"rows over in the last":  {claims, sealed(t, 0, good, good), Limits{Rows: 9}, sandbox.TooLarge, []string{"ds-claims", "9 rows"}},
		"rows over in the first": {claims, sealed(t, 0, good), Limits{Rows: 4}, sandbox.TooLarge, []string{"4 rows"}},
		"too many batches":       {claims, sealed(t, 0, good, good, good), Limits{Batches: 2}, sandbox.TooLarge, []string{"2 batches"}},
		"a batch over its limit": {claims, sealed(t, 0, good), Limits{Batch: batch.Limits{Rows: 4}}, sandbox.TooLarge, []string{"batch 1"}},
		"cut in the last frame":  {claims, sealed(t, 1, good), Limits{}, sandbox.Tampered, []string{"frame"}},
		"without its last frame": {claims, sealed(t, 36, good, good), Limits{}, sandbox.Tampered, []string{"last frame"}},
		"no such subject column": {gone, sealed(t, 0, good), Limits{}, sandbox.Invalid, []string{"protected subject"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t)
			check := func(before []string) {
				t.Helper()
				_, err := p.receive(t, c.d, "run-bad", c.frames, c.lim)
				if !errors.Is(err, c.kind) {
					t.Fatalf("%v, want %s", err, c.kind)
				}
				for _, w := range c.words {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%q does not say %q", err, w)
					}
				}
				for _, r := range append(rows(0, 5), wrong...) {
					if strings.Contains(err.Error(), r.person) || strings.Contains(err.Error(), r.phone) {
						t.Error("the error shows a value")
					}
				}
				if c.kind == sandbox.Tampered { // the stream is at fault, not the data: the run waits to be resumed
					if err := p.intake.Drop(c.d.ID, "run-bad"); err != nil {
						t.Error(err)
					}
				}
				if after := p.files(t); strings.Join(after, "\n") != strings.Join(before, "\n") {
					t.Errorf("left behind: %d files, before %d", len(after), len(before))
				}
			}
			check(nil)
			rep, err := p.receive(t, claims, "run-good", sealed(t, 0, good), Limits{})
			if err != nil || rep.Snapshot.Version != 1 {
				t.Fatalf("the next push: %v", err)
			}
		})
	}
}

// TestRefusedPushKeepsTheVersion that was current.
func TestRefusedPushKeepsTheVersion(t *testing.T) {
	p := open(t)
	good := encode(t, claims, rows(0, 5))
	if _, err := p.receive(t, claims, "run-1", sealed(t, 0, good), Limits{}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.receive(t, claims, "run-2", sealed(t, 1, good, good), Limits{}); !errors.Is(err, sandbox.Tampered) {
		t.Fatal(err)
	}
	head, err := p.vault.Head(claims.ID)
	if err != nil || head.Version != 1 || head.Rows != 5 {
		t.Errorf("head: version %d, %v", head.Version, err)
	}
	if rep, err := p.receive(t, claims, "run-2", sealed(t, 0, good, good), Limits{}); err != nil || rep.Snapshot.Version != 2 {
		t.Errorf("the retry: %v", err)
	}
}

// TestEmptyBatchesAreLeftOut: a frame without rows is no fault and no batch.
func TestEmptyBatchesAreLeftOut(t *testing.T) {
	p := open(t)
	none, good := encode(t, claims, nil), encode(t, claims, rows(0, 5))
	rep, err := p.receive(t, claims, "run-1", sealed(t, 0, none, good, none), Limits{})
	if err != nil || rep.Progress.Rows != 5 || len(rep.Snapshot.Batches) != 1 {
		t.Errorf("%d rows, %d batches, %v", rep.Progress.Rows, len(rep.Snapshot.Batches), err)
	}
}

type frames func() ([]byte, error)

func (f frames) Next() ([]byte, error) { return f() }

func TestCancelledPush(t *testing.T) {
	p := open(t)
	ctx, stop := context.WithCancel(context.Background())
	good := encode(t, claims, rows(0, 5))
	var n int64
	f := frames(func() ([]byte, error) {
		if n++; n == 3 {
			stop()
		}
		return append(wire.AppendHeader(nil, wire.Batch, n), good...), nil
	})
	_, err := p.intake.Receive(ctx, Push{Run: "run-1", Dataset: claims, Frames: f})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	end := frames(func() ([]byte, error) { return nil, io.EOF })
	if _, err := p.intake.Receive(ctx, Push{Run: "run-1", Dataset: claims, Frames: end}); !errors.Is(err, context.Canceled) {
		t.Errorf("begun after its end: %v", err)
	}
}

// TestResume: a stream cut behind any payload leaves the run open; the next stream, from where the run stands, from the
// first batch or from between, makes the version that an unbroken one makes.
func TestResume(t *testing.T) {
	batches := [][]byte{encode(t, claims, rows(0, 5)), encode(t, claims, rows(5, 9)), encode(t, claims, rows(9, 20)), encode(t, claims, rows(20, 21))}
	all := numbered(t, batches...)
	want := rows(0, 21)
	lost := &sandbox.Error{Op: "read", Kind: sandbox.Unavailable}
	for cut := range all {
		for back := range cut + 1 {
			p := open(t)
			push := Push{Run: "run-1", Dataset: claims, Frames: listed(all[:cut], lost)}
			_, err := p.intake.Receive(context.Background(), push)
			var r *Refusal
			if !errors.Is(err, sandbox.Unavailable) || errors.As(err, &r) {
				t.Fatalf("cut behind %d: %v", cut, err)
			}
			if at := p.standing(t); at.Chain.N != int64(min(cut, len(batches))) {
				t.Fatalf("cut behind %d: the run stands at %d", cut, at.Chain.N)
			}
			if back%2 == 1 {
				p = p.reopened(t)
			}
			push.Frames = listed(all[back:], io.EOF)
			res, err := p.intake.Receive(context.Background(), push)
			if err != nil {
				t.Fatalf("cut behind %d, on from %d: %v", cut, back, err)
			}
			want := p.bySubject(claims, want)
			got := p.read(t, res.Snapshot, "person")
			if len(got) != len(want) || cut > 0 && res.Progress.Streams != 2 || res.Progress.Duplicates != int64(cut-back) || res.Progress.Chain.N != 4 {
				t.Errorf("cut behind %d, on from %d: %d rows, %+v", cut, back, len(got), res.Progress)
			}
			for i := range got {
				if got[i] != want[i].person {
					t.Fatalf("cut behind %d, on from %d: row %d is another", cut, back, i)
				}
			}
		}
	}
}

// TestResumeRefuses a gap and other content without losing the run, and an abandoned run for good.
func TestResumeRefuses(t *testing.T) {
	a, b := encode(t, claims, rows(0, 5)), encode(t, claims, rows(5, 9))
	all := numbered(t, a, b)
	p := open(t)
	push := Push{Run: "run-1", Dataset: claims}
	for name, c := range map[string]struct {
		in   [][]byte
		says string
	}{
		"a gap":            {all[1:], "batch 1 is missing"},
		"no closing":       {all[:0], "without the run's closing"},
		"a closing early":  {all[2:], "the closing counts other batches"},
		"behind its close": {append(numbered(t), all[0]), "nothing follows"},
	} {
		push.Frames = listed(c.in, io.EOF)
		if _, err := p.intake.Receive(context.Background(), push); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	push.Frames = listed(all[:1], io.ErrUnexpectedEOF)
	_, _ = p.intake.Receive(context.Background(), push)
	push.Frames = listed(numbered(t, encode(t, claims, rows(1, 6)), b), io.EOF)
	if _, err := p.intake.Receive(context.Background(), push); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "other content") {
		t.Errorf("a changed source: %v", err)
	}
	if at := p.standing(t); at.Chain.N != 1 {
		t.Fatalf("the run stands at %d", at.Chain.N)
	}
	push.Frames = listed([][]byte{wire.AppendHeader(nil, wire.Abandon, 1)}, io.EOF)
	_, err := p.intake.Receive(context.Background(), push)
	if r := (*Refusal)(nil); !errors.As(err, &r) || len(p.files(t)) != 0 || p.standing(t).Chain.N != 0 {
		t.Errorf("an abandoned run: %v, %d files", err, len(p.files(t)))
	}
}

// TestSkippedRows are left out and counted by rule; the rest is kept in its order.
func TestSkippedRows(t *testing.T) {
	in := rows(0, 6)
	in[1].person, in[4].person, in[5].person = "x", "", "y"
	p := open(t)
	all := numbered(t, encode(t, claims, in), encode(t, claims, []row{{"z", "", 1}}))
	res, err := p.intake.Receive(context.Background(), Push{Run: "run-1", Dataset: claims, Rows: wire.Skip, Frames: listed(all, io.EOF)})
	if err != nil {
		t.Fatal(err)
	}
	if r := res.Progress.Rejected; res.Progress.Rows != 3 || len(r) != 1 || r[0].Rows != 4 || r[0].Column != "person" {
		t.Errorf("%+v", res.Progress)
	}
	kept := p.bySubject(claims, []row{in[0], in[2], in[3]})
	if got := p.read(t, res.Snapshot, "person"); fmt.Sprint(got) != fmt.Sprint([]string{kept[0].person, kept[1].person, kept[2].person}) {
		t.Errorf("%d rows, or in another order", len(got))
	}
}

// TestManyPushes at once share one bound of bytes that is less than what they have under way without it.
func TestManyPushes(t *testing.T) {
	p := open(t)
	var err error
	if p.intake, err = New(Config{MaxInFlight: channel.MaxFrame, MaxTotal: channel.MaxFrame, Now: time.Now}, memory.DefaultAllocator, p.vault, p.subjects); err != nil {
		t.Fatal(err)
	}
	var batches [][]byte
	for i := range 20 {
		batches = append(batches, encode(t, claims, rows(i*40, i*40+40)))
	}
	var all errgroup.Group
	for i := range 8 {
		d := claims
		d.ID = sandbox.DatasetID(fmt.Sprintf("ds-%d", i))
		all.Go(func() error {
			res, err := p.intake.Receive(context.Background(), Push{Run: "run-1", Dataset: d, Frames: listed(numbered(t, batches...), io.EOF)})
			if err == nil && res.Snapshot.Rows != 800 {
				err = fmt.Errorf("%d rows", res.Snapshot.Rows)
			}
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Error(err)
	}
	if !p.intake.total.TryAcquire(channel.MaxFrame) {
		t.Error("bytes of ended pushes still count")
	}
}

// TestOnePersonOnePseudonym across tables, spellings and pushes; another key or kind gives another.
func TestOnePersonOnePseudonym(t *testing.T) {
	p := open(t)
	id := ""
	for n := 0; id == ""; n++ { // one that ends in X
		if s := resident(n); strings.HasSuffix(s, "X") {
			id = s
		}
	}
	wide := strings.Map(func(r rune) rune { return r - '!' + '！' }, id)
	forms := []row{{id, "", 1}, {strings.ToLower(id), "", 1}, {wide, "", 1}, {" " + id[:6] + "-" + id[6:14] + " " + id[14:], "", 1}, {resident(999), "", 1}}
	people := catalog.Dataset{ID: "ds-people", Unit: "unit-b", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 2}, {Name: "phone", Type: catalog.Text, Grade: 1, Nullable: true}, {Name: "fee", Type: catalog.Money, Grade: 1}}}
	seen := map[string]int{}
	for _, d := range []catalog.Dataset{claims, people} {
		rep, err := p.receive(t, d, "run-1", sealed(t, 0, encode(t, d, forms)), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		got := p.read(t, rep.Snapshot, vault.SubjectColumn)
		for i := 1; i < 4; i++ {
			if got[i] != got[0] {
				t.Errorf("%s: spelling %d is another person", d.ID, i)
			}
		}
		if got[4] == got[0] {
			t.Error("two persons are one")
		}
		seen[got[0]]++
	}
	if len(seen) != 1 {
		t.Error("one person has a pseudonym per table")
	}

	a, _ := p.subjects.Pseudonym(catalog.ResidentID, id)
	b, _ := NewPseudonymizer([]byte("another key")).Pseudonym(catalog.ResidentID, id)
	c, _ := p.subjects.Pseudonym(catalog.Opaque, id)
	if a == b || a == c {
		t.Error("a pseudonym depends on neither key nor kind")
	}
	if _, ok := p.subjects.Pseudonym("email", id); ok {
		t.Error("an unknown kind has pseudonyms")
	}
	if _, ok := p.subjects.Pseudonym(catalog.Opaque, strings.Repeat("x", 257)); ok {
		t.Error("an identifier of 257 bytes has a pseudonym")
	}
	for _, s := range []string{fmt.Sprintf("%v", p.subjects), fmt.Sprintf("%#v", p.subjects)} {
		if s != "pseudonymizer(redacted)" {
			t.Errorf("prints as %s", s)
		}
	}
}

// TestDeclaredGrade: the version's key is bound to the strictest grade, personal data to 3 at least.
func TestDeclaredGrade(t *testing.T) {
	if g := declared(claims); g != sandbox.Grade2 {
		t.Errorf("grade %d", g)
	}
	d := claims
	d.Columns = append([]catalog.Column{}, claims.Columns...)
	d.Columns[1].Personal = true
	if g := declared(d); g != sandbox.Grade3 {
		t.Errorf("with a personal column: grade %d", g)
	}
}
