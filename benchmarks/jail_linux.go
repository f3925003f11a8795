package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox/jail"
)

const (
	jailStarts = 40
	columnSize = 256 << 20
	chunk      = 1 << 20
)

const module = "github.com/opdomain/opdomain"

// jailLines adds a section on the jail: starts, hand-over of a column, ends. It builds its plug-ins from the project's folder.
func jailLines(lines []string) ([]string, error) {
	dir, err := os.MkdirTemp("", "opdomain-jail-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	for name, pkg := range map[string]string{"goplugin": module + "/benchmarks/testdata/goplugin", "column": module + "/benchmarks/testdata/column", "opdomain-jail": module + "/cmd/opdomain-jail", "opdomain": module + "/cmd/opdomain"} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Env, cmd.Stderr = os.Environ(), os.Stderr
		if name != "opdomain" { // as it comes
			cmd.Env = append(cmd.Env, "CGO_ENABLED=0")
		}
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("benchmarks: build %s, from the project's folder: %w", pkg, err)
		}
	}
	code, err := os.ReadFile(filepath.Join(dir, "column"))
	if err != nil {
		return nil, err
	}
	start := time.Now()
	img, err := jail.NewImage(bytes.NewReader(code), sm.Sum(code))
	if err != nil {
		return nil, err
	}
	defer img.Close()
	sealing := time.Since(start)
	lines = append(lines, "", "## The jail", "",
		fmt.Sprintf("From start to the first answer, of programs of equal size, %d times each, the kinds one after the other in every round (one process of each kind waits in stage 1, before it knows its job); and the time from SIGKILL until process and group are gone. "+
			"By the wall clock: other load on the machine shows. An image of %d MiB is copied, sealed and hashed by SM3 once per registered image, here in %d ms.", jailStarts, len(code)>>20, sealing.Milliseconds()), "",
		"| start | best ms | median ms | ÷ unconfined (median) | goal | end, median ms |", "|---|---:|---:|---:|---|---:|")
	kinds := []struct {
		name, program string
		tier          jail.Tier
	}{
		{"T1 through opdomain-jail", "opdomain-jail", jail.T1}, {"T1p through opdomain-jail", "opdomain-jail", jail.T1p}, {"T1 through opdomain itself", "opdomain", jail.T1},
	}
	launchers := make([]*jail.Launcher, len(kinds))
	starts, ends, bursts := make([][]float64, len(kinds)+1), make([][]float64, len(kinds)), []float64{}
	for i, k := range kinds {
		if launchers[i], err = jail.New(jail.Config{Program: filepath.Join(dir, k.program)}); err != nil {
			return nil, err
		}
		defer launchers[i].Close()
		if missing := launchers[i].Probe().Missing(k.tier); len(missing) > 0 {
			return append(lines, "", fmt.Sprintf("SKIPPED ALOUD: %s lacks %s: %s", k.tier, missing[0].Name, missing[0].Detail)), nil
		}
		if _, _, err := startOnce(launchers[i], k.tier, img, nil); err != nil { // with its canary
			return nil, err
		}
	}
	for range jailStarts {
		for i, k := range kinds {
			s, e, err := startOnce(launchers[i], k.tier, img, nil)
			if err != nil {
				return nil, err
			}
			starts[i], ends[i] = append(starts[i], s), append(ends[i], e)
		}
		b, err := burst(launchers[0], img)
		if err != nil {
			return nil, err
		}
		bursts = append(bursts, b)
		out, err := exec.Command(filepath.Join(dir, "goplugin"), "host", "1").Output()
		if err != nil {
			return nil, err
		}
		ns, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
		if err != nil {
			return nil, err
		}
		starts[len(kinds)] = append(starts[len(kinds)], ns/1e6)
	}
	plain := median(starts[len(kinds)])
	lines = append(lines, fmt.Sprintf("| T1, the later of two at once: none waits for it | %.1f | %.1f | %.2f | | |", slices.Min(bursts), median(bursts), median(bursts)/plain))
	for i, k := range kinds {
		lines = append(lines, fmt.Sprintf("| %s | %.1f | %.1f | %.2f | ≤ 25 ms, ≤ 3 | %.1f |", k.name, slices.Min(starts[i]), median(starts[i]), median(starts[i])/plain, median(ends[i])))
	}
	lines = append(lines, fmt.Sprintf("| go-plugin, unconfined | %.1f | %.1f | 1.00 | | |", slices.Min(starts[len(kinds)]), plain))
	return columnLines(lines, launchers[0], img)
}

