package psi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
	"github.com/opdomain/opdomain/mpc/psi/psitest"
	"github.com/opdomain/opdomain/sandbox"
)

// cheat changes what a party sends behind that party's back: n counts the messages of a tag. nil drops a message.
type cheat struct {
	Conn
	n      map[uint32]int
	change func(tag uint32, n int, b []byte) [][]byte
}

func (c *cheat) Send(tag uint32, b []byte) error {
	n := c.n[tag]
	c.n[tag]++
	for _, out := range c.change(tag, n, bytes.Clone(b)) {
		if err := c.Conn.Send(tag, out); err != nil {
			return err
		}
	}
	return nil
}

// message changes message n of a tag in place.
func message(tag uint32, n int, f func(b []byte)) func(uint32, int, []byte) [][]byte {
	return func(t uint32, k int, b []byte) [][]byte {
		if t == tag && k == n {
			f(b)
		}
		return [][]byte{b}
	}
}

// play runs a job in which a side cheats and gives what the honest side says. Neither side may have a result, and nothing may be left
// running.
func play(t *testing.T, c [2]Config, cheater Side, change func(uint32, int, []byte) [][]byte) error {
	t.Helper()
	before := runtime.NumGoroutine()
	a, b, err := psitest.Loopback() // with buffers: who cheats may send what nobody waits for
	if err != nil {
		t.Fatal(err)
	}
	c[0].Conn, c[1].Conn = a, b
	c[cheater].Conn = &cheat{c[cheater].Conn, map[uint32]int{}, change}
	r, errs := both(c)
	a.Close()
	b.Close()
	honest, abort := cheater.Peer(), (*Abort)(nil)
	if r[honest] != nil || !errors.As(errs[honest], &abort) {
		t.Fatalf("the honest side: %v", errs[honest])
	}
	// Who lies in the very last message has its own result; nothing prevents that.
	if last := abort.Rule == RuleTranscript && errs[cheater] == nil; !last && (r[cheater] != nil || !errors.As(errs[cheater], &abort)) {
		t.Errorf("the cheating side: %v", errs[cheater])
	}
	for range 10_000 {
		if runtime.NumGoroutine() <= before {
			return errs[cheater.Peer()]
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("a goroutine is left")
	return errs[cheater.Peer()]
}

func TestCheatingPartiesAreNamed(t *testing.T) {
	x, y := numbers(0, 15), numbers(10, 22)
	at := func(b []byte, i int) []byte { return b[i*group.PointSize : (i+1)*group.PointSize] }
	off := func() []byte {
		b := make([]byte, group.PointSize)
		for b[0] = 2; ; b[32]++ {
			if _, err := group.ParsePoint(b); err != nil {
				return b
			}
		}
	}()
	for _, c := range []struct {
		name    string
		output  Output
		cheater Side
		rule    Rule
		nobody  bool // the rule does not tell who broke it
		change  func(uint32, int, []byte) [][]byte
	}{
		{"off the curve", Intersection, Sender, RulePoint, false, message(tagPoints, 0, func(b []byte) { copy(at(b, 3), off) })},
		{"off the curve, second batch", Cardinality, Receiver, RulePoint, false, message(tagPoints, 1, func(b []byte) { copy(at(b, len(b)/group.PointSize-1), off) })},
		{"identity", Intersection, Receiver, RulePoint, false, message(tagPoints, 0, func(b []byte) { clear(at(b, 7)) })},
		{"x over p", Intersection, Sender, RulePoint, false, message(tagPoints, 0, func(b []byte) { copy(at(b, 0), bytes.Repeat([]byte{0xff}, 33)); at(b, 0)[0] = 2 })},
		{"duplicate", Intersection, Receiver, RuleDuplicate, false, message(tagPoints, 0, func(b []byte) { copy(at(b, 1), at(b, 0)) })},
		{"duplicate of another batch", CardinalityBoth, Receiver, RuleDuplicate, false, func() func(uint32, int, []byte) [][]byte {
			var first []byte
			return func(tag uint32, n int, b []byte) [][]byte {
				if tag == tagPoints && n == 0 {
					first = bytes.Clone(at(b, 5))
				} else if tag == tagPoints {
					copy(at(b, 5), first)
				}
				return [][]byte{b}
			}
		}()},
		{"tags that do not ascend", CardinalityBoth, Sender, RuleOrder, false, message(tagTags, 0, func(b []byte) {
			first := bytes.Clone(b[:tagSize])
			copy(b, b[tagSize:2*tagSize])
			copy(b[tagSize:], first)
		})},
		{"a tag twice, sorted", Cardinality, Sender, RuleOrder, false, message(tagTags, 0, func(b []byte) { copy(b[tagSize:], b[:tagSize]) })},
		{"a tag twice, in order", Intersection, Sender, RuleDuplicate, false, message(tagTags, 0, func(b []byte) { copy(b[tagSize:], b[:tagSize]) })},
		{"oversized set", Cardinality, Sender, RuleLink, true, func(tag uint32, n int, b []byte) [][]byte {
			if tag == tagPoints {
				return [][]byte{b, b}
			}
			return [][]byte{b}
		}},
		{"a longer message", Cardinality, Receiver, RuleLink, true, func(tag uint32, n int, b []byte) [][]byte {
			if tag == tagPoints {
				b = append(b, b[:group.PointSize]...)
			}
			return [][]byte{b}
		}},
		{"a shorter message", Intersection, Sender, RuleLink, true, func(tag uint32, n int, b []byte) [][]byte {
			if tag == tagTags {
				b = b[:len(b)-tagSize]
			}
			return [][]byte{b}
		}},
		{"a batch left out", Intersection, Receiver, RuleLink, true, func(tag uint32, n int, b []byte) [][]byte {
			if tag == tagPoints && n == 0 {
				return nil
			}
			return [][]byte{b}
		}},
		{"another plan", Intersection, Sender, RulePlan, true, message(tagHello, 0, func(b []byte) { b[0] ^= 1 })},
		{"another nonce", Intersection, Sender, RuleTranscript, true, message(tagHello, 0, func(b []byte) { b[sm.Size] ^= 1 })},
		{"another verdict", IntersectionBoth, Sender, RuleMessage, false, message(tagVerdict, 0, func(b []byte) { b[0] = 2 })},
		{"a changed tag", Cardinality, Sender, RuleTranscript, true, message(tagTags, 0, func(b []byte) { b[len(b)-1] ^= 1 })},
		{"another transcript", Cardinality, Sender, RuleTranscript, true, message(tagConfirm, 0, func(b []byte) { b[31] ^= 1 })},
		{"ciphertext off the curve", JoinSum, Sender, RulePoint, false, message(tagPoints, 0, func(b []byte) { copy(b[len(b)-group.PointSize:], off) })},
		{"key of sums that is no point", JoinSum, Sender, RulePoint, false, message(tagHello, 0, func(b []byte) { clear(b[sm.Size+nonceSize:][:group.PointSize]) })},
		{"more matches than elements", JoinSum, Receiver, RuleMessage, false, message(tagSums, 0, func(b []byte) { b[6] = 1 })},
		{"a sum of nothing known", JoinSum, Receiver, RuleMessage, false, message(tagSums, 0, func(b []byte) { b[8] ^= 1 })},
		{"a sum that is no point", JoinSum, Receiver, RulePoint, false, message(tagSums, 0, func(b []byte) { clear(b[8:]) })},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := x
			if strings.Contains(c.name, "batch") {
				x = numbers(0, 1010) // two
			}
			if c.rule == RuleDuplicate && c.cheater == Sender {
				x = numbers(0, 20) // no padding, which the second tag could stand at: that is a rule of its own
			}
			err := play(t, configs(t, planFor(c.output, x, y), x, y, nil, nil), c.cheater, c.change)
			var a *Abort
			if !errors.As(err, &a) || a.Rule != c.rule || (a.Blame == nil) != c.nobody || a.Blame != nil && *a.Blame != c.cheater {
				t.Errorf("%v", err)
			}
		})
	}
}

