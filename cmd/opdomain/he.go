package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/jailed"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail"
)

const (
	heVerb     = "he"
	engineVerb = "engine"
	unitVerb   = "demo-unit"
	// engineMemory bounds the address space of the adapter's process.
	engineMemory = 4 << 30
)

func (a *app) heCommand() *cobra.Command {
	engine := verb(engineVerb, "Run the homomorphic adapter for the process that started this one (同态运算进程)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if err := he.Confine(engineMemory); err != nil {
			return err
		}
		return he.Serve(c.Context(), a.rand, a.in, a.out)
	})
	unit := verb(unitVerb+" NUMBER LEDGER", "Play a source unit for the demo that started this process", cobra.ExactArgs(2), func(c *cobra.Command, args []string) error {
		return a.heDemoUnit(c.Context(), args[0], args[1])
	})
	engine.Hidden, unit.Hidden = true, true
	demo := verb("demo", "Five units in processes of their own, one of which goes silent; then scoring under an asker's key (同态加密演示)", cobra.NoArgs,
		func(c *cobra.Command, _ []string) error { return a.heDemo(c.Context()) })
	demo.Long = `Five source units, each in a process of its own, hold fees by district and disease group. The gate wants the average fee of each
group and must not see a unit's. One unit goes silent when it should share the opening: the epoch is aborted. The next epoch has new keys, fresh
ciphertexts and three of the four units left as openers; one unit leaves as soon as it has contributed. Then an insurer has its own
customers scored without showing their features, and a partner has its secret model run over averages. All data are generated; results are compared with plain arithmetic.`
	return group(heVerb, "Homomorphic encryption: totals over several units, scoring of encrypted features, secret models (同态加密)", demo, a.heExplainCommand(), a.heSumCommand(), a.heListCommand(), a.heApproveCommand(), a.heUnitCommand(), a.heModelCommand(), a.heScoreCommand(), a.hePartnerCommand(), engine, unit)
}

// heEngines starts engines: in the jail, or, where this machine lacks a layer, as this program again with bounded memory and files. Which
// of both is said aloud; a domain has the jail or no engine.
type heEngines struct {
	jail   *jail.Launcher
	lacks  error    // why they are not in the jail
	looked []string // of the first in the jail
}

func newHeEngines() *heEngines {
	e := &heEngines{}
	if e.jail, e.lacks = jail.New(jail.Config{}); e.lacks == nil {
		_, e.lacks = jailed.Tier(e.jail)
	}
	return e
}

func (e *heEngines) Close() {
	if e.jail != nil {
		_ = e.jail.Close()
	}
}

func (e *heEngines) start() (*he.Child, error) {
	if e.lacks == nil {
		return he.NewChild(jailed.Launch{Jail: e.jail, Memory: engineMemory, Began: func(p *jail.Process) { e.looked = p.Posture() }})
	}
	return he.NewChild(he.Program{Path: "/proc/self/exe", Args: []string{"opdomain", heVerb, engineVerb}})
}

// say prints where the engines run.
func (e *heEngines) say(out io.Writer) {
	if e.lacks == nil {
		tier, _ := jailed.Tier(e.jail)
		d := jail.Posture(e.looked).Digest()
		fmt.Fprintf(out, "   engines in the jail, tier %s, posture %x 引擎在隔离环境中\n", tier, d[:8])
		return
	}
	fmt.Fprintf(out, "   ENGINES ARE NOT IN THE JAIL: %v 引擎未隔离\n   here their memory and files are bounded; a domain would refuse to start one\n", e.lacks)
}

// The demo's question: group keys are district and disease group.
var (
	heDistricts = []string{"longhua", "futian", "guangming"}
	heDiseases  = []string{"circulatory", "respiratory", "digestive", "injury"}
)

func heLayout() he.Layout {
	l := he.Layout{Columns: 1, Measures: []he.Measure{{Func: sandbox.Count}, {Func: sandbox.Mean}}}
	for _, d := range heDistricts {
		for _, g := range heDiseases {
			l.Cells = append(l.Cells, d+"/"+g)
		}
	}
	return l
}

// heRows calls f for each generated row of a unit: people come again, within a unit and in others; fees are in fen.
func heRows(unit int, f func(cell int, subject uint64, fee int64) error) error {
	const rows = 2000
	for i := range rows {
		d := sm.Sum([]byte("opdomain he demo row"), []byte{byte(unit), byte(i >> 8), byte(i)})
		cell := (int(d[0])%len(heDistricts))*len(heDiseases) + int(d[1])%len(heDiseases)
		if err := f(cell, uint64(d[2])<<2|uint64(d[3]&3), 2_000+int64(d[4])<<8+int64(d[5])); err != nil {
			return err
		}
	}
	return nil
}

// The carrier's orders to a unit's process, one frame each; the answer has the same number.
const (
	heKeys byte = iota + 1
	hePlan
	heReveal
	heDeal
	heJoin
	heContribute
	heShare
	heFailed
)

