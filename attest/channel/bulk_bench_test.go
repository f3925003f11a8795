package channel

import (
	"crypto/rand"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"
)

// cpu is the processor time of the process so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func loopback(b *testing.B) (net.Conn, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	a, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return a, c
}

// rawCopy moves n chunks over loopback TCP and gives the processor time of both ends together.
func rawCopy(b *testing.B, chunk []byte, n int) (spent, took time.Duration) {
	a, c := loopback(b)
	start, from := cpu(b), time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, len(chunk))
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
		}
	})
	for range n {
		if _, err := a.Write(chunk); err != nil {
			b.Fatal(err)
		}
	}
	_ = a.Close()
	wg.Wait()
	_ = c.Close()
	return cpu(b) - start, time.Since(from)
}

// BenchmarkBulkLoopback sends sealed, acknowledged frames over loopback TCP and sets them beside a raw copy of as many
// bytes in the same run: GB per second of processor time of both ends, of wall time, and the ratios to raw.
func BenchmarkBulkLoopback(b *testing.B) {
	for name, size := range map[string]int{"1MiB": MaxFrame, "64KiB": 64 << 10, "4KiB": 4 << 10} {
		b.Run(name, func(b *testing.B) {
			e := newEnds(b)
			chunk := make([]byte, size)
			if _, err := rand.Read(chunk); err != nil {
				b.Fatal(err)
			}
			n := max(b.N, 256<<20/size)
			rawSpent, rawTook := rawCopy(b, chunk, n)
			a, c := loopback(b)
			s, r := e.connect(b, a, c, rand.Reader, 0)
			b.ReportAllocs()
			b.ResetTimer()
			start, from := cpu(b), time.Now()
			var wg sync.WaitGroup
			wg.Go(func() {
				held := 0
				for {
					p, seq, err := r.Recv()
					if err == io.EOF {
						if err := r.Finish(); err != nil {
							b.Error(err)
						}
						return
					}
					if err != nil {
						b.Error(err)
						return
					}
					if held += len(p); held >= 1<<20 {
						held = 0
						if err := r.Ack(seq); err != nil {
							b.Error(err)
							return
						}
					}
				}
			})
			for range n {
				if _, err := s.Send(chunk); err != nil {
					b.Fatal(err)
				}
			}
			if err := s.Finish(); err != nil {
				b.Fatal(err)
			}
			wg.Wait()
			spent, took := cpu(b)-start, time.Since(from)
			b.StopTimer()
			gb := float64(n) * float64(size) / 1e9
			b.ReportMetric(gb/spent.Seconds(), "GB/cpu-s")
			b.ReportMetric(gb/took.Seconds(), "GB/s")
			b.ReportMetric(gb/rawSpent.Seconds(), "raw-GB/cpu-s")
			b.ReportMetric(rawSpent.Seconds()/spent.Seconds(), "ratio-cpu")
			b.ReportMetric(rawTook.Seconds()/took.Seconds(), "ratio-wall")
		})
	}
}

// TestBulkAllocatesNothingPerFrame, on either side, once a connection is warm.
func TestBulkAllocatesNothingPerFrame(t *testing.T) {
	e := newEnds(t)
	a, c := net.Pipe()
	s, r := e.connect(t, a, c, rand.Reader, 0)
	p := make([]byte, 1<<10)
	got := make(chan uint64)
	go func() {
		defer close(got)
		for {
			_, seq, err := r.Recv()
			if err == io.EOF {
				err = r.Finish()
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil {
				err = r.Ack(seq)
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	}()
	n := testing.AllocsPerRun(2000, func() {
		seq, err := s.Send(p)
		if err == nil {
			err = s.Wait(seq)
		}
		if err != nil {
			t.Error(err)
		}
	})
	if n >= 1 {
		t.Errorf("%v allocations a frame", n)
	}
	if err := s.Finish(); err != nil {
		t.Error(err)
	}
	<-got
}
