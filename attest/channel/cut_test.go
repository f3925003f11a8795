package channel

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// TestACutStreamNeverEnds: a stream that stops early is never io.EOF, however a caller compares, and says what it is.
func TestACutStreamNeverEnds(t *testing.T) {
	o, s, _ := opened(t)
	text := o.Encode()
	wire := stream(t, s, text, []byte("one"), []byte("two"))
	for i := range wire {
		for _, r := range []io.Reader{bytes.NewReader(wire[:i]), iotest.DataErrReader(bytes.NewReader(wire[:i])), iotest.OneByteReader(bytes.NewReader(wire[:i]))} {
			in, err := NewReader(r, s, text)
			for err == nil {
				_, err = in.Next()
			}
			if errors.Is(err, io.EOF) || !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "frame ") {
				t.Fatalf("cut at byte %d: %v", i, err)
			}
			if in != nil {
				if _, again := in.Next(); again != err {
					t.Fatalf("cut at byte %d: the error does not stay: %v", i, again)
				}
			}
		}
	}
	in, err := NewReader(iotest.DataErrReader(bytes.NewReader(wire)), s, text)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := in.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if p, err := in.Next(); err != io.EOF || p != nil {
			t.Errorf("a whole stream ends with %v", err)
		}
	}
}

var errLine = errors.New("line down")

// TestAFailingTransport is told apart from changed bytes at every byte, and keeps its cause.
func TestAFailingTransport(t *testing.T) {
	o, s, _ := opened(t)
	text := o.Encode()
	wire := stream(t, s, text, []byte("one"))
	bound := &sandbox.Error{Op: "body", Kind: sandbox.TooLarge}
	for i := range len(wire) + 1 {
		for _, c := range []struct {
			cause error
			kind  sandbox.Kind
		}{{errLine, sandbox.Unavailable}, {bound, sandbox.TooLarge}} {
			in, err := NewReader(io.MultiReader(bytes.NewReader(wire[:i]), iotest.ErrReader(c.cause)), s, text)
			for err == nil {
				_, err = in.Next()
			}
			if !errors.Is(err, c.cause) || sandbox.KindOf(err) != c.kind || errors.Is(err, io.EOF) {
				t.Fatalf("byte %d: %v", i, err)
			}
		}
	}
}

// brittle fails its nth write after half of it.
type brittle struct {
	bytes.Buffer
	left int
}

func (b *brittle) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		n, _ := b.Buffer.Write(p[:len(p)/2])
		return n, errLine
	}
	return b.Buffer.Write(p)
}

