// Package fleet has the parts of a question computed by worker processes (工作进程集群): an Executor of package columnar beside goroutines.
//
// A worker is the same program under a hidden verb, on the same machine, with a pipe each way and no network. It holds no passphrase, no
// root key and no version key. It is given the accepted question, which it derives again by the owners' rules; one ticket for each
// dataset, which opens the columns that the question needs of the version it sees (最小必要); and then one part after the other. What it
// sends back is a Partial, grade-4 data, so nothing crosses in the clear: SM4-GCM under a key for each process and direction, bound to job,
// question and part. The connection's secret is the one thing before that, on a pipe that only the two processes hold.
//
//	hello   "ODF1", job id of 16 bytes, secret of 32 bytes
//	→       the job: kernel, question, versions, limits, folder, tickets
//	←       'r' and the number of parts, or 'e' and a problem
//	→       a part's number
//	←       'p' and the partial, or 'e' and a problem; and so on
//
// A part is computed under a lease (租约). A process that is killed, ends, or lets its lease pass is killed and replaced, and its part
// goes to another; after Attempts such losses of one part the run fails and says so. Partials merge in the order of their parts, so
// that the answer is the same bits whoever computed them and whoever was killed. A worker that lies within the form of a partial is found
// by Copies: so many different processes compute each part, and their bytes must be equal.
//
// Errors are *sandbox.Error: Tampered for bytes that do not open, that are no partial, or that differ between two processes: the run
// ends, for there is no telling who was right; Unavailable when workers do not start or a part was lost too often; a worker's own error as
// it reports it, which is not tried again, for it follows from data and question. They name parts and rules, never a value.
//
// Limits: looked-up inputs are read by the coordinator and by every worker, each within Limits.MaxBuildBytes; what is more, each spills
// sealed under keys of its own, and joins part by part, so that a worker reads a spilled input once for each part. The pairs of a part
// are within MaxPairBytes, for a Partial crosses whole. Workers run as the domain's
// user, so that the system, not this package, says which files they can name: without keys these are ciphertext. Other machines,
// and queues between them, are not here.
package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Config (集群参数) says what a worker is and how many compute. Zero values stand where noted.
type Config struct {
	Program   string   // path of a worker's program, which calls Work on its standard files
	Command   []string // the name it is called by and its arguments
	Env       []string // its variables, all of them
	Workers   int      // processes at once; 0: 1
	Copies    int      // different processes that compute each part, at most Workers; 0: 1
	Attempts  int      // losses of one part that end a run, and of processes that never became ready; 0: 2
	Lease     time.Duration
	MaxResult int // bytes of one encoded partial; 0: 1 GiB
	Rand      io.Reader
	After     func(time.Duration) <-chan time.Time // nil: time.After

	began func(pid int) // of tests
}

// withDefaults checks a Config. Lease 0 is ten minutes, for a part and for getting ready.
func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		v   *int
		def int
		max int
	}{{&c.Workers, 1, 1024}, {&c.Copies, 1, 8}, {&c.Attempts, 2, 100}, {&c.MaxResult, 1 << 30, 1 << 40}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < 0 || *f.v > f.max {
			return c, fail(sandbox.Invalid, "config", "numbers are positive and within their bounds")
		}
	}
	if c.Lease == 0 {
		c.Lease = 10 * time.Minute
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Program == "" || len(c.Command) == 0 || c.Rand == nil || c.Lease < 0 || c.Copies > c.Workers {
		return c, fail(sandbox.Invalid, "config", "has a program, a command, randomness, a lease, and no more copies than workers")
	}
	return c, nil
}

// Job (计算作业) is a question on opened versions.
type Job struct {
	Plan      columnar.Plan
	Limits    columnar.Limits
	Vault     *vault.Vault // on the machine's disk
	Snapshots []vault.Snapshot
	Rows      int64 // least of a part, as in the Source that the question is executed over
}

// Processes (进程执行器) is an Executor; For gives it the job that it is for.
type Processes struct {
	config Config
	job    *Job
}

// New checks a Config.
func New(c Config) (Processes, error) {
	c, err := c.withDefaults()
	return Processes{config: c}, err
}

// For gives an Executor for one job.
func (p Processes) For(j Job) Processes {
	p.job = &j
	return p
}

// job is a Job under way.
type job struct {
	config   Config
	id       []byte
	kernel   []byte
	order    []byte
	parts    int
	board    *board
	decode   func([]byte) (*columnar.Partial, error)
	mu       sync.Mutex
	started  int // processes
	unready  int // … that were lost before they were ready, since one was
	canceled context.CancelFunc
}

