package witness

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func TestReadmit(t *testing.T) {
	ctx, logKey, key := context.Background(), newKey(t), newKey(t)
	c := Config{Dir: t.TempDir(), Key: key, Logs: map[string]*sm.VerifyKey{origin: logKey.Public()}}
	w, client := witnessed(t, "agency", c)
	l := newLog(t, filepath.Join(t.TempDir(), "lost"), logKey)
	grow(t, l, 3)
	early := l.Checkpoint()
	if _, err := w.Readmit(ctx, early, "x"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("before anything was signed: %v", err)
	}
	grow(t, l, 4)
	if _, failed := Collect(ctx, l, []Client{client}); len(failed) > 0 {
		t.Fatal(failed)
	}
	lost, err := w.Latest(origin)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		try  func() error
		kind sandbox.Kind
	}{
		"no reason":     {func() error { _, err := w.Readmit(ctx, early, ""); return err }, sandbox.Invalid},
		"the same size": {func() error { _, err := w.Readmit(ctx, l.Checkpoint(), "x"); return err }, sandbox.Invalid},
		"another's log": {func() error { o := early; o.Origin = "opdomain/e"; _, err := w.Readmit(ctx, o, "x"); return err }, sandbox.NotFound},
		"another root":  {func() error { o := early; o.Root[0] ^= 1; _, err := w.Readmit(ctx, o, "x"); return err }, sandbox.Denied},
		"another signer": {func() error {
			o := newLog(t, filepath.Join(t.TempDir(), "o"), newKey(t))
			grow(t, o, 1)
			_, err := w.Readmit(ctx, o.Checkpoint(), "x")
			return err
		}, sandbox.Denied},
	} {
		if err := x.try(); !errors.Is(err, x.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n, err := w.Latest(origin); err != nil || n.Size != lost.Size {
		t.Fatalf("a refusal moved the witness: %v", err)
	}
	// A log of the same beginning that went another way is refused, and taken once its beginning was let in again.
	r, err := w.Readmit(ctx, early, "火灾")
	if err != nil || r.Verify(key.Public()) != nil || r.Lost != lost.String() || r.Kept != early.String() {
		t.Fatalf("%+v %v", r, err)
	}
	if r.Verify(newKey(t).Public()) == nil {
		t.Error("another witness's readmission")
	}
	if again, err := Open(Config{Dir: c.Dir, Name: "agency", Key: key, Logs: c.Logs, Now: w.c.Now, Rand: w.c.Rand}); err != nil {
		t.Error(err)
	} else if n, err := again.Latest(origin); err != nil || n.Size != early.Size {
		t.Errorf("after opening: %d %v", n.Size, err)
	}
	res, err := client.HTTP.Get(client.URL + "/readmissions?origin=" + origin)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var all []Readmission
	if err := json.NewDecoder(res.Body).Decode(&all); err != nil || len(all) != 1 || all[0].Verify(key.Public()) != nil || all[0].Reason != "火灾" {
		t.Errorf("%+v %v", all, err)
	}
	// The whole lost log is consistent with its own beginning; it is the witness's next signature that decides.
	grow(t, l, 1)
	if _, failed := Collect(ctx, l, []Client{client}); len(failed) > 0 {
		t.Error(failed)
	}
	// A changed record is not handed out.
	entries, err := os.ReadDir(w.readmitted(origin))
	if err != nil || len(entries) != 1 {
		t.Fatal(err)
	}
	path := filepath.Join(w.readmitted(origin), entries[0].Name())
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Readmissions(origin); !errors.Is(err, sandbox.Tampered) {
		t.Error(err)
	}
}
