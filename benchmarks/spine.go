package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/apache/arrow/go/v17/arrow/ipc"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/node"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// The spine's lines are rates a second, of the wall clock, and what one took of processor time.
const spineHeader = "| what | rate | processor time each | goal |\n|---|---:|---:|---:|"

// spine measures what carries everything else: the evidence log, signed requests, changes of state, a push against raw TCP.
type spine struct {
	sealed *sealed
	dir    string
}

// rate runs f, which does n things, and gives a line.
func rate(name, goal string, n int, f func() error) (string, error) {
	wall, cpu := time.Now(), processorTime()
	if err := f(); err != nil {
		return "", fmt.Errorf("benchmarks: %s: %w", name, err)
	}
	took, used := time.Since(wall), processorTime()-cpu
	return fmt.Sprintf("| %s | %.0f /s | %.1f µs | %s |", name, float64(n)/took.Seconds(), float64(used.Nanoseconds())/1e3/float64(n), goal), nil
}

func (s *spine) lines(ctx context.Context) ([]string, error) {
	out := []string{spineHeader}
	for _, f := range []func(context.Context) (string, error){s.prepare, s.oneByOne, s.batched, s.requests, s.changes, s.decisions} {
		line, err := f(ctx)
		if err != nil {
			return nil, err
		}
		out = append(out, line)
	}
	return out, nil
}

type oneKey struct{}

func (oneKey) AudienceKey(string) ([]byte, error) { return make([]byte, sm.KeySize), nil }

func (s *spine) recorder(name string) (*attest.Recorder, error) {
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	log, err := tlog.Create(tlog.Config{Dir: filepath.Join(s.dir, name), Origin: "opdomain/benchmark", Key: key, Rand: rand.Reader})
	if err != nil {
		return nil, err
	}
	return attest.NewRecorder(log, key, oneKey{}, rand.Reader)
}

func event(i int) (string, attest.BundleExportedBody) {
	return fmt.Sprintf("bundle/%d", i), attest.BundleExportedBody{Audience: "agency", Size: uint64(i)}
}

// prepare signs and seals events.
func (s *spine) prepare(context.Context) (string, error) {
	r, err := s.recorder("prepare")
	if err != nil {
		return "", err
	}
	defer r.Close()
	const n = 5000
	return rate("evidence: sign and seal an event for two audiences, one core", "–", n, func() error {
		for i := range n {
			object, body := event(i)
			if _, err := r.Prepare(time.Unix(0, 0), "domain", object, attest.BundleExported, body, "agency", "auditors"); err != nil {
				return err
			}
		}
		return nil
	})
}

// oneByOne has 256 callers record an event each, over and over: signed, sealed, durable under a checkpoint.
func (s *spine) oneByOne(ctx context.Context) (string, error) {
	r, err := s.recorder("one")
	if err != nil {
		return "", err
	}
	defer r.Close()
	const callers, each = 256, 80
	return rate("evidence: durable events, one a call, 256 callers", "10,000", callers*each, func() error {
		var all sync.WaitGroup
		var failed atomic.Value
		for c := range callers {
			all.Go(func() {
				for i := range each {
					object, body := event(c*each + i)
					if _, err := r.Record(ctx, time.Unix(0, 0), "domain", object, attest.BundleExported, body); err != nil {
						failed.Store(err)
						return
					}
				}
			})
		}
		all.Wait()
		if err, ok := failed.Load().(error); ok {
			return err
		}
		return nil
	})
}

// batched appends prepared events 256 at a time.
func (s *spine) batched(ctx context.Context) (string, error) {
	r, err := s.recorder("batched")
	if err != nil {
		return "", err
	}
	defer r.Close()
	const batches, size = 80, 256
	events := make([]attest.Prepared, batches*size)
	for i := range events {
		object, body := event(i)
		if events[i], err = r.Prepare(time.Unix(0, 0), "domain", object, attest.BundleExported, body); err != nil {
			return "", err
		}
	}
	return rate("evidence: durable events, prepared, 256 a batch, one caller", "10,000", len(events), func() error {
		for i := 0; i < len(events); i += size {
			if _, err := r.Append(ctx, events[i:i+size]...); err != nil {
				return err
			}
		}
		return nil
	})
}

