// Package jailed runs the homomorphic engine of mpc/he in the jail (同态运算引擎的隔离): the library under it is what nobody here has reviewed, so
// its process has what a plug-in has, namespaces, an empty root, no capabilities, Landlock, the system call filter, bounded memory, and
// one channel. 依据: THREATS 4 of the design: key parts live there and nowhere else.
//
// Its end, by a fault, by memory or by the jail, is Unavailable at the call that meets it: a typed abort of the epoch, never a second try. Where
// the machine lacks a layer nothing starts, and the error names it; there is no way around in here.
package jailed

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox/jail"
)

// entry is the engine's name as argument 0 of the jail's program.
const entry = "opdomain-he-engine"

// Memory is what an engine gets when nothing else is said: an asker's keys and 256 features of the scoring set are below 1 GiB.
const Memory = 4 << 30

// wall bounds the life of an engine: an epoch that units take part in at their own pace.
const wall = 24 * time.Hour

// Enter returns at once, unless this process was started by a Launch; then it never returns. It stands right behind jail.Enter in main.
func Enter(rand io.Reader) int {
	stream, ok := jail.Entered(entry)
	if !ok {
		return -1
	}
	if he.Serve(context.Background(), rand, stream, stream) != nil {
		return 1
	}
	return 0
}

// Launch (隔离启动) starts engines in the jail.
type Launch struct {
	Jail   *jail.Launcher
	Memory int64 // bytes; 0: Memory

	Began func(*jail.Process) // when one runs: its posture and image are evidence
}

// Tier is what an engine would run in on this machine, T1 or T1p; else the layer that T1 lacks, as a Fault of kind Unavailable.
func Tier(l *jail.Launcher) (jail.Tier, error) {
	if l == nil {
		return "", &jail.Fault{Op: "he", Reason: jail.Layer, Object: "jail", Detail: "this program has none"}
	}
	report := l.Probe()
	for _, t := range []jail.Tier{jail.T1, jail.T1p} {
		if len(report.MissingOwn(t)) == 0 {
			return t, nil
		}
	}
	m := report.MissingOwn(jail.T1)[0]
	return "", &jail.Fault{Op: "he", Reason: jail.Layer, Object: m.Name, Detail: m.Detail}
}

// Start starts one.
func (l Launch) Start() (he.Process, error) {
	t, err := Tier(l.Jail)
	if err != nil {
		return nil, err
	}
	memory := l.Memory
	if memory == 0 {
		memory = Memory
	}
	p, err := l.Jail.Start(context.Background(), jail.Job{Tier: t, Entry: entry, Limits: jail.Limits{Memory: memory, Wall: wall}})
	if err != nil {
		return nil, err
	}
	if l.Began != nil {
		l.Began(p)
	}
	return &process{p}, nil
}

// process is a plug-in of the jail as an engine has it.
type process struct{ p *jail.Process }

var errEnded = errors.New("the engine's process ended")

func (p *process) Read(b []byte) (int, error) { return p.p.Stream().Read(b) }

func (p *process) Write(b []byte) (int, error) {
	select {
	case <-p.p.Done():
		return 0, errEnded
	default:
	}
	return p.p.Stream().Write(b)
}

func (p *process) Kill() { _ = p.p.Close() }
