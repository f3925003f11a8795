package run

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/algo/reduce"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/jail"
)

var stays = catalog.Dataset{ID: "stays", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "admitted", Type: catalog.Date, Grade: 2, Nullable: true},
		{Name: "discharged", Type: catalog.Date, Grade: 2, Nullable: true}, {Name: "kind", Type: catalog.Text, Grade: 2}}}

// readmissions is what cmd/algo-readmission declares, as its manifest would say it.
var readmissions = mapper.Declaration{Dataset: "stays", Columns: []mapper.Column{{Name: "admitted", Type: "date"}, {Name: "discharged", Type: "date"}, {Name: "kind", Type: "text"}},
	Groups: []mapper.Group{{Name: "stays", Labels: []string{"1", "2-3", "4-9", "10+"}}, {Name: "readmitted", Labels: []string{"no", "yes"}}},
	Values: []mapper.Value{{Name: "readmissions", Of: mapper.Sum, Unit: "stays", Min: 0, Max: 20, Step: 1}, {Name: "days", Of: mapper.Mean, Unit: "days", Min: 0, Max: 360, Step: 5}}, Yields: 1}

// TestMapInJail runs a shipped Map as it would be in a domain: wasm under wazero inside the jail, over sealed columns.
func TestMapInJail(t *testing.T) {
	dir, err := os.MkdirTemp("", "jailed-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the jail starts its program as somebody else
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := func(to, from string, env ...string) string {
		path := filepath.Join(dir, to)
		args := []string{"build", "-trimpath", "-o", path}
		if len(env) > 1 {
			args = append(args, "-buildmode=c-shared")
		}
		cmd := exec.Command("go", append(args, "github.com/opdomain/opdomain/cmd/"+from)...)
		cmd.Env = append(os.Environ(), env...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return path
	}
	l, err := jail.New(jail.Config{Program: build("opdomain-jail", "opdomain-jail", "CGO_ENABLED=0")})
	if err != nil {
		t.Fatal(err)
	}
	if lacks := l.Probe().Missing(jail.W); len(lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: the machine lacks layers of tier W, and no Map runs without: %v", lacks)
	}
	code, err := os.ReadFile(build("readmission.wasm", "algo-readmission", "GOOS=wasip1", "GOARCH=wasm"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := jail.NewImage(bytes.NewReader(code), sm.Sum(code))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	p, err := l.Start(t.Context(), jail.Job{Tier: jail.W, Module: img, Limits: jail.Limits{Start: 40 * time.Second, Wall: 2 * time.Minute}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if says, err := p.Declares(t.Context()); err != nil || !bytes.Equal(says, readmissions.Encode()) {
		t.Errorf("the module says of itself %s, %v", says, err)
	}

	// Person k has k%4+1 stays of three days, every other one twenty days after the last, else a hundred.
	x := table{d: stays}
	want := map[string][4]int64{} // subjects, yields, readmissions, days of a subject
	for k := range 60 {
		day, n, again := 100, k%4+1, int64(0)
		for i := range n {
			if i > 0 {
				gap := 100
				if k%2 == 0 {
					gap, again = 20, again+1
				}
				day += 2 + gap
			}
			x.rows = append(x.rows, []any{fmt.Sprint("p", k), day, day + 2, "inpatient"})
			x.subjects = append(x.subjects, sandbox.Pseudonym{byte(k + 1)})
		}
		label := []string{"1", "2-3", "2-3", "4-9"}[n-1] + map[bool]string{true: " yes", false: " no"}[again > 0]
		w := want[label]
		days := readmissions.Values[1].Quantise(int64(3 * n))
		want[label] = [4]int64{w[0] + 1, w[1] + 1, w[2] + again, w[3] + days}
	}
	v, _ := openVault(t)
	in := commit(t, v, x, 7, "run-1")
	m := Mapping{Job: reduce.Job{Algorithm: "readmission", Declaration: readmissions, Input: in}, Dataset: stays, Code: p}
	got, faults, err := Map(context.Background(), memory.DefaultAllocator, v, m)
	if err != nil || faults != 0 {
		t.Fatalf("%d faults, %v", faults, err)
	}
	have := map[string][4]int64{}
	for _, c := range got.Cells {
		total := int64(0)
		for _, d := range c.Contributions[3] {
			total += d
		}
		have[c.Labels[0]+" "+c.Labels[1]] = [4]int64{c.Values[0], c.Values[1], c.Values[2], total}
	}
	if !reflect.DeepEqual(have, want) {
		t.Errorf("%v, want %v", have, want)
	}
	again, _, err := Map(context.Background(), memory.DefaultAllocator, v, m)
	if err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("the same run gives another answer: %v", err)
	}
}