// TestEveryChangedByteEndsTheJob: one bit in any message of either side, at some places of each.
func TestEveryChangedByteEndsTheJob(t *testing.T) {
	x, y := numbers(0, 12), numbers(8, 15)
	for _, o := range outputs {
		for _, side := range []Side{Receiver, Sender} {
			for _, tag := range []uint32{tagHello, tagPoints, tagTags, tagVerdict, tagSums, tagConfirm} {
				for _, place := range []int{0, 1, 17, 40, 150, -1} {
					touched := false
					change := message(tag, 0, func(b []byte) {
						if place < len(b) {
							i := place
							if i < 0 {
								i = len(b) - 1
							}
							b[i] ^= 4
							touched = true
						}
					})
					p := planFor(o, x, y)
					p.Threshold = 1
					c := configs(t, p, x, y, nil, nil)
					sends := map[uint32]bool{tagHello: true, tagPoints: true, tagConfirm: true, tagSums: o == JoinSum && side == Receiver}
					judge, judged := p.judge()
					sends[tagVerdict] = judged && judge == side
					for _, s := range p.steps() {
						sends[tagTags] = sends[tagTags] || s.from == side
					}
					if !sends[tag] {
						break
					}
					if tag == tagVerdict && place > 0 || tag == tagConfirm && place >= sm.Size || tag == tagSums && place >= 8+2*ciphertextSize {
						continue
					}
					err := play(t, c, side, change)
					if err == nil && touched {
						t.Errorf("%s: %v: message %x, byte %d: no abort", o, side, tag, place)
					}
				}
			}
		}
	}
}

