package api_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
)

// BenchmarkSignedRequests: 64 clients in this process sign and send GET /v1/datasets over loopback, each on its own
// connection; the server proves the signature, spends the nonce durably in a real store, and answers. CPU is that of both
// sides together.
func BenchmarkSignedRequests(b *testing.B) {
	s := open(b)
	closed := s.keep(b.TempDir())
	defer closed()
	s.serve(loopback(b), func(c *Config) {
		c.Log = slog.New(slog.DiscardHandler)
		c.Limits = Limits{AddressRate: 1e9, AddressBurst: 1 << 30, IdentityRate: 1e9, IdentityBurst: 1 << 30}
	})
	const clients = 64
	transport := &http.Transport{MaxIdleConnsPerHost: clients, MaxConnsPerHost: clients, DisableCompression: true}
	defer transport.CloseIdleConnections()
	var who []sandbox.IdentityID
	for id := range s.signers {
		who = append(who, id)
	}
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for {
				n := next.Add(1)
				if n > int64(b.N) {
					return
				}
				if n%1000 == 0 { // a second passes: nonces expire and are swept
					_ = s.clock.Sleep(context.Background(), time.Second)
				}
				r := s.sign(s.request("GET", "/v1/datasets", "", ""), who[i%len(who)])
				resp, err := transport.RoundTrip(r)
				if err != nil {
					b.Error(err)
					return
				}
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != 200 {
					b.Error(resp.Status, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	cpu := func(r syscall.Rusage) float64 {
		return float64(r.Utime.Nano()+r.Stime.Nano()) / 1e9
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
	b.ReportMetric((cpu(after)-cpu(before))/float64(b.N), "cpu-s/request")
}
