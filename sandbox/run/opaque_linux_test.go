package run

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/jail"
)

// jailedOpaque builds the jail's program and testdata/opaque, and gives runs of it in T1.
func jailedOpaque(t *testing.T) *jail.Runs {
	t.Helper()
	dir, err := os.MkdirTemp("", "opaque-")
	if err == nil {
		err = os.Chmod(dir, 0o755) // the jail starts its program as somebody else
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	build := func(to, from string) string {
		path := filepath.Join(dir, to)
		cmd := exec.Command("go", "build", "-trimpath", "-o", path, "github.com/opdomain/opdomain/"+from)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return path
	}
	l, err := jail.New(jail.Config{Program: build("opdomain-jail", "cmd/opdomain-jail")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if lacks := l.Probe().Missing(jail.T1); len(lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: the machine lacks layers of tier T1, and no Opaque algorithm runs without: %v", lacks)
	}
	image, err := os.ReadFile(build("opaque", "sandbox/run/testdata/opaque"))
	if err != nil {
		t.Fatal(err)
	}
	img, err := jail.NewImage(bytes.NewReader(image), sm.Sum(image))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return &jail.Runs{Launcher: l, Tier: jail.T1, Image: img, Limits: jail.Limits{Memory: 128 << 20, Wall: 3 * time.Second, Message: opaque.MaxOutput + 1024}}
}

// stored digests all files of a folder.
func stored(t *testing.T, dir string) (sum [sha256.Size]byte) {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		h.Write([]byte(path))
		h.Write(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Sum(sum[:0])
	return sum
}

// TestOpaqueInJail: an honest algorithm gives what the plain computation gives, its posture is known; each that ends badly ends with its reason, and after each
// the data are as they were and the next runs.
func TestOpaqueInJail(t *testing.T) {
	runs := jailedOpaque(t)
	v, dir := openVault(t)
	tries := 0
	try := func(how string, n int) (Opaqued, error) {
		tries++
		x := registered(n, how)
		x.d.ID = sandbox.DatasetID(fmt.Sprint("firms-", tries))
		in := commit(t, v, x, 500, "run-"+string(x.d.ID))
		before := stored(t, dir)
		o := Opaquing{Declaration: staffed, Input: in, Columns: firms.Columns, Subject: "firm", Seed: 9, Code: runs}
		out, err := Opaque(context.Background(), memory.DefaultAllocator, v, o)
		if stored(t, dir) != before {
			t.Errorf("%s: the data set has changed", how)
		}
		return out, err
	}
	honest := func(n int) {
		got, err := try("honest", n)
		var firms, staff [2]int64
		for k := range n {
			if k%17 != 16 {
				i := min(k/100, 1)
				firms[i], staff[i] = firms[i]+1, staff[i]+int64(k)
			}
		}
		var want []opaque.Row
		for i := range 2 {
			want = append(want, opaque.Row{Labels: []int{i}, Values: []int64{staffed.Chart.Values[0].Quantise(firms[i]), staffed.Chart.Values[1].Quantise(staff[i])}})
		}
		if err != nil || !reflect.DeepEqual(got.Rows, want) || len(runs.Posture) == 0 {
			t.Fatalf("%v, not %v: %v", got.Rows, want, err)
		}
	}
	honest(300)
	posture := runs.Posture.Digest()
	for _, c := range []struct {
		how    string
		reason []string // one of these: what the kernel does first is its own
	}{
		{"garbage", []string{FaultOutput}}, {"unknown label", []string{FaultOutput}}, {"too many rows", []string{FaultOutput}}, {"a model", []string{FaultOutput}},
		{"64 MiB", []string{"oversize", "refused"}}, {"hang", []string{"deadline"}}, {"spin", []string{"deadline"}}, {"crash", []string{"crashed"}},
		{"crash mid-stream", []string{"crashed", FaultOutput, "protocol"}}, {"error", []string{"refused"}}, {"fork bomb", []string{"forbidden"}}, {"thread bomb", []string{"crashed", "deadline", "memory", "flooded"}},
		{"memory bomb", []string{"memory", "crashed"}}, {"write the view", []string{"crashed"}}, {"flood", []string{"flooded"}}, {"file", []string{"refused", "forbidden"}},
		{"random", []string{FaultRepeat}}, {"clock", []string{FaultRepeat}},
	} {
		_, err := try(c.how, 40)
		reason := string(jail.ReasonOf(err))
		if f := (*OpaqueFault)(nil); errors.As(err, &f) {
			reason = f.Reason
		}
		if err == nil || !slices.Contains(c.reason, reason) {
			t.Errorf("%s: %q %v", c.how, reason, err)
		}
		if err != nil && (bytes.Contains([]byte(err.Error()), []byte("words")) || bytes.Contains([]byte(err.Error()), []byte("opdview"))) {
			t.Errorf("%s: the code's words are in the error", c.how)
		}
	}
	honest(301)
	if runs.Posture.Digest() != posture {
		t.Error("the posture of equal jobs is not equal")
	}
}