// TestPaddingMeetsNothing: a sender that moves the tag of a match to where the receiver has padding is found out.
func TestPaddingMeetsNothing(t *testing.T) {
	x, y := numbers(0, 11), numbers(10, 20)
	c := configs(t, planFor(Intersection, x, y), x, y, nil, nil)
	m, err := newMasked(c[0].Plan, Receiver, x, nil, c[0].Secret)
	if err != nil {
		t.Fatal(err)
	}
	match, pad := -1, -1
	for place, r := range m.order {
		if r == 10 {
			match = place
		} else if r&padding != 0 {
			pad = place
		}
	}
	err = play(t, c, Sender, message(tagTags, 0, func(b []byte) {
		for i := range tagSize {
			b[match*tagSize+i], b[pad*tagSize+i] = b[pad*tagSize+i], b[match*tagSize+i]
		}
	}))
	var a *Abort
	if !errors.As(err, &a) || a.Rule != RulePadding || a.Blame == nil || *a.Blame != Sender {
		t.Errorf("%v", err)
	}
}

// cut ends a connection after so many bytes were written.
type cut struct {
	net.Conn
	left atomic.Int64
}

func (c *cut) Write(b []byte) (int, error) {
	left := c.left.Add(-int64(len(b)))
	if left >= 0 {
		return c.Conn.Write(b)
	}
	n := max(int64(len(b))+left, 0)
	if n > 0 {
		_, _ = c.Conn.Write(b[:n])
	}
	_ = c.Conn.Close()
	return int(n), net.ErrClosed
}

// TestTruncation: a connection that ends after any number of bytes ends the job on both sides, or its opening.
func TestTruncation(t *testing.T) {
	x, y := numbers(0, 10), numbers(5, 14)
	finished := false
	for n := int64(1); !finished; n += 97 {
		a, b := net.Pipe()
		c := &cut{Conn: b}
		c.left.Store(n)
		one, two, err := psitest.Over(a, c)
		if err != nil {
			continue
		}
		p := planFor(IntersectionBoth, x, y)
		r, errs := both(configs(t, p, x, y, one, two))
		one.Close()
		two.Close()
		if finished = errs[0] == nil && errs[1] == nil; finished {
			check(t, p, x, y, r)
			break
		}
		// The last message may have left when the connection ended: who has it may be done, who waits for it may not.
		if errs[1] == nil || r[1] != nil {
			t.Fatalf("%d bytes: the side that was cut has a result", n)
		}
		if errs[0] != nil && r[0] != nil {
			t.Fatalf("%d bytes: a result with an error", n)
		}
		if a := (*Abort)(nil); !errors.As(errs[1], &a) {
			t.Fatalf("%d bytes: %v", n, errs[1])
		}
	}
}

// TestStopped: a context that ends, ends both sides.
func TestStopped(t *testing.T) {
	x, y := numbers(0, 3000), numbers(0, 3000)
	a, b, err := psitest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	c := configs(t, planFor(Intersection, x, y), x, y, nil, nil)
	ctx, cancel := context.WithCancel(context.Background())
	c[0].Conn, c[1].Conn = &cheat{a, map[uint32]int{}, func(tag uint32, n int, m []byte) [][]byte {
		if tag == tagPoints && n == 1 {
			cancel()
		}
		return [][]byte{m}
	}}, b
	other := make(chan error, 1)
	go func() {
		_, err := Run(context.Background(), c[1])
		other <- err
	}()
	_, err = Run(ctx, c[0])
	if s := (*Abort)(nil); !errors.As(err, &s) || s.Rule != RuleStopped {
		t.Errorf("%v", err)
	}
	if err := <-other; !errors.Is(err, sandbox.Unavailable) && !errors.Is(err, sandbox.Tampered) {
		t.Errorf("the peer: %v", err)
	}
}

