package run

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

var firms = catalog.Dataset{ID: "firms", Unit: "u", Frequency: catalog.Daily, Subject: "firm", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "firm", Type: catalog.Text, Grade: 1}, {Name: "industry", Type: catalog.Text, Grade: 1, Nullable: true}, {Name: "employees", Type: catalog.Int, Grade: 1, Nullable: true}}}

// staffed is what testdata/opaque declares, as its manifest would say it.
var staffed = opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "industry", Type: "text"}, {Name: "employees", Type: "int"}},
	Chart: &opaque.Chart{Name: "staff", Labels: []opaque.Label{{Name: "size", Of: []string{"small", "large"}}}, Values: []opaque.Value{{Name: "firms", Min: 0, Max: 1000, Step: 10}, {Name: "employees", Min: 0, Max: 100_000, Step: 100}}, Rows: 2}}

// registered are n firms, of which the first says how testdata/opaque behaves.
func registered(n int, how string) table {
	x := table{d: firms}
	for k := range n {
		var staff any = k
		if k%17 == 16 {
			staff = nil
		}
		x.rows = append(x.rows, []any{fmt.Sprint("f", k), how, staff})
		x.subjects = append(x.subjects, sandbox.Pseudonym{byte(k >> 8), byte(k)})
	}
	return x
}

// sees is code of this process.
type sees struct {
	calls int
	f     func(v *opaque.View, out *opaque.Output, call int) error
}

func (s *sees) Answer(_ context.Context, fill func(io.Writer) error) ([]byte, error) {
	var b bytes.Buffer
	if err := fill(&b); err != nil {
		return nil, err
	}
	s.calls++
	return opaque.Answer(func(v *opaque.View, out *opaque.Output) error { return s.f(v, out, s.calls) }, b.Bytes(), &staffed)
}

func TestOpaque(t *testing.T) {
	v, _ := openVault(t)
	in := commit(t, v, registered(230, "honest"), 50, "run-1")
	code := &sees{f: func(v *opaque.View, out *opaque.Output, _ int) error {
		n, sum, missing := int64(0), int64(0), int64(0)
		for r := range v.Rows() {
			if v.Subject(r) != r {
				return errors.New("each row is a firm of its own")
			}
			if how, ok := v.Text(r, 0); !ok || how != "honest" {
				return errors.New("another text")
			}
			if x, ok := v.Int(r, 1); ok {
				n, sum = n+1, sum+x
			} else {
				missing++
			}
		}
		if v.Seed() != 9 || v.Subjects() != 230 || missing != 13 {
			return fmt.Errorf("%d subjects, %d missing", v.Subjects(), missing)
		}
		return errors.Join(out.Row([]int{1}, n, sum), out.Row([]int{0}, -5, 1e9))
	}}
	o := Opaquing{Declaration: staffed, Input: in, Columns: firms.Columns, Subject: "firm", Seed: 9, Code: code}
	got, err := Opaque(t.Context(), memory.DefaultAllocator, v, o)
	if err != nil {
		t.Fatal(err)
	}
	sum := int64(230*229/2) - 13*16
	for k := range 13 {
		sum -= int64(17 * k)
	}
	want := []opaque.Row{{Labels: []int{0}, Values: []int64{0, 100_000}}, {Labels: []int{1}, Values: []int64{220, (sum + 50) / 100 * 100}}}
	if !reflect.DeepEqual(got.Rows, want) || code.calls != 2 || len(got.People.Who) != 230 || got.Seen != 230 {
		t.Errorf("%v, not %v; %d calls", got.Rows, want, code.calls)
	}
	n, last := 0, ""
	if err := o.Each(t.Context(), memory.DefaultAllocator, v, func(row []string, next bool) {
		n++
		last = row[0]
		if !next {
			t.Error("two rows of a firm")
		}
	}); err != nil || n != 230 || last != "honest" {
		t.Errorf("%d rows, %v", n, err)
	}

	// Whose rows the code sees, and how many at most.
	half := o
	half.Keep = func(p sandbox.Pseudonym) bool { return p[1]%2 == 0 }
	half.Code = &sees{f: func(v *opaque.View, out *opaque.Output, _ int) error { return out.Row([]int{0}, int64(v.Rows()), 0) }}
	if got, err := Opaque(t.Context(), memory.DefaultAllocator, v, half); err != nil || got.Rows[0].Values[0] != 120 || len(got.People.Who) != 115 {
		t.Errorf("%+v %v", got.Rows, err)
	}
	half.Rows = 200
	var f *OpaqueFault
	if _, err := Opaque(t.Context(), memory.DefaultAllocator, v, half); !errors.As(err, &f) || f.Reason != FaultRows || !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("more rows: %v", err)
	}
}

