package jail

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/attest/sm"
)

func TestMain(m *testing.M) {
	Enter()
	os.Exit(m.Run())
}

// attackProgram builds the plug-in of the tests: a static program of its own.
var attackProgram = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "jail-attack-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "attack")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/attack")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
})

func program(t testing.TB) []byte {
	t.Helper()
	path, err := attackProgram()
	if err != nil {
		t.Fatalf("build the plug-in: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func image(t testing.TB) *Image {
	t.Helper()
	b := program(t)
	img, err := NewImage(bytes.NewReader(b), sm.Sum(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func launcher(t testing.TB) *Launcher {
	t.Helper()
	l, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

type outcome struct {
	Worked bool
	Detail string
}

func run(ctx context.Context, p *Process, name string) (outcome, error) {
	var out wrapperspb.StringValue
	var r outcome
	err := p.Conn().Invoke(ctx, "/attack/Run", wrapperspb.String(name), &out)
	if err == nil {
		err = json.Unmarshal([]byte(out.Value), &r)
	}
	return r, err
}

func TestStart(t *testing.T) {
	l := launcher(t)
	for _, p := range l.Probe().Parts {
		t.Logf("%+v", p)
	}
	d, err := NewDataset(func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte("rows"), 1000)); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for _, tier := range []Tier{T1, T1p} {
		p, err := l.Start(context.Background(), Job{Tier: tier, Image: image(t), Dataset: d})
		if err != nil {
			t.Fatal(err)
		}
		t.Log(p.Posture().Text())
		r, err := run(context.Background(), p, "dataset")
		t.Log(r, err)
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}
