package spec_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

// parties are units and a gate with their keys and ledgers; epochs count up.
type parties struct {
	t       testing.TB
	sign    []*sm.SigningKey // the gate last
	open    []*sm.DecryptKey
	ledgers []*he.Ledger
	run     byte
}

func newParties(t testing.TB, units int) *parties {
	t.Helper()
	c := &parties{t: t}
	for range units + 1 {
		s, err := sm.NewSigningKey(rand.Reader)
		c.ok(err)
		o, err := sm.NewDecryptKey(rand.Reader)
		c.ok(err)
		l, err := he.OpenLedger(t.TempDir())
		c.ok(err)
		t.Cleanup(func() { _ = l.Close() })
		c.sign, c.open, c.ledgers = append(c.sign, s), append(c.open, o), append(c.ledgers, l)
	}
	return c
}

func (c *parties) ok(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *parties) plan(set he.SetName, l he.Layout) *he.Plan {
	c.run++
	n := len(c.sign) - 1
	p := &he.Plan{Epoch: 1, Set: set, Threshold: n/2 + 1, Layout: l}
	p.Run[0] = c.run
	for i := range n {
		p.Units = append(p.Units, he.Member{ID: sandbox.PartyID(fmt.Sprintf("unit-%d", i+1)), Verify: c.sign[i].Public(), Seal: c.open[i].Public()})
	}
	for i := range p.Threshold {
		p.Openers = append(p.Openers, i)
	}
	p.Gate = he.Member{ID: "gate", Verify: c.sign[n].Public(), Seal: c.open[n].Public()}
	return p
}

// sum runs an epoch of a plan over the units' partials.
func (c *parties) sum(p *he.Plan, partials []*he.Partial) *he.Result {
	c.t.Helper()
	ctx, n := context.Background(), len(p.Units)
	type keyed interface {
		Commit(context.Context) (*he.Message, error)
		Reveal(context.Context, []*he.Message) (*he.Message, error)
		Relinearize(context.Context, []*he.Message) (*he.Message, error)
	}
	var units []*he.Unit
	var all []keyed
	config := func(i int) he.Config {
		return he.Config{Plan: p, Engine: he.NewLocal(rand.Reader), Sign: c.sign[i], Open: c.open[i], Ledger: c.ledgers[i], Rand: rand.Reader}
	}
	for i := range n {
		u, err := he.NewUnit(config(i), i)
		c.ok(err)
		units, all = append(units, u), append(all, u)
	}
	gate, err := he.NewGate(config(n))
	c.ok(err)
	all = append(all, gate)
	var commits, keys, deals, contributions, shares []*he.Message
	add := func(into *[]*he.Message, m *he.Message, err error) {
		c.t.Helper()
		c.ok(err)
		*into = append(*into, m)
	}
	for _, x := range all {
		m, err := x.Commit(ctx)
		add(&commits, m, err)
	}
	for _, x := range all {
		m, err := x.Reveal(ctx, commits)
		add(&keys, m, err)
	}
	if p.Layout.Products != nil {
		var seconds []*he.Message
		for _, x := range all {
			m, err := x.Relinearize(ctx, keys)
			add(&seconds, m, err)
		}
		keys = seconds
	}
	for _, u := range units {
		m, err := u.Deal(ctx, keys)
		add(&deals, m, err)
	}
	c.ok(gate.Key(ctx, keys))
	for i, u := range units {
		c.ok(u.Join(ctx, deals))
		m, err := u.Contribute(ctx, partials[i])
		add(&contributions, m, err)
	}
	for _, o := range p.Openers {
		m, err := units[o].Share(ctx, contributions)
		add(&shares, m, err)
	}
	r, err := gate.Open(ctx, contributions, shares)
	c.ok(err)
	return r
}