func TestOpaqueFaults(t *testing.T) {
	v, _ := openVault(t)
	in := commit(t, v, registered(40, "x"), 50, "run-1")
	base := Opaquing{Declaration: staffed, Input: in, Columns: firms.Columns, Subject: "firm"}
	for name, c := range map[string]struct {
		f      func(v *opaque.View, out *opaque.Output, call int) error
		reason string
	}{
		"another answer": {func(_ *opaque.View, out *opaque.Output, call int) error { return out.Row([]int{0}, int64(100*call), 0) }, FaultRepeat},
		"a label twice": {func(_ *opaque.View, out *opaque.Output, _ int) error {
			return errors.Join(out.Row([]int{0}, 1, 1), out.Row([]int{0}, 2, 2))
		}, FaultOutput},
	} {
		o := base
		o.Code = &sees{f: c.f}
		var f *OpaqueFault
		if _, err := Opaque(t.Context(), memory.DefaultAllocator, v, o); !errors.As(err, &f) || f.Reason != c.reason || !errors.Is(err, sandbox.Withheld) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, change := range map[string]func(*Opaquing){
		"no such column":           func(o *Opaquing) { o.Columns = o.Columns[:2] },
		"another type":             func(o *Opaquing) { o.Columns = slices.Clone(o.Columns); o.Columns[2].Type = catalog.Money },
		"who a subject is":         func(o *Opaquing) { o.Subject = "industry" },
		"no declaration":           func(o *Opaquing) { o.Declaration.Chart = nil },
		"k without identifiers":    func(o *Opaquing) { o.K = 5 },
		"a version that is not so": func(o *Opaquing) { o.Input.Version = 9 },
	} {
		o := base
		o.Code = &sees{f: func(*opaque.View, *opaque.Output, int) error { t.Error(name + ": the code runs"); return nil }}
		change(&o)
		if _, err := Opaque(t.Context(), memory.DefaultAllocator, v, o); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

// TestOpaqueKAnonymity: the domain counts the people of each class itself before the code sees a row, and rows of one person are not linked.
func TestOpaqueKAnonymity(t *testing.T) {
	x := table{d: firms}
	for k := range 40 { // four classes of ten, rows of a person in the same class
		for range 2 {
			x.rows = append(x.rows, []any{fmt.Sprint("f", k), fmt.Sprint("class ", k%4), k % 4})
			x.subjects = append(x.subjects, sandbox.Pseudonym{byte(k)})
		}
	}
	v, _ := openVault(t)
	in := commit(t, v, x, 33, "run-1")
	ran := 0
	o := Opaquing{Declaration: staffed, Input: in, Columns: firms.Columns, Subject: "firm", K: 10, Quasi: []string{"industry", "employees"}, Order: [32]byte{1}, Code: &sees{f: func(v *opaque.View, _ *opaque.Output, _ int) error {
		if ran++; v.Subjects() != 0 || v.Subject(0) != -1 || v.Rows() != 80 {
			return errors.New("rows are linked")
		}
		return nil
	}}}
	got, err := Opaque(t.Context(), memory.DefaultAllocator, v, o)
	if err != nil || got.Smallest != 10 || ran != 2 {
		t.Fatalf("%d, %v", got.Smallest, err)
	}
	o.K = 11 // rows would be enough, people are not
	var f *OpaqueFault
	if _, err := Opaque(t.Context(), memory.DefaultAllocator, v, o); !errors.As(err, &f) || f.Reason != FaultAnonymity || ran != 2 {
		t.Errorf("%v, ran %d", err, ran)
	}
}

// TestOpaqueOrder: the rows of a k-anonymous view stand in no order of people, nor are its texts numbered in one; another key gives another order, the same key
// the same.
func TestOpaqueOrder(t *testing.T) {
	x := table{d: firms}
	const people, each = 40, 5
	for k := range people {
		for r := range each { // a row knows its person, as no real one does
			var staff any = k
			if r == 4 {
				staff = nil
			}
			x.rows = append(x.rows, []any{fmt.Sprint("f", k), fmt.Sprint(k, " ", r), staff})
			x.subjects = append(x.subjects, sandbox.Pseudonym{byte(k)})
		}
	}
	x.d.Columns = append(slices.Clone(firms.Columns), catalog.Column{Name: "class", Type: catalog.Text, Grade: 1})
	for i := range x.rows {
		x.rows[i] = append(x.rows[i], "all")
	}
	v, _ := openVault(t)
	in := commit(t, v, x, 33, "run-1")
	seen := func(order [32]byte) (rows []string, view []byte) {
		code := &sees{f: func(v *opaque.View, _ *opaque.Output, _ int) error {
			rows = nil
			for r := range v.Rows() {
				text, ok := v.Text(r, 0)
				n, is := v.Int(r, 1)
				if !ok || is && !strings.HasPrefix(text, fmt.Sprint(n, " ")) || is == strings.HasSuffix(text, " 4") {
					return errors.New("the cells of a row stand together")
				}
				rows = append(rows, text)
			}
			return nil
		}}
		o := Opaquing{Declaration: staffed, Input: in, Columns: x.d.Columns, Subject: "firm", K: people, Quasi: []string{"class"}, Seed: 7, Order: order, Code: copied{code, &view}}
		if _, err := Opaque(t.Context(), memory.DefaultAllocator, v, o); err != nil {
			t.Fatal(err)
		}
		return rows, view
	}
	one, view := seen([32]byte{1})
	again, same := seen([32]byte{1})
	other, _ := seen([32]byte{2})
	if !slices.Equal(one, again) || !bytes.Equal(view, same) {
		t.Error("the same key gives another order")
	}
	if slices.Equal(one, other) {
		t.Error("another key gives the same order")
	}
	if all := slices.Sorted(slices.Values(one)); len(slices.Compact(all)) != people*each {
		t.Error("not every row once")
	}
	next := 0
	for i := range one[1:] { // of 199 neighbours 160 are one person's in the vault, 4 by chance
		if a, _, _ := strings.Cut(one[i], " "); strings.HasPrefix(one[i+1], a+" ") {
			next++
		}
	}
	if next > 20 {
		t.Errorf("%d neighbours are one person's", next)
	}
	// The texts are kept in the order of the rows: the view holds them one after another.
	if !bytes.Contains(view, []byte(strings.Join(one, ""))) {
		t.Error("the texts are numbered in an order of their own")
	}
	o := Opaquing{Declaration: staffed, Input: in, Columns: x.d.Columns, Subject: "firm", K: people, Quasi: []string{"class"}, Code: &sees{}}
	if _, err := Opaque(t.Context(), memory.DefaultAllocator, v, o); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("without a key: %v", err)
	}
}

// copied keeps the bytes of the view that the code got.
type copied struct {
	code Confined
	view *[]byte
}

func (c copied) Answer(ctx context.Context, fill func(io.Writer) error) ([]byte, error) {
	return c.code.Answer(ctx, func(to io.Writer) error {
		var b bytes.Buffer
		err := fill(io.MultiWriter(to, &b))
		*c.view = b.Bytes()
		return err
	})
}
