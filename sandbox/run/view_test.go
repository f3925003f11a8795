package run

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/vault"
)

const viewPlan = `{plan: p, version: 1, dataset: claims, columns: [
  {column: person, op: keep, last: 1}, {column: no, op: redact}, {column: fee, op: round, to: "10"}, {column: day, op: date, to: year}, {column: site, op: pass}]}`

func pipeline(t *testing.T, text string, o desensitize.Options) *desensitize.Pipeline {
	t.Helper()
	p, err := desensitize.Parse("plan", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	pipe, d := desensitize.Compile(p, claims, o)
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	return pipe
}

// shown reads a view back as text, a line a row.
func shown(t *testing.T, v *vault.Vault, s vault.Snapshot) string {
	t.Helper()
	var names []string
	for _, f := range s.Schema.Fields() {
		names = append(names, f.Name)
	}
	r, err := v.Scan(t.Context(), memory.DefaultAllocator, s, names)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out strings.Builder
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			return out.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i := range int(rec.NumRows()) {
			for k, c := range rec.Columns() {
				if b, ok := c.(*array.FixedSizeBinary); ok {
					fmt.Fprintf(&out, "%x;", b.Value(i)[:1])
				} else {
					fmt.Fprintf(&out, "%s=%s;", names[k], c.ValueStr(i))
				}
			}
			out.WriteByte('\n')
		}
		rec.Release()
	}
}