// burst starts two at once and gives the milliseconds until both have answered.
func burst(l *jail.Launcher, img *jail.Image) (float64, error) {
	begin, done := time.Now(), make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := startOnce(l, jail.T1, img, nil)
			done <- err
		}()
	}
	err := errors.Join(<-done, <-done)
	return float64(time.Since(begin).Microseconds()) / 1e3, err
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// startOnce gives the milliseconds of a start and of its end.
func startOnce(l *jail.Launcher, t jail.Tier, img *jail.Image, d *jail.Dataset) (start, end float64, err error) {
	begin := time.Now()
	p, err := l.Start(context.Background(), jail.Job{Tier: t, Image: img, Dataset: d})
	if err != nil {
		return 0, 0, err
	}
	start = float64(time.Since(begin).Microseconds()) / 1e3
	begin = time.Now()
	p.Kill(jail.Closed)
	<-p.Done()
	end = float64(time.Since(begin).Microseconds()) / 1e3
	return start, end, p.Close()
}

// columnLines compares the two ways of giving a plug-in a column: the same process sums the same numbers.
func columnLines(lines []string, l *jail.Launcher, img *jail.Image) ([]string, error) {
	column := make([]byte, columnSize)
	var want int64
	for i := 0; i < len(column); i += 8 {
		v := int64(i * 2654435761 % 1000)
		binary.NativeEndian.PutUint64(column[i:], uint64(v))
		want += v
	}
	fills, maps, streams := []float64{}, []float64{}, []float64{}
	for range 5 {
		begin := time.Now()
		d, err := jail.NewDataset(func(w io.Writer) error { _, err := w.Write(column); return err })
		if err != nil {
			return nil, err
		}
		fills = append(fills, time.Since(begin).Seconds())
		p, err := l.Start(context.Background(), jail.Job{Tier: jail.T1, Image: img, Dataset: d, Limits: jail.Limits{Memory: 1 << 30}})
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		begin = time.Now()
		var out wrapperspb.Int64Value
		err = p.Conn().Invoke(context.Background(), "/column/Mapped", wrapperspb.Int64(0), &out)
		maps = append(maps, time.Since(begin).Seconds())
		if err == nil && out.Value != want {
			err = errors.New("benchmarks: another sum")
		}
		var took float64
		if err == nil {
			took, err = streamed(p, column, want)
		}
		streams = append(streams, took)
		if err = errors.Join(err, p.Close(), d.Close()); err != nil {
			return nil, err
		}
	}
	gb := float64(columnSize) / 1e9
	fill, mapped, stream := slices.Min(fills), slices.Min(maps), slices.Min(streams)
	lines = append(lines, "", fmt.Sprintf("A column of %d MiB, summed by the plug-in in T1; best of five. One filling serves any number of plug-ins.", columnSize>>20), "",
		"| hand-over | GB/s | ÷ gRPC | goal |", "|---|---:|---:|---|",
		fmt.Sprintf("| gRPC stream of 1 MiB messages | %.2f | 1.0 | |", gb/stream),
		fmt.Sprintf("| sealed memory, filled for this one plug-in | %.2f | %.1f | ≥ 5 |", gb/(fill+mapped), stream/(fill+mapped)),
		fmt.Sprintf("| sealed memory, filled before | %.2f | %.1f | ≥ 5 |", gb/mapped, stream/mapped))
	return lines, nil
}

func streamed(p *jail.Process, column []byte, want int64) (float64, error) {
	begin := time.Now()
	s, err := p.Conn().NewStream(context.Background(), &grpc.StreamDesc{ClientStreams: true}, "/column/Streamed")
	if err != nil {
		return 0, err
	}
	for at := 0; at < len(column); at += chunk {
		if err := s.SendMsg(wrapperspb.Bytes(column[at : at+chunk])); err != nil {
			return 0, err
		}
	}
	if err := s.CloseSend(); err != nil {
		return 0, err
	}
	var out wrapperspb.Int64Value
	if err := s.RecvMsg(&out); err != nil {
		return 0, err
	}
	if out.Value != want {
		return 0, errors.New("benchmarks: another sum")
	}
	return time.Since(begin).Seconds(), nil
}