// domain makes and serves a domain with one agency and one unit.
func (s *spine) domain(ctx context.Context, name string) (n *node.Node, addr string, unit *api.Client, end func() error, err error) {
	party := func(id string, role sandbox.Role) (api.Enrolment, *keys.File, error) {
		k, err := keys.Create(filepath.Join(s.dir, name+"-"+id), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
		if err != nil {
			return api.Enrolment{}, nil, err
		}
		return api.Enrolment{Party: sandbox.Party{ID: sandbox.PartyID(id), Role: role, Name: id}, Identities: []sandbox.Identity{{ID: sandbox.IdentityID(id), Party: sandbox.PartyID(id),
			Duty: sandbox.Officer, SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}, k, nil
	}
	agency, _, err := party("agency", sandbox.Agency)
	if err != nil {
		return nil, "", nil, nil, err
	}
	own, k, err := party("unit", sandbox.Unit)
	if err != nil {
		return nil, "", nil, nil, err
	}
	m := api.NewMetrics()
	n, err = node.Create(ctx, node.Config{Dir: filepath.Join(s.dir, name), Passphrase: []byte("x"), Now: time.Now, Rand: rand.Reader, Metrics: m},
		node.Founding{Domain: "benchmark", Hosting: sandbox.P1, District: "longhua", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1}, Enrolled: []api.Enrolment{agency, own}})
	if err != nil {
		return nil, "", nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", nil, nil, errors.Join(err, n.Close())
	}
	srv, err := api.New(api.Config{Service: n, Authorities: []string{l.Addr().String()}, Now: time.Now, Sleep: func(context.Context, time.Duration) error { return nil },
		Limits: api.Limits{AddressRate: 1e6, AddressBurst: 1 << 20, IdentityRate: 1e6, IdentityBurst: 1 << 20, PerIdentity: 1 << 10}, Log: slog.New(slog.DiscardHandler), Metrics: m})
	if err != nil {
		return nil, "", nil, nil, errors.Join(err, n.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx, l) }()
	signer := api.Signer{Identity: "unit", Key: k.SigningKey(), Rand: rand.Reader, Now: time.Now}
	unit, err = api.NewClient("http://"+l.Addr().String(), api.WithHTTPClient(&http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 128}}), api.WithRequestEditorFn(signer.Sign))
	return n, l.Addr().String(), unit, func() error { stop(); return errors.Join(<-done, n.Close()) }, err
}

// requests sends signed requests from 64 clients: signature, role, durable nonce, answer; the clients' own signing included.
func (s *spine) requests(ctx context.Context) (string, error) {
	_, _, unit, end, err := s.domain(ctx, "requests")
	if err != nil {
		return "", err
	}
	const clients, each = 64, 100
	line, err := rate("signed requests, durable nonce, 64 clients in the same process", "2,000", clients*each, func() error {
		var all sync.WaitGroup
		var failed atomic.Value
		for range clients {
			all.Go(func() {
				for range each {
					r, err := unit.ListDatasets(ctx)
					if err == nil {
						_, _ = io.Copy(io.Discard, r.Body)
						_ = r.Body.Close()
						if r.StatusCode != http.StatusOK {
							err = fmt.Errorf("answered %d", r.StatusCode)
						}
					}
					if err != nil {
						failed.Store(err)
						return
					}
				}
			})
		}
		all.Wait()
		if err, ok := failed.Load().(error); ok {
			return err
		}
		return nil
	})
	return line, errors.Join(err, end())
}

// changes registers datasets from 64 callers: state and evidence durable together.
func (s *spine) changes(ctx context.Context) (string, error) {
	n, _, _, end, err := s.domain(ctx, "changes")
	if err != nil {
		return "", err
	}
	const callers, each = 64, 40
	c := api.Caller{Identity: sandbox.Identity{ID: "unit", Party: "unit"}, Party: sandbox.Party{ID: "unit", Role: sandbox.Unit}}
	line, err := rate("changes of state with their evidence, 64 callers", "–", callers*each, func() error {
		var all sync.WaitGroup
		var failed atomic.Value
		for w := range callers {
			all.Go(func() {
				for i := range each {
					if _, err := n.RegisterDataset(ctx, c, tiny(fmt.Sprintf("ds-%d-%d", w, i))); err != nil {
						failed.Store(err)
						return
					}
				}
			})
		}
		all.Wait()
		if err, ok := failed.Load().(error); ok {
			return err
		}
		return nil
	})
	return line, errors.Join(err, end())
}

// arrowWrite and arrowRead are the vault's peer without a cipher: Arrow IPC on the same disk, synced.
func (s *sealed) arrowWrite(context.Context) error {
	f, err := os.Create(filepath.Join(s.dir, "plain.arrow"))
	if err != nil {
		return err
	}
	w := ipc.NewWriter(f, ipc.WithSchema(s.schema))
	for _, r := range s.recs {
		if err := w.Write(r); err != nil {
			return err
		}
	}
	return errors.Join(w.Close(), f.Sync(), f.Close())
}