// heDemoUnit is a unit's process in the demo: it takes orders from the carrier on its input. Keys and plan it takes from the
// carrier as they are, for a demo; every message of another party it checks for its plan and signature.
func (a *app) heDemoUnit(ctx context.Context, number, dir string) error {
	n, err := strconv.Atoi(number)
	if err != nil {
		return usageError{errors.New("the unit's number is one")}
	}
	engines := newHeEngines()
	defer engines.Close()
	engine, err := engines.start()
	if err != nil {
		return err
	}
	defer engine.Close()
	ledger, err := he.OpenLedger(dir)
	if err != nil {
		return err
	}
	defer ledger.Close()
	sign, err := sm.NewSigningKey(a.rand)
	if err != nil {
		return err
	}
	open, err := sm.NewDecryptKey(a.rand)
	if err != nil {
		return err
	}
	id := sandbox.PartyID("unit-" + number)
	in := bufio.NewReader(a.in)
	var unit *he.Unit
	for {
		order, parts, err := he.ReadFrame(in)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var messages []*he.Message
		if order != hePlan {
			for _, p := range parts {
				m, err := he.ParseMessage(p)
				if err != nil {
					return err
				}
				messages = append(messages, m)
			}
		}
		var out *he.Message
		answer := [][]byte{}
		switch {
		case order == heKeys:
			answer = [][]byte{sign.Public().Bytes(), open.Public().Bytes()}
		case order == hePlan && len(parts) == 1:
			if unit != nil {
				unit.Close()
			}
			var plan *he.Plan
			if plan, err = he.DecodePlan(parts[0]); err != nil {
				break
			}
			at := -1
			for i, m := range plan.Units {
				if m.ID == id {
					at = i
				}
			}
			if unit, err = he.NewUnit(he.Config{Plan: plan, Engine: engine, Sign: sign, Open: open, Ledger: ledger, Rand: a.rand}, at); err == nil {
				out, err = unit.Commit(ctx)
			}
		case unit == nil:
			err = invalid("order", "a plan comes first", "")
		case order == heReveal:
			out, err = unit.Reveal(ctx, messages)
		case order == heDeal:
			out, err = unit.Deal(ctx, messages)
		case order == heJoin:
			err = unit.Join(ctx, messages)
		case order == heContribute:
			l := heLayout()
			var p *he.Partial
			if p, err = he.NewPartial(&l); err == nil {
				err = heRows(n, func(cell int, subject uint64, fee int64) error { return p.Add(cell, subject, []int64{fee}, 0) })
			}
			if err == nil {
				out, err = unit.Contribute(ctx, p)
			}
		case order == heShare:
			out, err = unit.Share(ctx, messages)
		default:
			err = invalid("order", "is a known one", "")
		}
		if err != nil {
			order, answer = heFailed, [][]byte{[]byte(err.Error())}
		} else if out != nil {
			answer = [][]byte{he.AppendMessage(nil, out)}
		}
		if err := he.WriteFrame(a.out, order, answer); err != nil {
			return err
		}
	}
}

// heProcess is a unit's process as the carrier has it.
type heProcess struct {
	number int
	member he.Member
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
}

func (a *app) heStart(ctx context.Context, number int, dir string) (*heProcess, error) {
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{"opdomain", heVerb, unitVerb, strconv.Itoa(number), dir}
	p := &heProcess{number: number, cmd: cmd}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.in, p.out, cmd.Stderr = in, bufio.NewReader(out), os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, &sandbox.Error{Op: "he demo", Kind: sandbox.Unavailable, Object: "unit", Detail: "its process can be started", Err: err}
	}
	keys, err := p.order(heKeys)
	if err == nil && len(keys) == 2 {
		p.member.ID = sandbox.PartyID("unit-" + strconv.Itoa(number))
		if p.member.Verify, err = sm.ParseVerifyKey(keys[0]); err == nil {
			p.member.Seal, err = sm.ParseEncryptKey(keys[1])
		}
	}
	return p, err
}

// errSilent says that a unit's process gave no answer.
var errSilent = errors.New("no answer")

func (p *heProcess) order(order byte, parts ...[]byte) ([][]byte, error) {
	if he.WriteFrame(p.in, order, parts) != nil {
		return nil, errSilent
	}
	got, out, err := he.ReadFrame(p.out)
	switch {
	case err != nil:
		return nil, errSilent
	case got == heFailed && len(out) == 1:
		return nil, fmt.Errorf("%s: %s", p.member.ID, out[0])
	case got != order:
		return nil, errSilent
	}
	return out, nil
}

// end stops the process: at once, or by the end of its input, for which it has ten seconds.
func (p *heProcess) end(kill bool) {
	_ = p.in.Close()
	wait := 10 * time.Second
	if kill {
		wait = 0
	}
	late := time.AfterFunc(wait, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	_ = p.cmd.Wait()
}

// each gives an order with the same parts to several units and collects their messages.
func heEach(units []*heProcess, order byte, parts ...[]byte) (out [][]byte, err error) {
	for _, u := range units {
		b, err := u.order(order, parts...)
		if err != nil {
			return nil, err
		}
		out = append(out, b...)
	}
	return out, nil
}

func heParse(parts [][]byte) (out []*he.Message, err error) {
	for _, p := range parts {
		m, err := he.ParseMessage(p)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

// ledgerOf is a unit's folder.
func ledgerOf(dir string, unit int) string { return filepath.Join(dir, "unit-"+strconv.Itoa(unit)) }