// Partials implements columnar.Executor.
func (p Processes) Partials(ctx context.Context, k *columnar.Kernel, src columnar.Source, merge func(*columnar.Partial) error) error {
	if p.job == nil || src.OpenPart == nil || src.Parts < 1 {
		return fail(sandbox.Invalid, "job", "processes compute a job that is cut in parts")
	}
	c := p.config
	j := &job{config: c, id: make([]byte, jobSize), parts: src.Parts, decode: k.Decode}
	if _, err := io.ReadFull(c.Rand, j.id); err != nil {
		return &sandbox.Error{Op: "fleet", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	if err := j.write(*p.job, src.Spill != nil); err != nil {
		return err
	}
	defer clear(j.order)
	ctx, j.canceled = context.WithCancel(ctx)
	j.board = newBoard(src.Parts, c.Copies, 2*c.Workers, c.Attempts)
	stopped := context.AfterFunc(ctx, func() {
		j.board.stop(&sandbox.Error{Op: "fleet", Kind: sandbox.Unavailable, Object: "job", Err: ctx.Err()})
	})
	var wait sync.WaitGroup
	for range min(c.Workers, src.Parts*c.Copies) {
		wait.Go(func() { j.slot(ctx) })
	}
	defer func() {
		stopped()
		j.board.stop(nil)
		j.canceled()
		wait.Wait()
		j.board.free()
	}()
	for {
		part, err := j.board.next()
		if part == nil || err != nil {
			return err
		}
		if err := merge(part); err != nil {
			return err
		}
	}
}

// write makes the message that describes the job, with a ticket for each dataset.
func (j *job) write(x Job, spill bool) error {
	question, err := x.Plan.Derivation.Encode()
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(x.Vault.Dir())
	if err != nil {
		return &sandbox.Error{Op: "fleet", Kind: sandbox.Unavailable, Object: "vault", Err: err}
	}
	o := order{Kernel: kernelID, Question: question, Inputs: x.Plan.Inputs, Limits: x.Limits, Rows: x.Rows, Dir: dir, Spill: spill}
	for _, n := range needs(x.Plan.Derivation) {
		at := slices.IndexFunc(x.Snapshots, func(s vault.Snapshot) bool { return s.Dataset == n.dataset })
		if at < 0 {
			return fail(sandbox.Invalid, string(n.dataset), "a job has a snapshot of each dataset")
		}
		t, err := x.Vault.Ticket(x.Snapshots[at], n.columns)
		if err != nil {
			return err
		}
		o.Tickets = append(o.Tickets, t.Encode())
		t.Forget()
	}
	if j.kernel, err = o.digest(); err != nil {
		return err
	}
	j.order, err = json.Marshal(o)
	for _, t := range o.Tickets {
		clear(t)
	}
	if err != nil {
		return fail(sandbox.Internal, "job", "has a JSON form")
	}
	if len(j.order) > maxOrder {
		return fail(sandbox.TooLarge, "job", fmt.Sprintf("its description has at most %d bytes", maxOrder))
	}
	return nil
}

// slot keeps one process at work until there is nothing to do.
func (j *job) slot(ctx context.Context) {
	var p *process
	drop := func() {
		if p != nil {
			p.end()
			p = nil
		}
	}
	defer drop()
	for {
		if p == nil {
			var err error
			if p, err = j.begin(ctx); err != nil {
				if cause, lost := lostBy(err); !lost {
					j.board.stop(err)
					return
				} else if !j.again() {
					j.board.stop(fail(sandbox.Unavailable, "worker", "a process becomes ready; the last one did not because "+cause))
					return
				}
				continue
			}
		}
		t, ok := j.board.take(p.number)
		if !ok {
			return
		}
		var result []byte
		err := p.within(ctx, j.config.After(j.config.Lease), func() (err error) {
			result, err = p.compute(t.part)
			return err
		})
		cause, lost := lostBy(err)
		switch {
		case lost:
			drop()
			j.board.lost(t, cause)
		case err != nil:
			j.board.stop(err)
			return
		default:
			j.board.computed(t, result, j.decode)
			clear(result)
		}
	}
}

// lostBy says whether an error is about a process alone, and what it says.
func lostBy(err error) (string, bool) {
	for _, e := range []error{errGone, errLease} {
		if errors.Is(err, e) {
			return e.Error(), true
		}
	}
	return "", false
}

// again says whether another process may be tried in the place of one that never became ready.
func (j *job) again() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unready++
	return j.unready < j.config.Attempts
}

// begin starts a process and gets it ready.
func (j *job) begin(ctx context.Context) (*process, error) {
	if err := ctx.Err(); err != nil {
		return nil, &sandbox.Error{Op: "fleet", Kind: sandbox.Unavailable, Object: "job", Err: err}
	}
	j.mu.Lock()
	j.started++
	number := j.started
	j.mu.Unlock()
	p, err := j.start(number)
	if err != nil {
		return nil, err
	}
	var parts uint64
	err = p.within(ctx, j.config.After(j.config.Lease), func() (err error) {
		parts, err = p.ready(j.order)
		return err
	})
	if err == nil && parts != uint64(j.parts) {
		err = fail(sandbox.Tampered, "worker", "sees the parts that the coordinator sees")
	}
	if err != nil {
		p.end()
		return nil, err
	}
	j.mu.Lock()
	j.unready = 0
	j.mu.Unlock()
	return p, nil
}
