package jail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func text(t testing.TB, s string) *Dataset {
	t.Helper()
	d, err := NewDataset(func(w io.Writer) error { _, err := io.WriteString(w, s); return err })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// TestBadPlugins gives each way in which a plug-in misbehaves, and holds the node to one typed reason, to its own memory and to
// being able to start the next one.
func TestBadPlugins(t *testing.T) {
	l := launcher(t)
	needs(t, l, T1)
	img := imageOf(t, rawProgram)
	bomb := []Reason{Memory}
	if l.cgroups == nil {
		bomb = []Reason{Crashed} // its runtime is refused memory, and gives up
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	t.Run("all", func(t *testing.T) { misbehaving(t, l, img, bomb) })
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 32<<20 {
		t.Errorf("the host holds %d MiB more", grown>>20)
	}
	p, err := l.Start(context.Background(), Job{Tier: T1, Image: img, Dataset: text(t, "stream")}) // the node is healthy
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func misbehaving(t *testing.T, l *Launcher, img *Image, bomb []Reason) {
	for _, c := range []struct {
		mode   string
		limits Limits
		want   []Reason
	}{
		{"exit", Limits{}, []Reason{Ended}},
		{"crash at start", Limits{}, []Reason{Crashed}},
		{"silent", Limits{Start: 700 * time.Millisecond}, []Reason{Deadline}},
		{"spin", Limits{Start: 700 * time.Millisecond}, []Reason{Deadline}},
		{"raw garbage", Limits{Start: 5 * time.Second}, []Reason{Protocol}},
		{"raw close", Limits{Start: 5 * time.Second}, []Reason{Protocol}},
		{"raw reset flood", Limits{Wall: 2 * time.Second}, []Reason{Deadline, Protocol}},
		{"raw ping flood", Limits{Wall: 2 * time.Second}, []Reason{Deadline, Protocol}},
		{"raw settings flood", Limits{Wall: 2 * time.Second}, []Reason{Deadline, Protocol}},
		{"raw header flood", Limits{Start: 2 * time.Second}, []Reason{Protocol, Deadline}},
		{"raw endless headers", Limits{Wall: 2 * time.Second}, []Reason{Deadline, Protocol}},
		{"raw malformed", Limits{Start: 2 * time.Second}, []Reason{Protocol}},
		{"raw big", Limits{Start: 2 * time.Second}, []Reason{Oversize, Protocol}},
		{"raw compressed", Limits{Start: 2 * time.Second}, []Reason{Protocol}},
		{"raw goaway", Limits{Start: 2 * time.Second}, []Reason{Protocol, Deadline}},
		{"64 MiB reply", Limits{}, []Reason{Oversize}},
		{"hang", Limits{Wall: 1500 * time.Millisecond}, []Reason{Deadline}},
		{"busy", Limits{Wall: 1500 * time.Millisecond}, []Reason{Deadline}},
		{"words", Limits{}, []Reason{Refused}},
		{"metadata", Limits{}, []Reason{Refused, Protocol}},
		{"memory", Limits{Memory: 192 << 20}, bomb},
		{"threads", Limits{}, []Reason{Crashed, Flooded}},
		{"stderr", Limits{}, []Reason{Flooded}},
		{"stdout", Limits{}, []Reason{Flooded}},
		{"exit in a call", Limits{}, []Reason{Ended}},
		{"write to the data", Limits{}, []Reason{Crashed}},
	} {
		t.Run(strings.ReplaceAll(c.mode, " ", "_"), func(t *testing.T) {
			t.Parallel()
			d := text(t, c.mode)
			p, err := l.Start(context.Background(), Job{Tier: T1, Image: img, Dataset: d, Limits: c.limits})
			if err == nil {
				var out wrapperspb.BytesValue
				err = p.Conn().Invoke(context.Background(), "/raw/Run", wrapperspb.Bytes(nil), &out)
				t.Logf("call: %v; output %d", err, p.Output())
				if cerr := p.Close(); cerr != nil {
					t.Error(cerr)
				}
			} else {
				t.Logf("start: %v", err)
			}
			if err == nil {
				t.Fatal("nothing happened")
			}
			got := ReasonOf(err)
			ok := false
			for _, w := range c.want {
				ok = ok || got == w
			}
			if !ok {
				t.Errorf("reason %q, wanted one of %v", got, c.want)
			}
			if strings.Contains(err.Error(), "secret words") {
				t.Error("the plug-in's words are in the error")
			}
			if sandbox.KindOf(err) == sandbox.Internal {
				t.Errorf("no kind: %v", err)
			}
			b := make([]byte, d.size)
			if _, err := d.file.ReadAt(b, 0); err != nil || string(b) != c.mode {
				t.Error("the data set changed")
			}
		})
	}
}

// TestCrashInAStream holds a stream that breaks off to a reason.
func TestCrashInAStream(t *testing.T) {
	l := launcher(t)
	needs(t, l, T1)
	p, err := l.Start(context.Background(), Job{Tier: T1, Image: imageOf(t, rawProgram), Dataset: text(t, "crash mid-stream")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	s, err := p.Conn().NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/raw/Stream")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(wrapperspb.Bytes(nil)); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		var b wrapperspb.BytesValue
		if err = s.RecvMsg(&b); err != nil {
			break
		}
		n++
	}
	if ReasonOf(err) != Crashed || n > 3 {
		t.Errorf("%d messages, then %v", n, err)
	}
}

// TestImages holds what is executed to what was approved.
func TestImages(t *testing.T) {
	l := launcher(t)
	needs(t, l, T1)
	b := program(t, rawProgram)
	wrong := sm.Sum([]byte("a lying manifest"))
	if _, err := NewImage(bytes.NewReader(b), wrong); ReasonOf(err) != BadImage || !errors.Is(err, sandbox.Tampered) {
		t.Errorf("wrong digest: %v", err)
	}
	if _, err := NewImage(bytes.NewReader(nil), sm.Sum()); ReasonOf(err) != BadImage {
		t.Errorf("empty: %v", err)
	}
	script := []byte("#!/bin/sh\nexit 0\n")
	img, err := NewImage(bytes.NewReader(script), sm.Sum(script))
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if _, err := l.Start(context.Background(), Job{Tier: T1, Image: img}); ReasonOf(err) != BadImage {
		t.Errorf("a script: %v", err)
	}

	// Swapped between check and start: the file it came from, and the sealed object itself.
	path := t.TempDir() + "/plugin"
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img2, err := NewImage(f, sm.Sum(b))
	if err != nil {
		t.Fatal(err)
	}
	defer img2.Close()
	if err := os.WriteFile(path, script, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile("/proc/self/fd/"+itoa(img2.file.Fd()), os.O_RDWR, 0)
	if err == nil {
		if _, err := w.WriteAt([]byte("#!"), 0); err == nil {
			t.Error("the sealed image was written to")
		}
		if err := w.Truncate(0); err == nil {
			t.Error("the sealed image was cut")
		}
		w.Close()
	}
	p, err := l.Start(context.Background(), Job{Tier: T1, Image: img2, Dataset: text(t, "stream")})
	if err != nil {
		t.Fatal(err)
	}
	if p.Image() != sm.Sum(b) {
		t.Error("another image runs")
	}
	p.Close()
}

// TestRefusals holds starts that must not be to their reasons.
func TestRefusals(t *testing.T) {
	l := fresh(t)
	defer l.Close()
	img := image(t)
	if _, err := l.Start(context.Background(), Job{Tier: "T9", Image: img}); ReasonOf(err) != Layer || !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("an unknown tier: %v", err)
	}
	if _, err := l.Start(context.Background(), Job{Tier: T1, Image: img, Limits: Limits{Memory: 1}}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("limits: %v", err)
	}
	for i := range l.report.Parts { // each layer of T1 missing on its own
		part := l.report.Parts[i]
		if part.Name == layerGvisor || part.Name == layerHost {
			continue
		}
		l.report.Parts[i].Have = false
		if _, err := l.Start(context.Background(), Job{Tier: T1, Image: img}); ReasonOf(err) != Layer || !strings.Contains(err.Error(), part.Name) {
			t.Errorf("without %s: %v", part.Name, err)
		}
		l.report.Parts[i] = part
	}
	needs(t, l, T1)
	if _, err := l.Start(context.Background(), Job{Tier: T1}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no image: %v", err)
	}
	for _, own := range []string{stageName, shimName, sentryName, insideName, wasmName} {
		if p, err := l.Start(context.Background(), Job{Tier: T1, Entry: own}); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "entry") {
			if err == nil {
				p.Close()
			}
			t.Errorf("a stage of the jail's own as an entry: %v", err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := l.Start(ctx, Job{Tier: T1, Image: img}); ReasonOf(err) != Cancelled {
		t.Errorf("cancelled before: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	p, err := l.Start(ctx, Job{Tier: T1, Image: imageOf(t, rawProgram), Dataset: text(t, "hang")})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, cancel)
	var out wrapperspb.BytesValue
	if err := p.Conn().Invoke(context.Background(), "/raw/Run", wrapperspb.Bytes(nil), &out); ReasonOf(err) != Cancelled {
		t.Errorf("cancelled: %v", err)
	}
	p.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Start(context.Background(), Job{Tier: T1, Image: img}); ReasonOf(err) != Closed {
		t.Errorf("closed: %v", err)
	}
}