func TestSealView(t *testing.T) {
	dir := t.TempDir()
	k, err := keys.Create(filepath.Join(dir, "keys"), []byte("test"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v, err := vault.Open(filepath.Join(dir, "vault"), k, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	source := commit(t, v, sample, 2, "run-1")
	view := View{ID: "view-1", Run: "use-1", Unit: "u", Source: source, Pipeline: pipeline(t, viewPlan, desensitize.Options{})}
	s, rep, err := SealView(t.Context(), memory.DefaultAllocator, v, view)
	if err != nil {
		t.Fatal(err)
	}
	const want = `person=*1;no=(null);site=s1;fee=12000;day=1970-01-01;01;
person=*1;no=(null);site=s2;fee=0;day=2025-01-01;01;
person=*1;no=(null);site=s9;fee=0;day=1970-01-01;01;
person=*2;no=(null);site=(null);fee=(null);day=(null);02;
person=*2;no=(null);site=s3;fee=0;day=1970-01-01;02;
person=*3;no=(null);site=s1;fee=0;day=1970-01-01;03;
person=*3;no=(null);site=s1;fee=0;day=1970-01-01;03;
`
	if got := shown(t, v, s); got != want {
		t.Errorf("the view is\n%s", got)
	}
	if rep.Rows != 7 || rep.Failed() != 0 || rep.Columns[0].Masked != 7 || s.Rows != 7 || rep.Route.Kind != desensitize.Desensitised {
		t.Errorf("%+v", rep)
	}
	if src, err := v.Snapshot(source.Dataset, source.Version); err != nil || src.Key == s.Key {
		t.Errorf("the view has the source's key: %v", err)
	}
	// A use is answered once; the view ends with its key, the source stays.
	if _, _, err := SealView(t.Context(), memory.DefaultAllocator, v, view); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the same use again: %v", err)
	}
	if _, err := k.Destroy(s.Key, "operator", time.Unix(0, 0)); err != nil {
		t.Fatal(err)
	}
	if gone, err := v.Collect(t.Context()); err != nil || len(gone.Versions) != 1 || gone.Versions[0].Dataset != "view-1" {
		t.Errorf("%+v %v", gone, err)
	}
	if _, err := v.Head("view-1"); !errors.Is(err, sandbox.Expired) {
		t.Errorf("after the erasure: %v", err)
	}
	if _, err := v.Head("claims"); err != nil {
		t.Error(err)
	}
}

// TestViewOfOneSubject: route B gives the person's own rows, whole, and nobody else's.
func TestViewOfOneSubject(t *testing.T) {
	v, _ := openVault(t)
	source := commit(t, v, sample, 2, "run-1")
	own := pipeline(t, `{plan: p, version: 1, columns: [{column: person, op: pass}, {column: fee, op: pass}]}`,
		desensitize.Options{Authorised: &desensitize.Authorisation{Consent: "consent-1", Columns: []string{"person", "fee"}}})
	for i, c := range []struct {
		who  sandbox.Pseudonym
		want string
	}{{sandbox.Pseudonym{2}, "person=p2;fee=(null);02;\nperson=p2;fee=100;02;\n"}, {sandbox.Pseudonym{9}, ""}} {
		s, rep, err := SealView(t.Context(), memory.DefaultAllocator, v, View{ID: sandbox.DatasetID(fmt.Sprintf("view-%d", i)), Run: sandbox.RunID(fmt.Sprintf("use-%d", i)), Unit: "u", Source: source, Pipeline: own, Subject: &c.who})
		if err != nil {
			t.Fatal(err)
		}
		if got := shown(t, v, s); got != c.want || rep.Route.Consent != "consent-1" {
			t.Errorf("%s %+v", got, rep.Route)
		}
	}
	for what, w := range map[string]View{
		"everybody's rows on one consent": {ID: "view-x", Run: "use-x", Unit: "u", Source: source, Pipeline: own},
		"one subject without consent":     {ID: "view-x", Run: "use-x", Unit: "u", Source: source, Pipeline: pipeline(t, viewPlan, desensitize.Options{}), Subject: &sandbox.Pseudonym{1}},
	} {
		if _, _, err := SealView(t.Context(), memory.DefaultAllocator, v, w); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestViewFailsWhole: no file and no key stay of a view that did not come to its end.
func TestViewFailsWhole(t *testing.T) {
	v, dir := openVault(t)
	source := commit(t, v, sample, 2, "run-1")
	files, err := filepath.Glob(filepath.Join(dir, "claims", "v*", "*.col"))
	if err != nil || len(files) < 5 {
		t.Fatal(files, err)
	}
	before, err := v.Keys()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(files[3]) // fee
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-20] ^= 1
	if err := os.WriteFile(files[3], b, 0o600); err != nil {
		t.Fatal(err)
	}
	view := View{ID: "view-1", Run: "use-1", Unit: "u", Source: source, Pipeline: pipeline(t, viewPlan, desensitize.Options{})}
	if _, _, err := SealView(t.Context(), memory.DefaultAllocator, v, view); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a changed column: %v", err)
	}
	b[len(b)-20] ^= 1
	if err := os.WriteFile(files[3], b, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, _, err := SealView(ctx, memory.DefaultAllocator, v, view); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled use: %v", err)
	}
	if stages, err := v.Stages(); err != nil || len(stages) != 0 {
		t.Errorf("%d stages stay: %v", len(stages), err)
	}
	if after, err := v.Keys(); err != nil || len(after) != len(before) {
		t.Errorf("%d keys, %d before: %v", len(after), len(before), err)
	}
	if _, _, err := SealView(t.Context(), memory.DefaultAllocator, v, view); err != nil {
		t.Errorf("tried again: %v", err)
	}
}

// TestViewOfOneRecord: where the person allowed one record, that one alone is in the view.
func TestViewOfOneRecord(t *testing.T) {
	v, _ := openVault(t)
	source := commit(t, v, sample, 2, "run-1")
	own := pipeline(t, `{plan: p, version: 1, columns: [{column: person, op: pass}, {column: fee, op: pass}]}`,
		desensitize.Options{Authorised: &desensitize.Authorisation{Consent: "consent-1", Columns: []string{"person", "fee"}}})
	var numbers []string
	for _, row := range sample.rows {
		if no, ok := row[1].(string); ok && !slices.Contains(numbers, no) {
			numbers = append(numbers, no)
		}
	}
	of := func(who sandbox.Pseudonym, number string) (n int) {
		for i, row := range sample.rows {
			if sample.subjects[i] == who && row[1] == number {
				n++
			}
		}
		return n
	}
	seen := 0
	for i, number := range append(numbers, "no such") {
		for who := range byte(4) {
			subject := sandbox.Pseudonym{who}
			id := fmt.Sprintf("%d-%d", i, who)
			s, _, err := SealView(t.Context(), memory.DefaultAllocator, v, View{ID: sandbox.DatasetID("view-" + id), Run: sandbox.RunID("use-" + id), Unit: "u", Source: source, Pipeline: own, Subject: &subject, Column: "no", Number: number})
			if err != nil {
				t.Fatal(err)
			}
			if want := of(subject, number); s.Rows != int64(want) {
				t.Errorf("%d rows of this number, want %d", s.Rows, want)
			}
			seen += int(s.Rows)
		}
	}
	if seen == 0 {
		t.Error("no number was found")
	}
	if _, _, err := SealView(t.Context(), memory.DefaultAllocator, v, View{ID: "view-x", Run: "use-x", Unit: "u", Source: source, Pipeline: own, Subject: &sandbox.Pseudonym{1}, Column: "fee", Number: "1"}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a number that is money: %v", err)
	}
}

// derived is a key that draws follow from.
type derived byte

func (d derived) Derive(n int, context ...string) ([]byte, error) {
	var parts [][]byte
	for _, c := range context {
		parts = append(parts, []byte(c))
	}
	return sm.HKDF([]byte{byte(d)}, nil, sm.Frame(parts...), n)
}

// TestDrawnView: what is drawn for a view out of the vault is drawn again for the next one of the same version, and differs under
// another key and for another version.
func TestDrawnView(t *testing.T) {
	v, _ := openVault(t)
	plan := `{plan: p, version: 1, sample: {rows: 5}, columns: [{column: person, op: keep, last: 1}, {column: site, op: shuffle}, {column: fee, op: noise, law: gauss, scale: "900.00", step: "0.01"}, {column: beds, op: micro, k: 3}]}`
	n := 0
	view := func(source sandbox.InputVersion, key byte) string {
		n++
		s, rep, err := SealView(t.Context(), memory.DefaultAllocator, v, View{ID: sandbox.DatasetID(fmt.Sprintf("view-%d", n)), Run: sandbox.RunID(fmt.Sprintf("use-%d", n)), Unit: "u", Source: source,
			Pipeline: pipeline(t, plan, desensitize.Options{Seed: derived(key)})})
		if err != nil {
			t.Fatal(err)
		}
		if s.Rows != 5 || rep.Rows != 5 || rep.Source != int64(len(sample.rows)) {
			t.Errorf("%d rows, %+v", s.Rows, rep)
		}
		return shown(t, v, s)
	}
	one := commit(t, v, sample, 2, "run-1")
	two := commit(t, v, sample, 2, "run-2")
	a := view(one, 1)
	if view(one, 1) != a {
		t.Error("the same view came out in another way")
	}
	if view(one, 2) == a || view(two, 1) == a {
		t.Error("another key or version gives the same view")
	}
}
