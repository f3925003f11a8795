// Package ingest takes the streams of one run (数据汇聚) from their sealed frames into the vault: one function, one call per
// stage, each in goroutines of its own.
//
//	frames → payloads → record batches → schema and subject checks → pseudonyms → staged in the vault → commit
//
// A run is all or nothing. A fault of the data ends it (Refusal): its stage is dropped and the dataset keeps the version it
// had. So does a full disk, or one of which only the reserve is left (vault.Reserve): a stage that waits would hold the space
// that everybody needs. Anything else, a cut connection, a gap, leaves it open: what is staged of it is kept by the Intake and
// Progress says where the next stream goes on. A batch that is staged and comes again is dropped; a run commits once.
// Errors name the dataset, the batch and row, the column and the rule, never a value.
//
// Memory is bounded in bytes, whatever the size of the push: at most Config.MaxInFlight of encoded batches per stream and
// Config.MaxTotal over all streams of the domain are between the connection and the vault; who would be over waits, and so
// does the sender. On top come one frame per stream, and what the vault keeps to sort a version.
//
// A stage lives as long as its Intake: after a restart an open run goes on from its first batch. A dataset has one stage:
// a new run takes the place of one that waits, which then also goes on from its first batch.
//
// It does not authenticate the sender (the caller verified the opening's signature), does not decide grades finally (the stricter of declared and detected applies at once; a person
// confirms), and reads no Parquet or Arrow IPC.
package ingest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/semaphore"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Frames (数据帧) yields opened frame payloads, each valid until the next call; io.EOF only after an authenticated last frame.
type Frames interface {
	Next() ([]byte, error)
}

// Limits (入库限额) bound one run. Zero means the default.
type Limits struct {
	Batch   batch.Limits
	Rows    int64 // of one run, default 2^32
	Batches int64 // default 2^24
}

// Config (汇聚配置) bounds what the pushes of one domain take. Zero means the default.
type Config struct {
	Limits      Limits
	MaxInFlight int64 // bytes of encoded batches under way in one stream, default 64 MiB
	MaxTotal    int64 // in all streams together, default 256 MiB
	Durable     int64 // bytes after which a stream makes what it staged durable, default 64 MiB
	Workers     int   // goroutines that check batches, per stream; default the number of cores
	Now         func() time.Time
}

func (c Config) filled() (Config, error) {
	for _, f := range []struct {
		v   *int64
		def int64
	}{{&c.MaxInFlight, 64 << 20}, {&c.MaxTotal, 256 << 20}, {&c.Durable, 64 << 20}, {&c.Limits.Rows, 1 << 32}, {&c.Limits.Batches, 1 << 24}} {
		if *f.v <= 0 {
			*f.v = f.def
		}
	}
	if c.Workers <= 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	if c.MaxInFlight < channel.MaxFrame || c.MaxTotal < channel.MaxFrame || c.Now == nil {
		return c, &sandbox.Error{Op: "ingest: configure", Kind: sandbox.Invalid, Object: "bounds", Detail: "a bound holds one frame of 1 MiB at least, and a clock is given"}
	}
	return c, nil
}

// Intake (汇聚入口) is the one way of pushes into a vault, with the memory bound they share. Safe for concurrent use.
type Intake struct {
	config   Config
	mem      memory.Allocator
	vault    *vault.Vault
	subjects *Pseudonymizer
	total    *semaphore.Weighted
}

// New gives the intake of a vault.
func New(c Config, mem memory.Allocator, v *vault.Vault, subjects *Pseudonymizer) (*Intake, error) {
	c, err := c.filled()
	if err != nil {
		return nil, err
	}
	return &Intake{config: c, mem: mem, vault: v, subjects: subjects, total: semaphore.NewWeighted(c.MaxTotal)}, nil
}

// Push (推送) is one stream of a run. Dataset is the description under the schema of the push.
type Push struct {
	Run     sandbox.RunID
	Dataset catalog.Dataset
	Rows    wire.Mode
	Frames  Frames
	// Ready is called when the whole run is staged, before its commit; an error of it stops the commit.
	Ready func(context.Context) error
}