func TestWhatIsNoJob(t *testing.T) {
	x, y := numbers(0, 20), numbers(0, 10)
	good := func() Config { return configs(t, planFor(Intersection, x, y), x, y, nowhere{}, nowhere{})[0] }
	for _, c := range []struct {
		name   string
		kind   sandbox.Kind
		change func(c *Config)
	}{
		{"over the bucket", sandbox.TooLarge, func(c *Config) { c.Set = numbers(0, 21) }},
		{"an empty element", sandbox.Invalid, func(c *Config) { c.Set = set("a", "") }},
		{"a long element", sandbox.Invalid, func(c *Config) { c.Set = set(string(make([]byte, MaxElement+1))) }},
		{"offsets outside", sandbox.Invalid, func(c *Config) { c.Set.Offsets = slices.Clone(c.Set.Offsets); c.Set.Offsets[20]++ }},
		{"offsets that fall", sandbox.Invalid, func(c *Config) { c.Set = Set{Offsets: []int32{3, 1}, Data: make([]byte, 4)} }},
		{"negative offsets", sandbox.Invalid, func(c *Config) { c.Set = Set{Offsets: []int32{-1, 1}, Data: make([]byte, 4)} }},
		{"values for nothing", sandbox.Invalid, func(c *Config) { c.Values = [][]uint64{} }},
		{"no secret", sandbox.Invalid, func(c *Config) { c.Secret = nil }},
		{"a used secret", sandbox.Conflict, func(c *Config) { c.Secret.used.Store(true) }},
		{"a side that is none", sandbox.Invalid, func(c *Config) { c.Side = 2 }},
		{"a certificate for nothing", sandbox.Invalid, func(c *Config) { c.Certificate = &Certificate{} }},
		{"little memory", sandbox.Invalid, func(c *Config) { c.Memory = 1 }},
		{"one party", sandbox.Invalid, func(c *Config) { c.Plan.Parties[1] = c.Plan.Parties[0] }},
		{"no run", sandbox.Invalid, func(c *Config) { c.Plan.Run = "" }},
		{"an output that is none", sandbox.Invalid, func(c *Config) { c.Plan.Output = "union" }},
		{"a model it has not", sandbox.Invalid, func(c *Config) { c.Plan.Model = "malicious" }},
		{"a size that is no bucket", sandbox.Invalid, func(c *Config) { c.Plan.Sizes[0] = 21 }},
		{"a bucket over the limit", sandbox.TooLarge, func(c *Config) { c.Plan.Sizes[0] = 2 * MaxSize }},
		{"a threshold nobody meets", sandbox.Invalid, func(c *Config) { c.Plan.Threshold = 11 }},
		{"no authority", sandbox.Invalid, func(c *Config) { c.Plan.Authority[1] = Authority{} }},
		{"a list without a key", sandbox.Invalid, func(c *Config) { c.Plan.Authority[1] = Authority{Kind: Listed, List: &[sm.Size]byte{}} }},
		{"measures of nothing", sandbox.Invalid, func(c *Config) { c.Plan.Measures = 1 }},
		{"sums over the limit", sandbox.Invalid, func(c *Config) { c.Plan.Output, c.Plan.Measures, c.Plan.MaxValue = JoinSum, 1, 1<<40 }},
		{"no measure", sandbox.Invalid, func(c *Config) { c.Plan.Output, c.Plan.MaxValue = JoinSum, 1 }},
	} {
		cfg := good()
		c.change(&cfg)
		if _, err := Run(context.Background(), cfg); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	sender := configs(t, planFor(JoinSum, x, y), x, y, nowhere{}, nowhere{})[1]
	for name, change := range map[string]func(c *Config){
		"an element with two values": func(c *Config) { c.Set = set("a", "a"); c.Values = [][]uint64{{1, 1}, {1, 1}} },
		"a column too few":           func(c *Config) { c.Values = c.Values[:1] },
		"a row too few":              func(c *Config) { c.Values = [][]uint64{c.Values[0][1:], c.Values[1]} },
		"a value over the largest":   func(c *Config) { c.Values = [][]uint64{slices.Repeat([]uint64{1001}, 10), c.Values[1]} },
	} {
		cfg := sender
		cfg.Secret = secret(t)
		change(&cfg)
		if _, err := Run(context.Background(), cfg); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzHello: what a peer says first is a plan that agrees or an abort.
func FuzzHello(f *testing.F) {
	x, y := numbers(0, 10), numbers(0, 10)
	key, err := sm.NewSigningKey(bytes.NewReader(bytes.Repeat([]byte{7}, 64)))
	if err != nil {
		f.Fatal(err)
	}
	p := planFor(JoinSum, x, y)
	p.Authority[1] = Authority{Kind: Listed, Key: key.Public().Fingerprint(), List: &[sm.Size]byte{}}
	c := Config{Side: Receiver, Plan: p, Conn: nowhere{}, Set: x, Secret: secret(f), Workers: 1, Agency: key.Public()}
	j, err := newJob(&c)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(j.close)
	good := make([]byte, helloSize)
	copy(good, j.m.digest[:])
	g := j.m.key.Base()
	g.Append(good[sm.Size+nonceSize:][:0])
	f.Add(good)
	for _, at := range []int{0, sm.Size + nonceSize, helloSize - maxSig - 1} {
		b := bytes.Clone(good)
		b[at] = 0xff
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != helloSize { // the connection gives no other
			return
		}
		var a *Abort
		if err := j.greet(b); !errors.As(err, &a) { // nobody can sign for the agency
			t.Fatal(err)
		}
	})
}

func ExampleBucket() {
	fmt.Println(Bucket(0), Bucket(11), Bucket(1_000_000), Bucket(1_000_001))
	// Output: 10 20 1000000 2000000
}