func (s *sealed) arrowRead(context.Context) error {
	f, err := os.Open(filepath.Join(s.dir, "plain.arrow"))
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := ipc.NewReader(f)
	if err != nil {
		return err
	}
	defer r.Release()
	rows := int64(0)
	for r.Next() {
		rows += r.Record().NumRows()
	}
	if rows != int64(s.rows) {
		return fmt.Errorf("%d rows", rows)
	}
	return r.Err()
}

// rawTCP copies as many bytes over loopback, both ends in this process.
func (s *sealed) rawTCP(ctx context.Context) error {
	block := make([]byte, 1<<20)
	return overTCP(ctx, func(w net.Conn) error {
		for n := int64(0); n < s.bytes; n += int64(len(block)) {
			if _, err := w.Write(block); err != nil {
				return err
			}
		}
		return nil
	}, func(r net.Conn) error {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 1<<20))
		return err
	})
}

func overTCP(_ context.Context, send, receive func(net.Conn) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	sent := make(chan error, 1)
	go func() {
		c, err := net.Dial("tcp", l.Addr().String())
		if err == nil {
			err = errors.Join(send(c), c.Close())
		}
		sent <- err
	}()
	c, err := l.Accept()
	if err != nil {
		return err
	}
	return errors.Join(receive(c), c.Close(), <-sent)
}

// pushTCP sends the table as sealed frames over loopback and opens and decodes it at the other end.
func (s *sealed) pushTCP(ctx context.Context) error {
	digest := sm.Sum()
	opening, secret, err := channel.NewOpening(rand.Reader, s.keys.DecryptKey().Public(), channel.Opening{From: "unit", To: "domain", Domain: "d", Run: "r", Dataset: "ds",
		SchemaDigest: digest[:], Created: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	text := opening.Encode()
	return overTCP(ctx, func(c net.Conn) error {
		w, err := channel.NewWriter(c, secret, text)
		if err != nil {
			return err
		}
		var buf []byte
		for _, rec := range s.recs {
			for at := int64(0); at < rec.NumRows(); at += batchRows / 4 {
				part := rec.NewSlice(at, min(at+batchRows/4, rec.NumRows()))
				buf, err = batch.Encode(buf[:0], part)
				part.Release()
				if err != nil {
					return err
				}
				if err := w.WriteFrame(buf); err != nil {
					return err
				}
			}
		}
		return w.Close()
	}, func(c net.Conn) error {
		r, err := channel.NewReader(c, secret, text)
		if err != nil {
			return err
		}
		for {
			b, err := r.Next()
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			rec, err := batch.Decode(memory.DefaultAllocator, s.schema, b, batch.Limits{})
			if err != nil {
				return err
			}
			rec.Release()
		}
	})
}

// subject reads one person's rows out of the version.
func (s *sealed) subject(ctx context.Context) error {
	head, err := s.vault.Head("ds")
	if err != nil {
		return err
	}
	r, err := s.vault.ScanSubject(ctx, memory.DefaultAllocator, head, []string{"code", vault.SubjectColumn}, s.who[0][0])
	if err != nil {
		return err
	}
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			return r.Close()
		}
		if err != nil {
			return errors.Join(err, r.Close())
		}
		rec.Release()
	}
}

// ordered writes a table whose rows stand by pseudonym already: sealing alone, no sort.
func (s *sealed) ordered(ctx context.Context) error {
	return s.writeAs(ctx, "ds-ordered", func(batch, row int) sandbox.Pseudonym {
		n := uint64(batch)<<32 | uint64(row)
		var p sandbox.Pseudonym
		for i := range 8 {
			p[i] = byte(n >> (56 - 8*i))
		}
		return p
	})
}

func (s *sealed) writeAs(ctx context.Context, d sandbox.DatasetID, who func(batch, row int) sandbox.Pseudonym) error {
	s.runs++
	w, err := s.vault.Begin(ctx, "unit", d, sandbox.RunID(fmt.Sprintf("run-%d", s.runs)), s.schema, sandbox.Grade3)
	if err != nil {
		return err
	}
	for i, r := range s.recs {
		if s.order == nil {
			s.order = map[int][]sandbox.Pseudonym{}
		}
		if s.order[i] == nil {
			s.order[i] = make([]sandbox.Pseudonym, r.NumRows())
			for k := range s.order[i] {
				s.order[i][k] = who(i, k)
			}
		}
		if err := w.Write(ctx, r, s.order[i]); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	_, err = w.Commit(ctx)
	return err
}

func tiny(id string) catalog.Dataset {
	return catalog.Dataset{ID: sandbox.DatasetID(id), Unit: "unit", Title: "t", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Title: "w", Type: catalog.Text, Grade: 3, Personal: true}}}
}
