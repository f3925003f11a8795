package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/psitest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/vault"
)

const (
	psiHeader = "| what | measured | goal |\n|---|---:|---:|"
	psiSmall  = 10_000
	psiDST    = "opdomain/benchmark/psi"
	// psiParty is the argument under which this program is the second party of a job in two processes.
	psiParty = "psi-party"
)

// psiSet gives n elements of 18 characters, from is the first's number.
func psiSet(from, n int) psi.Set {
	s := psi.Set{Offsets: make([]int32, 1, n+1), Data: make([]byte, 0, 18*n)}
	for i := range n {
		s.Data = fmt.Appendf(s.Data, "3201021990%08d", from+i)
		s.Offsets = append(s.Offsets, int32(len(s.Data)))
	}
	return s
}

func psiPlan(o psi.Output, n int) *psi.Plan {
	b := psi.Bucket(n)
	return &psi.Plan{Run: "run-benchmark", Parties: [2]sandbox.PartyID{"bank", "bureau"}, Output: o, Model: psi.SemiHonest,
		Sizes: [2]int{b, b}, Authority: [2]psi.Authority{{Kind: psi.Audited}, {Kind: psi.Audited}}}
}

// psiJob runs both sides in this process over a sealed loopback connection and gives its processor time and bytes.
func psiJob(ctx context.Context, o psi.Output, n int) (cpu, wall time.Duration, sent int64, err error) {
	a, b, err := psitest.Loopback()
	if err != nil {
		return 0, 0, 0, err
	}
	cpu, wall, err = psiBoth(ctx, a, b, o, n)
	return cpu, wall, a.Sent() + b.Sent(), err
}

// psiBoth runs both sides over the ends of a connection, which it closes.
func psiBoth(ctx context.Context, a, b *psitest.Conn, o psi.Output, n int) (cpu, wall time.Duration, err error) {
	x, y, plan := psiSet(0, n), psiSet(n/2, n), psiPlan(o, n)
	defer a.Close()
	defer b.Close()
	var results [2]*psi.Result
	var errs [2]error
	start, at := processorTime(), time.Now()
	var wg sync.WaitGroup
	for side, c := range []*psitest.Conn{a, b} {
		secret, err := psi.NewSecret(rand.Reader)
		if err != nil {
			return 0, 0, err
		}
		set := []psi.Set{x, y}[side]
		wg.Go(func() {
			results[side], errs[side] = psi.Run(ctx, psi.Config{Side: psi.Side(side), Plan: plan, Conn: c, Set: set, Secret: secret})
		})
	}
	wg.Wait()
	cpu, wall = processorTime()-start, time.Since(at)
	if err := errors.Join(errs[:]...); err != nil {
		return 0, 0, err
	}
	if results[0].Cardinality != n-n/2 {
		return 0, 0, fmt.Errorf("benchmarks: psi: %d in common, not %d", results[0].Cardinality, n-n/2)
	}
	return cpu, wall, nil
}

// psiParts gives the processor time of hashing as many elements, and of as many scalar multiplications, as both sides of a job do, on as many
// goroutines as a job has: two threads that share a core each take longer than one that has it alone, and a job's do share.
func psiParts(n int) (hashing, products, parsing time.Duration, err error) {
	k, err := group.NewScalar(rand.Reader)
	if err != nil {
		return 0, 0, 0, err
	}
	const batch = 1024
	set, points, encoded := psiSet(0, n), make([]group.Point, n), make([]byte, group.PointSize*n)
	each := func(do func(h *group.Hasher, from, to int) error) (time.Duration, error) {
		var wg sync.WaitGroup
		errs := make([]error, runtime.GOMAXPROCS(0))
		start := processorTime()
		for w := range errs {
			wg.Go(func() {
				h, err := group.NewHasher(psiDST)
				for from := w * batch; from < n && err == nil; from += len(errs) * batch {
					err = do(h, from, min(from+batch, n))
				}
				errs[w] = err
			})
		}
		wg.Wait()
		return 2 * (processorTime() - start), errors.Join(errs...)
	}
	if hashing, err = each(func(h *group.Hasher, from, to int) error {
		h.Points(points[from:to], set.Offsets[from:to+1], set.Data)
		return nil
	}); err != nil {
		return 0, 0, 0, err
	}
	if products, err = each(func(_ *group.Hasher, from, to int) error {
		for i := from; i < to; i++ {
			points[i] = k.Mult(&points[i])
			points[i] = k.Mult(&points[i])
		}
		return nil
	}); err != nil {
		return 0, 0, 0, err
	}
	for i := range points {
		points[i].Append(encoded[i*group.PointSize : i*group.PointSize])
	}
	parsing, err = each(func(_ *group.Hasher, from, to int) (err error) {
		for i := from; i < to && err == nil; i++ {
			points[i], err = group.ParsePoint(encoded[i*group.PointSize : (i+1)*group.PointSize])
		}
		return err
	})
	return hashing, products, parsing, err
}