// Result (入库结果) is a committed run.
type Result struct {
	Snapshot vault.Snapshot
	Progress Progress
	Read     int64    // rows at the origin, as the sender says
	Unused   []string // headers that no column read, as the sender says
	Findings []classify.ColumnFinding
	Quality  catalog.Quality
}

// Refusal (入库拒绝) is a fault of the data, or want of space: nothing of the run is kept, and a retry is a new run.
type Refusal struct{ Err error }

func (r *Refusal) Error() string { return r.Err.Error() }

func (r *Refusal) Unwrap() error { return r.Err }

func refusal(err error) error { return &Refusal{err} }

// fits makes want of space a refusal; other errors stay what they are.
func fits(d sandbox.DatasetID, err error) error {
	if r := (*Refusal)(nil); err == nil || errors.As(err, &r) || !vault.Full(err) {
		return err
	}
	return refusal(&sandbox.Error{Op: "ingest", Kind: sandbox.TooLarge, Object: string(d), Detail: "there is no room for this push, and nothing of it was kept",
		Hint: "make room on the domain's disk, then push again as a new run", Err: err})
}

// Receive takes one stream of a run to its end: to the run's commit, or to an error. A Refusal has dropped the run; after any
// other error the run is resumable from what Standing then gives. The end of
// ctx stops the stream; a goroutine that waits in Frames.Next then ends when the caller closes what it reads.
func (in *Intake) Receive(ctx context.Context, p Push) (res Result, err error) {
	d := p.Dataset
	if c, ok := d.Column(d.Subject); !ok || c.Type != catalog.Text {
		return Result{}, refusal(&sandbox.Error{Op: "ingest", Kind: sandbox.Invalid, Object: string(d.ID), Detail: "the protected subject is a text column"})
	}
	st, err := in.stage(ctx, p)
	if err != nil {
		return Result{}, fits(d.ID, err)
	}
	defer func() { // also when a panic passes: the run must not stay claimed
		var r *Refusal
		err = fits(d.ID, err)
		switch {
		case errors.As(err, &r):
			if st.ended { // the commit failed: another run was first, or there was no room
				err = refusal(errors.Join(r.Err, in.Drop(d.ID, p.Run)))
			} else {
				err = refusal(errors.Join(r.Err, st.abort()))
			}
		case !st.ended:
			if serr := st.suspend(ctx); vault.Full(serr) { // the stage has ended, and its space is what is wanted
				err = fits(d.ID, errors.Join(serr, err, in.Drop(d.ID, p.Run)))
			} else {
				err = errors.Join(err, serr)
			}
		}
	}()
	s := &stream{intake: in, push: p, stage: st, schema: batch.Schema(d)}
	s.from = st.at.Chain
	st.at.Streams++
	closing, err := s.run(ctx)
	if err != nil {
		return Result{}, err
	}
	if st.at.Rows == 0 {
		return Result{}, refusal(&sandbox.Error{Op: "ingest", Kind: sandbox.Invalid, Object: string(d.ID), Detail: "a push has at least one row",
			Hint: "an empty push would replace the current version by nothing"})
	}
	if p.Ready != nil {
		if err := p.Ready(ctx); err != nil {
			return Result{}, err
		}
	}
	snap, found, err := st.commit(ctx, d, closing)
	if errors.Is(err, sandbox.Conflict) { // another run became the next version first
		return Result{}, refusal(err)
	}
	if err != nil {
		return Result{}, err
	}
	return found.result(snap, st.at), nil
}

// declared is the strictest grade the owner declared; the version key is bound to it.
func declared(d catalog.Dataset) sandbox.Grade {
	g := sandbox.Grade1
	for _, c := range d.Columns {
		g = max(g, c.Effective())
	}
	return g
}

func (in *Intake) tooLarge(d sandbox.DatasetID) error {
	return refusal(&sandbox.Error{Op: "ingest", Kind: sandbox.TooLarge, Object: string(d),
		Detail: fmt.Sprintf("a push has at most %d batches and %d rows", in.config.Limits.Batches, in.config.Limits.Rows)})
}
