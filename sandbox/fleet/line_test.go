package fleet

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// wire is what a coordinator's end wrote for a worker's end to read.
func wire(t *testing.T, messages ...[]byte) (records [][]byte, read func([]byte) *line, b bound) {
	t.Helper()
	b = bound{job: make([]byte, jobSize), kernel: []byte("kernel")}
	secret := make([]byte, secretSize)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	var w recording
	from, err := newLine(nil, &w, b.job, secret, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages {
		if err := from.send(b.to(7), m); err != nil {
			t.Fatal(err)
		}
	}
	return w, func(in []byte) *line {
		to, err := newLine(bytes.NewReader(in), nil, b.job, secret, true)
		if err != nil {
			t.Fatal(err)
		}
		return to
	}, b
}

// recording keeps each write apart.
type recording [][]byte

func (r *recording) Write(b []byte) (int, error) {
	*r = append(*r, bytes.Clone(b))
	return len(b), nil
}

func TestLine(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef"), 2*recordSize/16) // two whole records
	r, read, b := wire(t, nil, long, []byte("end"))
	if len(r) != 4 { // the length goes with the first record
		t.Fatalf("%d records", len(r))
	}
	l := read(bytes.Join(r, nil))
	for i, want := range [][]byte{nil, long, []byte("end")} {
		if got, err := l.receive(b.to(7), len(long)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("message %d: %v", i, err)
		}
	}
	if _, err := l.receive(b.to(7), 1); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
	all := func(l *line, part uint64, most int) error {
		for {
			if _, err := l.receive(b.to(part), most); err != nil {
				return err
			}
		}
	}
	for name, c := range map[string]struct {
		in   []byte
		part uint64
		most int
		want error
	}{
		"as it is":                     {bytes.Join(r, nil), 7, len(long), io.EOF},
		"one left out":                 {bytes.Join(r[1:], nil), 7, len(long), sandbox.Tampered},
		"one repeated":                 {bytes.Join([][]byte{r[0], r[0]}, nil), 7, len(long), sandbox.Tampered},
		"two exchanged":                {bytes.Join([][]byte{r[0], r[2], r[1]}, nil), 7, len(long), sandbox.Tampered},
		"another message's end":        {bytes.Join([][]byte{r[0], r[1], r[3], r[2]}, nil), 7, len(long), sandbox.Tampered},
		"for another part":             {bytes.Join(r, nil), 8, len(long), sandbox.Tampered},
		"over the limit":               {bytes.Join(r, nil), 7, len(long) - 1, sandbox.TooLarge},
		"cut within a record":          {bytes.Join(r, nil)[:40], 7, len(long), errGone},
		"cut between two of a message": {bytes.Join(r[:2], nil), 7, len(long), errGone},
	} {
		if err := all(read(c.in), c.part, c.most); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	back, err := newLine(bytes.NewReader(r[0]), nil, b.job, make([]byte, secretSize), true)
	if err != nil {
		t.Fatal(err)
	}
	if err := all(back, 7, 100); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("under another connection's key: %v", err)
	}
}

// TestOrder: a worker judges what it is told to do, and refuses tickets for more than its question needs.
func TestOrder(t *testing.T) {
	w := newWorld(t)
	p := w.fleet(t, Config{}, "fleet-worker")
	j := &job{config: p.config, id: make([]byte, jobSize)}
	if err := j.write(*p.job, false); err != nil {
		t.Fatal(err)
	}
	fresh := func() (o order) {
		o, err := decodeOrder(j.order)
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	ticket := func(at int, columns ...string) []byte {
		x, err := w.v.Ticket(w.snapshots[at], columns)
		if err != nil {
			t.Fatal(err)
		}
		return x.Encode()
	}
	for name, c := range map[string]struct {
		change func(*order)
		want   error
	}{
		"as it is":            {func(*order) {}, nil},
		"one more column":     {func(o *order) { o.Tickets[0] = ticket(0, "_subject", "fee", "secret", "site") }, sandbox.Denied},
		"another column":      {func(o *order) { o.Tickets[0] = ticket(0, "_subject", "secret", "site") }, sandbox.Denied},
		"one more ticket":     {func(o *order) { o.Tickets = append(o.Tickets, o.Tickets[0]) }, sandbox.Denied},
		"tickets exchanged":   {func(o *order) { o.Tickets[0], o.Tickets[1] = o.Tickets[1], o.Tickets[0] }, sandbox.Denied},
		"another version":     {func(o *order) { o.Inputs[0].Version = 2 }, sandbox.Denied},
		"a refused question":  {func(o *order) { o.Question = bytes.ReplaceAll(o.Question, []byte(`"c.fee"`), []byte(`"c.secret"`)) }, sandbox.Denied},
		"a ticket cut off":    {func(o *order) { o.Tickets[0] = o.Tickets[0][1:] }, sandbox.Tampered},
		"no question at all":  {func(o *order) { o.Question = nil }, sandbox.Invalid},
		"limits out of range": {func(o *order) { o.Limits.MaxCells = -1 }, sandbox.Invalid},
	} {
		o := fresh()
		c.change(&o)
		worker, err := newWorker(t.Context(), memory.DefaultAllocator, rand.Reader, o, 1)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err == nil {
			worker.kernel.Free()
		}
	}
	for name, c := range map[string]struct {
		change func(*order)
		want   error
	}{
		"another kernel":    {func(o *order) { o.Kernel = "columnar/ODP0" }, sandbox.Conflict},
		"a relative folder": {func(o *order) { o.Dir = "vault" }, sandbox.Tampered},
		"no rows":           {func(o *order) { o.Rows = 0 }, sandbox.Tampered},
	} {
		o := fresh()
		c.change(&o)
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeOrder(b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	digest := func(o order) string {
		d, err := o.digest()
		if err != nil {
			t.Fatal(err)
		}
		return string(d)
	}
	same := digest(fresh())
	for name, change := range map[string]func(*order){
		"question": func(o *order) { o.Question[0] ^= 1 }, "version": func(o *order) { o.Inputs[0].Version++ },
		"limits": func(o *order) { o.Limits.MaxCells++ }, "parts": func(o *order) { o.Rows++ }, "kernel": func(o *order) { o.Kernel += "x" },
	} {
		o := fresh()
		if change(&o); digest(o) == same {
			t.Errorf("another %s has the same digest", name)
		}
	}
}

// TestConfig: what makes no sense is refused before a process starts.
func TestConfig(t *testing.T) {
	ok := Config{Program: "x", Command: []string{"x"}, Rand: rand.Reader}
	if _, err := New(ok); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no program": func(c *Config) { c.Program = "" }, "no command": func(c *Config) { c.Command = nil }, "no randomness": func(c *Config) { c.Rand = nil },
		"more copies than workers": func(c *Config) { c.Copies = 2 }, "fewer than none": func(c *Config) { c.Workers = -1 },
		"a lease that is over": func(c *Config) { c.Lease = -1 },
	} {
		c := ok
		change(&c)
		if _, err := New(c); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWorkerAlone: a worker that nobody of the domain started says so.
func TestWorkerAlone(t *testing.T) {
	for _, in := range []string{"", "hello", string(make([]byte, 100))} {
		var out bytes.Buffer
		if err := Work(t.Context(), memory.DefaultAllocator, nil, bytes.NewReader([]byte(in)), &out); !errors.Is(err, sandbox.Invalid) || out.Len() > 0 {
			t.Errorf("%d bytes: %v", len(in), err)
		}
	}
	if err := reported([]byte(`{"kind":"withheld"}`)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a kind that workers do not have: %v", err)
	}
	if err := reported([]byte(`{"kind":"too large","object":"a\u001b[2J"}`)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("text that is not printable: %v", err)
	}
}
