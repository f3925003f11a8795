package channel

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func opened(t testing.TB) (Opening, *Secret, *sm.DecryptKey) {
	t.Helper()
	d, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o, s, err := NewOpening(rand.Reader, d.Public(), Opening{From: "unit", To: "domain", Domain: "d", Run: "run-1", Dataset: "ds", SchemaDigest: make([]byte, sm.Size), Created: time.Unix(1_800_000_000, 0)})
	if err != nil {
		t.Fatal(err)
	}
	return o, s, d
}

func stream(t testing.TB, s *Secret, opening []byte, frames ...[]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, s, opening)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if err := w.WriteFrame(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func receive(s *Secret, opening, wire []byte) (out [][]byte, err error) {
	r, err := NewReader(bytes.NewReader(wire), s, opening)
	if err != nil {
		return nil, err
	}
	for {
		p, err := r.Next()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out = append(out, bytes.Clone(p))
	}
}

func TestRoundTrip(t *testing.T) {
	o, s, d := opened(t)
	text := o.Encode()
	rapid.Check(t, func(rt *rapid.T) {
		frames := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 0, 8).Draw(rt, "frames")
		again, err := ParseOpening(text)
		if err != nil {
			rt.Fatal(err)
		}
		theirs, err := again.Unwrap(d)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := receive(theirs, text, stream(t, s, text, frames...))
		if err != nil || len(got) != len(frames) {
			rt.Fatalf("%d of %d frames, %v", len(got), len(frames), err)
		}
		for i := range frames {
			if !bytes.Equal(got[i], frames[i]) {
				rt.Fatalf("frame %d differs", i)
			}
		}
	})
	big := bytes.Repeat([]byte{1}, MaxFrame)
	if got, err := receive(s, text, stream(t, s, text, big)); err != nil || !bytes.Equal(got[0], big) {
		t.Errorf("the largest frame: %v", err)
	}
}

func refused(t *testing.T, err error, what string) {
	t.Helper()
	if !errors.Is(err, sandbox.Tampered) {
		t.Errorf("%s: %v", what, err)
	}
}

// TestEveryByteCounts flips, cuts and extends a stream at every byte.
func TestEveryByteCounts(t *testing.T) {
	o, s, _ := opened(t)
	text := o.Encode()
	wire := stream(t, s, text, []byte("one"), []byte("two"), []byte("three"))
	for i := range wire {
		for _, mask := range []byte{1, 0x80} {
			bad := bytes.Clone(wire)
			bad[i] ^= mask
			_, err := receive(s, text, bad)
			refused(t, err, fmt.Sprintf("byte %d flipped by %02x", i, mask))
		}
		_, err := receive(s, text, wire[:i])
		refused(t, err, fmt.Sprintf("cut at byte %d", i))
	}
	_, err := receive(s, text, append(bytes.Clone(wire), 0))
	refused(t, err, "a byte behind the last frame")
}

// TestFramesCannotBeRearranged drops, doubles, swaps and replays whole frames.
func TestFramesCannotBeRearranged(t *testing.T) {
	o, s, _ := opened(t)
	text := o.Encode()
	wire := stream(t, s, text, []byte("one"), []byte("two"), []byte("three"))
	var frames [][]byte
	for rest := wire; len(rest) > 0; {
		n := headSize + int(binary.BigEndian.Uint32(rest[16:])) + tagSize
		frames = append(frames, rest[:n])
		rest = rest[n:]
	}
	if len(frames) != 5 {
		t.Fatalf("%d frames", len(frames))
	}
	for _, order := range [][]int{{1, 2, 3, 4}, {0, 2, 3, 4}, {0, 1, 2, 3}, {0, 1, 1, 2, 3, 4}, {0, 2, 1, 3, 4}, {0, 1, 2, 4, 3}, {0, 0, 1, 2, 3, 4}, {0, 4}, {0, 1, 2, 3, 4, 4}, {4, 0, 1, 2, 3}} {
		var b []byte
		for _, i := range order {
			b = append(b, frames[i]...)
		}
		_, err := receive(s, text, b)
		refused(t, err, fmt.Sprint("order ", order))
	}
	other, otherSecret, _ := opened(t)
	_, err := receive(otherSecret, other.Encode(), wire)
	refused(t, err, "another stream")
	changed := o
	changed.Dataset = "ds-two"
	_, err = receive(s, changed.Encode(), wire)
	refused(t, err, "another opening with the same secret")
}

// TestLengthIsCheckedBeforeItIsUsed claims a frame of 4 GiB.
func TestLengthIsCheckedBeforeItIsUsed(t *testing.T) {
	o, s, _ := opened(t)
	wire := stream(t, s, o.Encode(), []byte("one"))
	first := headSize + tagSize
	bad := bytes.Clone(wire)
	binary.BigEndian.PutUint32(bad[first+16:], 1<<32-1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := receive(s, o.Encode(), bad)
	runtime.ReadMemStats(&after)
	refused(t, err, "a length of 4 GiB")
	if after.TotalAlloc-before.TotalAlloc > 16<<20 {
		t.Errorf("%d bytes were allocated", after.TotalAlloc-before.TotalAlloc)
	}
}

func TestWriterBounds(t *testing.T) {
	o, s, _ := opened(t)
	var out bytes.Buffer
	w, err := NewWriter(&out, s, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame(nil); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an empty frame: %v", err)
	}
	if err := w.WriteFrame(make([]byte, MaxFrame+1)); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a frame over its bound: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	size := out.Len()
	if err := w.Close(); err != nil || out.Len() != size {
		t.Error("closing twice writes twice")
	}
	if err := w.WriteFrame([]byte("late")); err == nil {
		t.Error("a frame after the last one")
	}
}

func TestOpeningIsStrict(t *testing.T) {
	o, s, d := opened(t)
	good := string(o.Encode())
	for name, text := range map[string]string{
		"empty": "", "not JSON": "x", "unknown field": strings.Replace(good, `"version":1`, `"version":1,"x":2`, 1), "space": good + " ", "twice": good + good,
		"version":   strings.Replace(good, `"version":1`, `"version":2`, 1),
		"bad id":    strings.Replace(good, `"run-1"`, `"../x"`, 1),
		"no digest": strings.Replace(good, fmt.Sprintf("%q", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="), `""`, 1),
		"long":      good[:len(good)-1] + strings.Repeat(" ", MaxOpening) + "}",
	} {
		if _, err := ParseOpening([]byte(text)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	other, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = o.Unwrap(other)
	refused(t, err, "another receiver")
	if got, err := o.Unwrap(d); err != nil || got.b != s.b {
		t.Errorf("the receiver: %v", err)
	}
	if text := fmt.Sprintf("%v %+v %#v", s, s, s); strings.Contains(text, fmt.Sprint(s.b[0], " ", s.b[1])) || !strings.Contains(text, "redacted") {
		t.Error("a secret prints")
	}
}

func FuzzReader(f *testing.F) {
	o, s, _ := opened(f)
	text := o.Encode()
	f.Add(stream(f, s, text, []byte("one"), []byte("two")))
	f.Add([]byte("ODF1"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		_, _ = receive(s, text, wire)
	})
}

func FuzzParseOpening(f *testing.F) {
	o, _, _ := opened(f)
	f.Add(o.Encode())
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := ParseOpening(b); err == nil && !bytes.Equal(got.Encode(), b) {
			t.Error("an opening has two encodings")
		}
	})
}