// psiLines measures jobs of n×n elements against their own scalar multiplications, all in turn in each round; the best of each counts.
func psiLines(ctx context.Context, lines []string, n, repeat int) ([]string, error) {
	var hashing, products, parsing, cpu, total, wall time.Duration
	var sent int64
	best := func(a *time.Duration, b time.Duration) {
		if *a == 0 || b < *a {
			*a = b
		}
	}
	for range repeat {
		h, p, d, err := psiParts(n)
		if err != nil {
			return nil, err
		}
		c, w, s, err := psiJob(ctx, psi.Intersection, n)
		if err != nil {
			return nil, err
		}
		k, _, _, err := psiJob(ctx, psi.CardinalityBoth, n)
		if err != nil {
			return nil, err
		}
		best(&hashing, h)
		best(&products, p)
		best(&parsing, d)
		best(&cpu, c)
		best(&wall, w)
		best(&total, k)
		sent = s
	}
	each := func(d time.Duration, parts int) string {
		return fmt.Sprintf("%.1f µs", d.Seconds()*1e6/float64(parts*n))
	}
	size := fmt.Sprintf("%d×%d", n, n)
	return append(lines, psiHeader,
		fmt.Sprintf("| hashing to the SM2 curve (SSWU, SM3), constant time, an element | %s | – |", each(hashing, 2)),
		fmt.Sprintf("| scalar multiplication, a point to a point | %s | – |", each(products, 4)),
		fmt.Sprintf("| decoding a compressed point, with its checks | %s | – |", each(parsing, 2)),
		fmt.Sprintf("| intersection %s: core time without hashing ÷ its own 2n scalar multiplications a party | %.3f | ≤ 1.15 |", size, (cpu-hashing).Seconds()/products.Seconds()),
		fmt.Sprintf("| cardinality to both %s: the same | %.3f | ≤ 1.15 |", size, (total-hashing).Seconds()/products.Seconds()),
		fmt.Sprintf("| intersection %s, hashing included: pairs of elements, each core and party | %.0f /s | – |", size, 2*float64(n)/cpu.Seconds()),
		fmt.Sprintf("| the same by the clock, both parties on this machine | %.0f /s | – |", float64(n)/wall.Seconds()),
		fmt.Sprintf("| bytes on the link for a pair of elements, both directions | %.0f | – |", float64(sent)/float64(n))), nil
}

// psiSizes says which jobs of two processes run.
type psiSizes struct {
	million, soak bool
	elements      int
}

// psiSection measures set intersection alone.
func psiSection(ctx context.Context, out io.Writer, repeat int, sizes psiSizes) (err error) {
	lines := []string{psiHeader}
	if sizes.elements == 0 {
		if lines, err = psiLines(ctx, nil, psiSmall, repeat); err != nil {
			return err
		}
	}
	for _, big := range []struct {
		run  bool
		name string
		n    int
		mem  int64
	}{{sizes.elements == 0, "10k×10k", 10_000, 256 << 10}, {sizes.million, "1M×1M", 1_000_000, 32 << 20}, {sizes.soak, "10M×10M", 10_000_000, psi.DefaultMemory},
		{sizes.elements > 0, fmt.Sprintf("%d×%d", sizes.elements, sizes.elements), sizes.elements, 32 << 20}} {
		if !big.run {
			continue
		}
		line, err := psiProcesses(ctx, big.name, big.n, big.mem)
		if err != nil {
			return err
		}
		lines = append(lines, line)
	}
	fmt.Fprint(out, machine(), "\n")
	for _, l := range lines {
		fmt.Fprintln(out, l)
	}
	return nil
}

// psiOrder is what the second process is told on its standard input.
type psiOrder struct {
	Addr               string
	Rows               int
	Memory             int64
	Sign, Open         []byte
	PeerSign, PeerOpen []byte
}