// TestNothingFollowsAFailedWrite: a second frame under one sequence would repeat a nonce.
func TestNothingFollowsAFailedWrite(t *testing.T) {
	o, s, _ := opened(t)
	if w, err := NewWriter(&brittle{}, s, o.Encode()); w != nil || !errors.Is(err, sandbox.Unavailable) || !errors.Is(err, errLine) {
		t.Errorf("a writer whose confirmation is lost: %v", err)
	}
	out := &brittle{left: 2}
	w, err := NewWriter(out, s, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.WriteFrame([]byte("one")); err != nil {
		t.Fatal(err)
	}
	first := w.WriteFrame([]byte("two"))
	if !errors.Is(first, sandbox.Unavailable) || !errors.Is(first, errLine) {
		t.Errorf("a lost frame: %v", first)
	}
	size := out.Len()
	out.left = 10
	if err := w.WriteFrame([]byte("two")); err != first {
		t.Errorf("after a lost frame: %v", err)
	}
	for range 2 {
		if err := w.Close(); err != first {
			t.Errorf("closing after a lost frame: %v", err)
		}
	}
	if out.Len() != size {
		t.Error("bytes follow a lost frame")
	}
	_, err = receive(s, o.Encode(), out.Bytes())
	refused(t, err, "a stream whose writer failed")
}

// TestOneKeyCarriesABoundedStream, on both sides.
func TestOneKeyCarriesABoundedStream(t *testing.T) {
	o, s, _ := opened(t)
	var out bytes.Buffer
	w, err := NewWriter(&out, s, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	w.sum = MaxStream - 1
	if err := w.WriteFrame([]byte("ab")); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("over the bound: %v", err)
	}
	if err := w.WriteFrame([]byte("a")); err != nil {
		t.Errorf("at the bound: %v", err)
	}
	if err := w.WriteFrame([]byte("a")); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("behind the bound: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	in, err := NewReader(&out, s, o.Encode())
	if err != nil {
		t.Fatal(err)
	}
	in.sum = MaxStream
	_, err = in.Next()
	refused(t, err, "a stream over its bound")
}

// TestFramesOfTheWrongShape, authentic all the same: only a sender that breaks the format makes them.
func TestFramesOfTheWrongShape(t *testing.T) {
	o, s, _ := opened(t)
	text := o.Encode()
	type frame struct {
		payload string
		flags   byte
	}
	for name, frames := range map[string][]frame{
		"a confirmation with data":  {{"x", 0}, {"", flagLast}},
		"a confirmation that ends":  {{"", flagLast}},
		"an empty frame between":    {{"", 0}, {"", 0}, {"", flagLast}},
		"a last frame with data":    {{"", 0}, {"x", flagLast}},
		"frames behind the last":    {{"", 0}, {"", flagLast}, {"x", 0}},
		"a flag nobody knows":       {{"", 0}, {"x", 2}, {"", flagLast}},
		"a last frame behind a one": {{"", 0}, {"", flagLast}, {"", flagLast}},
	} {
		a, digest, err := s.aead(text)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w := &Writer{w: &out, aead: a}
		copy(w.ad[headSize:], digest[:])
		for _, f := range frames {
			if err := w.frame([]byte(f.payload), f.flags); err != nil {
				t.Fatal(err)
			}
		}
		_, err = receive(s, text, out.Bytes())
		refused(t, err, name)
	}
	// Sealed under the sequence the reader expects, naming another.
	a, digest, err := s.aead(text)
	if err != nil {
		t.Fatal(err)
	}
	var head [headSize + sm.Size]byte
	copy(head[:], magic[:])
	head[15] = 7
	copy(head[headSize:], digest[:])
	in, err := NewReader(bytes.NewReader(a.Seal(bytes.Clone(head[:headSize]), nonce(0), nil, head[:])), s, text)
	refused(t, err, "another sequence than its nonce's")
	if in != nil {
		t.Error("a reader beside an error")
	}
}

// TestEveryOpeningFieldBindsTheFrames: a changed opening opens none of them.
func TestEveryOpeningFieldBindsTheFrames(t *testing.T) {
	o, s, _ := opened(t)
	wire := stream(t, s, o.Encode(), []byte("one"))
	for name, change := range map[string]func(*Opening){
		"from": func(o *Opening) { o.From = "x" }, "to": func(o *Opening) { o.To = "x" }, "domain": func(o *Opening) { o.Domain = "x" },
		"run": func(o *Opening) { o.Run = "x" }, "dataset": func(o *Opening) { o.Dataset = "x" }, "part": func(o *Opening) { o.Part++ },
		"schema": func(o *Opening) { o.SchemaDigest = bytes.Repeat([]byte{1}, sm.Size) }, "created": func(o *Opening) { o.Created = o.Created.Add(time.Second) },
		"secret": func(o *Opening) { o.Secret = append(bytes.Clone(o.Secret), 0) },
	} {
		other := o
		change(&other)
		_, err := receive(s, other.Encode(), wire)
		refused(t, err, name)
	}
}

// TestAnOpeningsTimeHasOneForm: another zone or a fraction of a second would be a second encoding of one instant.
func TestAnOpeningsTimeHasOneForm(t *testing.T) {
	o, _, d := opened(t)
	for name, at := range map[string]time.Time{"zone": o.Created.In(time.FixedZone("", 8*3600)), "fraction": o.Created.Add(time.Millisecond)} {
		other := o
		other.Created = at
		if _, err := ParseOpening(other.Encode()); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	o.Created = o.Created.In(time.FixedZone("", 8*3600)).Add(time.Millisecond)
	again, _, err := NewOpening(strings.NewReader(strings.Repeat("randomness", 100)), d.Public(), o)
	if err != nil || again.Created.Location() != time.UTC || again.Created.Nanosecond() != 0 {
		t.Errorf("created %v, %v", again.Created, err)
	}
	o.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if _, _, err := NewOpening(strings.NewReader(strings.Repeat("randomness", 100)), d.Public(), o); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a year of five digits: %v", err)
	}
	if _, _, err := NewOpening(strings.NewReader("too little"), d.Public(), o); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("without randomness: %v", err)
	}
}

// TestASecretOfAnotherLength is refused after it opened.
func TestASecretOfAnotherLength(t *testing.T) {
	o, _, d := opened(t)
	var err error
	if o.Secret, err = d.Public().Seal(strings.NewReader(strings.Repeat("randomness", 100)), make([]byte, secretSize-1)); err != nil {
		t.Fatal(err)
	}
	_, err = o.Unwrap(d)
	refused(t, err, "31 bytes")
	o.Secret = make([]byte, MaxOpening)
	if _, err := ParseOpening(o.Encode()); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an opening over its bound in its one encoding: %v", err)
	}
	o.Secret = nil
	_, err = o.Unwrap(d)
	refused(t, err, "nothing")
}

// TestASecretIsRedactedUnderEveryVerb, by pointer and by value.
func TestASecretIsRedactedUnderEveryVerb(t *testing.T) {
	_, s, _ := opened(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q"} {
		for _, x := range []any{s, *s} {
			if text := fmt.Sprintf(verb, x); text != s.String() {
				t.Errorf("%s prints otherwise than String", verb)
			}
		}
	}
}
