package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"sync"
	"time"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/psitest"
	"github.com/opdomain/opdomain/mpc/share"
)

// The emulated line: its rate each way, and how late what is sent on it arrives.
const (
	wanRate    = 100e6 / 8
	wanLate    = 20 * time.Millisecond
	wanRows    = 1_000_000
	wanSet     = psiSmall
	wanSmall   = 10
	wanHeader  = "| lines of 100 Mbit/s and 20 ms, all parties in one process | wall ms | CPU ms, all parties | MB sent by a party | rounds | bytes a row |\n|---|---:|---:|---:|---:|---:|"
	wanProgram = "go run ./benchmarks wan"
)

// wanLines measures sums over shares and set intersections over emulated lines, beside the plain computation over the same lines.
func wanLines(ctx context.Context, lines []string, repeat int) ([]string, error) {
	lines = append(lines, "", "### Sums and set intersection over lines of 100 Mbit/s and 20 ms", "", wanHeader)
	var cols [3][]uint64
	want := uint64(0)
	for i := range cols {
		cols[i] = make([]uint64, wanRows)
		for k := range cols[i] {
			cols[i][k] = uint64(k*2654435761+i) >> 7
			want += cols[i][k]
		}
	}
	line := shape(wanRate, wanLate)
	plain, err := plainSum(repeat, line, cols)
	if err != nil {
		return lines, err
	}
	sealed, err := sealedSum(repeat, line, cols)
	if err != nil {
		return lines, err
	}
	lines = append(lines, plain.row("plain sums of 3×1M, each column's bytes moved once", wanRows), sealed.row("plain sums of 3×1M, each column's bytes moved once, sealed", wanRows))
	var ratios []string
	nothing := func(*share.Engine, *share.Opener, int) error { return nil }
	for _, c := range []struct {
		name string
		g    share.Generator
	}{{"3-party sum of 3×1M, AES generator, sealed", share.AESGenerator}, {"3-party sum of 3×1M, SM4 generator, sealed", share.SM4Generator}} {
		m, err := three(repeat, true, line, share.SemiHonest, c.g, nothing, sumProgram(cols, want))
		if err != nil {
			return lines, err
		}
		lines = append(lines, m.row(c.name, wanRows))
		ratios = append(ratios, fmt.Sprintf("- %s ÷ plain: %.2f by wall; ÷ plain, sealed too: %.2f by wall, %.2f by CPU", c.name, float64(m.wall)/float64(plain.wall), float64(m.wall)/float64(sealed.wall), float64(m.cpu)/float64(sealed.cpu)))
	}
	open, err := plainIntersection(repeat, line, wanSet)
	if err != nil {
		return lines, err
	}
	size := fmt.Sprintf("%d×%d", wanSet, wanSet)
	lines = append(lines, open.row("plain intersection of "+size+", one side's elements moved once, found in a table", wanSet))
	for _, o := range []psi.Output{psi.Intersection, psi.CardinalityBoth} {
		m, err := wanIntersection(ctx, repeat, line, o, wanSet)
		if err != nil {
			return lines, err
		}
		// What goes one after another does not hang on the sets: a line without a rate and a set that costs nothing show it.
		steps, err := wanIntersection(ctx, repeat, shape(math.Inf(1), wanLate), o, wanSmall)
		if err != nil {
			return lines, err
		}
		m.rounds = int(steps.wall / wanLate)
		lines = append(lines, m.row(fmt.Sprintf("set intersection of %s, %s, sealed", size, o), wanSet))
		ratios = append(ratios, fmt.Sprintf("- set intersection of %s, %s ÷ plain: %.1f by wall; bytes of both sides ÷ plain: %.1f", size, o, float64(m.wall)/float64(open.wall), float64(m.both)/float64(open.sent)))
	}
	lines = append(append(lines, ""), ratios...)
	return append(lines, "", "Bytes are payload; of a set intersection those of the busier side, with their seals. Rounds of shares are counted by the engine; of a set intersection they are how many times 20 ms pass one after another in a job of ten elements on a line without a rate. Multiplication and comparison over such lines stand above. `"+wanProgram+"` measures this part alone."), nil
}

// loopback gives both ends of a connection on this machine.
func loopback() (x, y net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	if x, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	if y, err = l.Accept(); err != nil {
		_ = x.Close()
	}
	return x, y, err
}

// wanIntersection runs both sides of a job over a shaped connection.
func wanIntersection(ctx context.Context, repeat int, shape func(net.Conn) net.Conn, o psi.Output, n int) (best measured, err error) {
	for k := range repeat {
		x, y, err := loopback()
		if err != nil {
			return best, err
		}
		a, b, err := psitest.Over(shape(x), shape(y))
		if err != nil {
			return best, err
		}
		before := [2]int64{a.Sent(), b.Sent()}
		cpu, wall, err := psiBoth(ctx, a, b, o, n)
		if err != nil {
			return best, err
		}
		sent := [2]int64{a.Sent() - before[0], b.Sent() - before[1]}
		if k == 0 || wall < best.wall {
			best = measured{wall: wall, cpu: cpu, sent: max(sent[0], sent[1]), both: sent[0] + sent[1]}
		}
	}
	return best, nil
}

// plainIntersection is the yardstick: one side sends its elements in the open, the other looks its own up among them.
func plainIntersection(repeat int, shape func(net.Conn) net.Conn, n int) (best measured, err error) {
	for k := range repeat {
		x, y, err := loopback()
		if err != nil {
			return best, err
		}
		a, b := shape(x), shape(y)
		mine, theirs := psiSet(0, n), psiSet(n/2, n)
		const width = 18
		wall, cpu := time.Now(), processorTime()
		var wg sync.WaitGroup
		var serr error
		wg.Go(func() {
			const part = 1024 * width
			for lo := 0; lo < len(theirs.Data) && serr == nil; lo += part {
				_, serr = b.Write(theirs.Data[lo:min(lo+part, len(theirs.Data))])
			}
		})
		found := 0
		got := make([]byte, len(theirs.Data))
		_, err = io.ReadFull(a, got)
		if err == nil {
			has := make(map[[width]byte]bool, n)
			for at := 0; at < len(got); at += width {
				has[[width]byte(got[at:])] = true
			}
			for at := 0; at < len(mine.Data); at += width {
				if has[[width]byte(mine.Data[at:])] {
					found++
				}
			}
		}
		wg.Wait()
		m := measured{wall: time.Since(wall), cpu: processorTime() - cpu, sent: int64(len(got)), both: int64(len(got)), rounds: 1}
		_, _ = a.Close(), b.Close()
		if found != n-n/2 && err == nil {
			err = errors.New("another intersection than the plain one")
		}
		if err = errors.Join(err, serr); err != nil {
			return best, err
		}
		if k == 0 || m.wall < best.wall {
			best = m
		}
	}
	return best, nil
}
