package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
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
	for _, p := range payloads {
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

type place struct {
	dir      string
	vault    *vault.Vault
	subjects *Pseudonymizer
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
	return place{dir, v, NewPseudonymizer(bytes.Repeat([]byte{7}, 32))}
}

func (p place) receive(t testing.TB, d catalog.Dataset, run sandbox.RunID, f Frames, lim Limits) (Report, error) {
	t.Helper()
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	return Receive(context.Background(), mem, Push{Run: run, Dataset: d, Frames: f}, p.vault, p.subjects, lim)
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
	if rep.Rows != 300 || rep.Snapshot.Rows != 300 || rep.Snapshot.Version != 1 || rep.Snapshot.Run != "run-1" || rep.Sealed != int64(len(a)+len(b)) {
		t.Errorf("report: %d rows, version %d, %d sealed", rep.Rows, rep.Snapshot.Version, rep.Sealed)
	}
	found := map[string]classify.Kind{}
	for _, f := range rep.Findings {
		found[f.Column] = f.Finding
	}
	if found["person"] != classify.ResidentID || found["phone"] != classify.Mobile || found["fee"] != classify.None {
		t.Errorf("findings: %v", found)
	}
	if got := p.read(t, rep.Snapshot, "person"); len(got) != 300 || got[0] != one[0].person || got[299] != two[99].person {
		t.Error("the column does not hold what was pushed")
	}
	head, err := p.vault.Head(claims.ID)
	if err != nil || head.Manifest != rep.Snapshot.Manifest {
		t.Errorf("head: %v", err)
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
		"wrong check character":  {claims, sealed(t, 0, good, encode(t, claims, wrong)), Limits{}, sandbox.Invalid, []string{"ds-claims", "batch 2", "row 8", "column person", "GB 11643"}},
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
				if sandbox.KindOf(err) != c.kind || !errors.Is(err, c.kind) {
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
	before := p.files(t)
	if _, err := p.receive(t, claims, "run-2", sealed(t, 1, good, good), Limits{}); !errors.Is(err, sandbox.Tampered) {
		t.Fatal(err)
	}
	head, err := p.vault.Head(claims.ID)
	if err != nil || head.Version != 1 || head.Rows != 5 {
		t.Errorf("head: version %d, %v", head.Version, err)
	}
	if after := p.files(t); strings.Join(after, "\n") != strings.Join(before, "\n") {
		t.Errorf("left behind: %d files, before %d", len(after), len(before))
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
	if err != nil || rep.Rows != 5 || len(rep.Snapshot.Batches) != 1 {
		t.Errorf("%d rows, %d batches, %v", rep.Rows, len(rep.Snapshot.Batches), err)
	}
}

type frames func() ([]byte, error)

func (f frames) Next() ([]byte, error) { return f() }

func TestCancelledPush(t *testing.T) {
	p := open(t)
	ctx, stop := context.WithCancel(context.Background())
	good := encode(t, claims, rows(0, 5))
	n := 0
	f := frames(func() ([]byte, error) {
		if n++; n == 3 {
			stop()
		}
		return good, nil
	})
	_, err := Receive(ctx, memory.DefaultAllocator, Push{Run: "run-1", Dataset: claims, Frames: f}, p.vault, p.subjects, Limits{})
	if !errors.Is(err, context.Canceled) || len(p.files(t)) != 0 {
		t.Errorf("%v, %d files left", err, len(p.files(t)))
	}
	end := frames(func() ([]byte, error) { return nil, io.EOF })
	if _, err := Receive(ctx, memory.DefaultAllocator, Push{Run: "run-1", Dataset: claims, Frames: end}, p.vault, p.subjects, Limits{}); !errors.Is(err, context.Canceled) {
		t.Errorf("begun after its end: %v", err)
	}
}

// TestPanicUnlocksTheDataset: whatever a source of frames does, the staged version is gone and the next push may begin.
func TestPanicUnlocksTheDataset(t *testing.T) {
	p := open(t)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		f := frames(func() ([]byte, error) { panic("source") })
		_, _ = p.receive(t, claims, "run-1", f, Limits{})
	}()
	if left := p.files(t); len(left) != 0 {
		t.Errorf("%d files left", len(left))
	}
	if _, err := p.receive(t, claims, "run-1", sealed(t, 0, encode(t, claims, rows(0, 5))), Limits{}); err != nil {
		t.Error(err)
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