// psiReport is what it says at its end.
type psiReport struct {
	Cardinality int
	CPU         time.Duration
	Peak        int64 // bytes of memory at most
}

// psiSide runs one side over an open connection. Tags over the memory limit go sealed to a temporary folder.
func psiSide(ctx context.Context, side psi.Side, c *psitest.Conn, rows int, memory int64) (*psi.Result, error) {
	dir, err := os.MkdirTemp("", "opdomain-psi-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	spill, err := vault.SpillIn(durable.OS(), dir, rand.Reader)
	if err != nil {
		return nil, err
	}
	defer spill.Close()
	secret, err := psi.NewSecret(rand.Reader)
	if err != nil {
		return nil, err
	}
	debug.SetMemoryLimit(1536 << 20)
	return psi.Run(ctx, psi.Config{Side: side, Plan: psiPlan(psi.IntersectionBoth, rows), Conn: c, Set: psiSet(int(side)*(rows/2), rows), Secret: secret,
		Memory: memory, Spill: func() (psi.SpillFile, error) { return spill.Create() }})
}

// psiProcesses runs a job of n×n elements between this process and a second one and gives its line.
func psiProcesses(ctx context.Context, name string, n int, memory int64) (string, error) {
	one, err := psitest.NewIdentity("party-one")
	if err != nil {
		return "", err
	}
	two, err := psitest.NewIdentity("party-two")
	if err != nil {
		return "", err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	order, err := json.Marshal(psiOrder{Addr: l.Addr().String(), Rows: n, Memory: memory, Sign: two.Sign.Bytes(), Open: two.Open.Bytes(),
		PeerSign: one.Sign.Public().Bytes(), PeerOpen: one.Open.Public().Bytes()})
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, self, psiParty)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	start, at := processorTime(), time.Now()
	if err := cmd.Start(); err != nil {
		return "", err
	}
	_, err = in.Write(append(order, '\n'))
	_ = in.Close()
	var raw net.Conn
	if err == nil {
		raw, err = l.Accept()
	}
	var r *psi.Result
	if err == nil {
		var c *psitest.Conn
		if c, err = psitest.Open(raw, one, two.ID, two.Sign.Public(), two.Open.Public()); err == nil {
			r, err = psiSide(ctx, psi.Receiver, c, n, memory)
			c.Close()
		}
	}
	var there psiReport
	if err == nil {
		err = json.NewDecoder(out).Decode(&there)
	}
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return "", fmt.Errorf("benchmarks: %s: %w", name, err)
	}
	if want := n - n/2; r.Cardinality != want || there.Cardinality != want {
		return "", fmt.Errorf("benchmarks: %s: %d and %d in common, not %d", name, r.Cardinality, there.Cardinality, want)
	}
	wall, cpu := time.Since(at), processorTime()-start
	return fmt.Sprintf("| %s, two processes, intersection to both, tags over %d KiB spilled sealed | %.0f s, %.0f and %.0f core-s, at most %d and %d MiB | < 2048 MiB |", name,
		memory>>10, wall.Seconds(), cpu.Seconds(), there.CPU.Seconds(), peakMemory()>>20, there.Peak>>20), nil
}

// psiPartyMain is the second process.
func psiPartyMain(ctx context.Context, in io.Reader, out io.Writer) error {
	line, err := bufio.NewReader(in).ReadBytes('\n')
	if err != nil {
		return err
	}
	var o psiOrder
	if err := json.Unmarshal(line, &o); err != nil {
		return err
	}
	self := &psitest.Identity{ID: "party-two"}
	if self.Sign, err = sm.ParseSigningKey(o.Sign); err != nil {
		return err
	}
	if self.Open, err = sm.ParseDecryptKey(o.Open); err != nil {
		return err
	}
	verify, err := sm.ParseVerifyKey(o.PeerSign)
	if err != nil {
		return err
	}
	encrypt, err := sm.ParseEncryptKey(o.PeerOpen)
	if err != nil {
		return err
	}
	raw, err := net.Dial("tcp", o.Addr)
	if err != nil {
		return err
	}
	c, err := psitest.Open(raw, self, "party-one", verify, encrypt)
	if err != nil {
		return err
	}
	defer c.Close()
	r, err := psiSide(ctx, psi.Sender, c, o.Rows, o.Memory)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(psiReport{r.Cardinality, processorTime(), peakMemory()})
}
