package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/unit"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// heUnitFlags are what a unit's program is told.
type heUnitFlags struct {
	cards, sources, approvals []string
	lists                     []string
	ledger, owner, question   string
	vaultKeys                 string
	every                     time.Duration
}

func (a *app) heUnitCommand() *cobra.Command {
	var f heUnitFlags
	c := verb("unit", "Take part in sums over ciphertexts as a source unit that keeps its rows (数源单位密态参与)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.heUnit(c.Context(), f)
	})
	c.Long = `Runs where the unit's rows are, under the officer's identity (--as), until interrupted or, with --question, until that question has ended. It looks for
sums that name the unit, compiles each question from the unit's own description, and takes part only in those that the unit's owner approved
(opdomain he approve), with the keys of domain and units that were approved: another key is refused by name, and the domain records that the unit left.
Rows are added up here; what leaves are ciphertexts under a key that nobody holds alone, and, where the unit opens, one share of one sum: the ledger
says "issued", durably, before it is sent, and a program that was stopped in an epoch takes part again from the next one.

Rows that are joined with another unit's stand in the order of a list that both owners have: the program takes part with the list that the plan names and
that the owner approved, and in none whose people, or what they have, are nearly those of an earlier one. A unit without rows masks and opens, without --source.`
	fl := c.Flags()
	fl.StringArrayVar(&f.cards, "card", nil, "JSON description of the unit's dataset as the unit has it; repeat for more")
	fl.StringArrayVar(&f.sources, "source", nil, "DATASET=FILE.csv with the described columns, or DATASET=vault:DIR of a sealed vault; repeat for more")
	fl.StringArrayVar(&f.lists, "list", nil, "list of people over which rows are joined (opdomain he list); repeat for more")
	fl.StringVar(&f.vaultKeys, "vault-keys", "", "folder of the keys of a sealed vault; else the identity's own")
	fl.StringArrayVar(&f.approvals, "approval", nil, "file of an approval or folder of them, read again at each look; repeat for more")
	fl.StringVar(&f.owner, "owner", "", "identity.json of who approves for the unit; else the officer")
	fl.StringVar(&f.ledger, "ledger", "", "the unit's own folder that remembers epochs and shares; never put an older copy back")
	fl.StringVar(&f.question, "question", "", "take part in this question alone, and end with it")
	fl.DurationVar(&f.every, "every", 2*time.Second, "between looks at where sums stand")
	for _, name := range []string{"card", "approval", "ledger"} {
		must(c.MarkFlagRequired(name))
	}
	return c
}

// heUnitProgram is a unit's running program.
type heUnitProgram struct {
	*app
	f        heUnitFlags
	s        *session
	domain   string
	self     unit.Self
	cards    []catalog.Dataset
	holdings map[sandbox.DatasetID]agent.Holding
	lists    []*unit.Cohort
	ledger   *he.Ledger
	earlier  *unit.Lists // of joined rows
	engines  *heEngines

	at      map[sandbox.QuestionID]uint64   // the epoch that was decided on last
	offered map[sandbox.QuestionID]compared // what waits for an approval

	mu   sync.Mutex
	told map[string]bool // lines that were said
}

// compared is an offer with what keeps the unit from compiling it.
type compared struct {
	offeredSum
	why []sandbox.Reason
}

func (a *app) heUnit(ctx context.Context, f heUnitFlags) (err error) {
	if f.every < 10*time.Millisecond {
		return usageError{invalid("--every", "10ms or more", "")}
	}
	p := &heUnitProgram{app: a, f: f, holdings: map[sandbox.DatasetID]agent.Holding{}, told: map[string]bool{}, at: map[sandbox.QuestionID]uint64{}, offered: map[sandbox.QuestionID]compared{}}
	if p.cards, err = a.cards(f.cards); err != nil {
		return err
	}
	for _, s := range f.sources {
		id, path, ok := strings.Cut(s, "=")
		if _, twice := p.holdings[sandbox.DatasetID(id)]; !ok || twice || path == "" {
			return usageError{invalid("--source", "DATASET=FILE or DATASET=vault:DIR, once for each dataset", "")}
		}
		if !slices.ContainsFunc(p.cards, func(d catalog.Dataset) bool { return string(d.ID) == id }) {
			return usageError{invalid("--source", "a dataset that a --card describes", "opdomain catalog show DATASET --json")}
		}
		h := agent.Holding{Path: path}
		if err := h.Check(); err != nil {
			return err
		}
		p.holdings[sandbox.DatasetID(id)] = h
	}
	if p.lists, err = cohorts(f.lists); err != nil {
		return err
	}
	if p.s, err = a.connect(); err != nil {
		return err
	}
	owner := p.s.id.Identity
	if f.owner != "" {
		if owner, err = a.publicIdentity(f.owner); err != nil {
			return err
		}
	}
	if p.self, err = selfOf(p.s.id.Identity, owner); err != nil {
		return err
	}
	vaultKeys := p.s.id.keys
	if f.vaultKeys != "" {
		pass, err := a.passphraseFor(f.vaultKeys)
		if err != nil {
			return err
		}
		if vaultKeys, err = keys.Open(f.vaultKeys, pass, a.rand); err != nil {
			return err
		}
		defer vaultKeys.Close()
	}
	for id, h := range p.holdings {
		h.Keys = vaultKeys
		p.holdings[id] = h
	}
	if p.ledger, err = he.OpenLedger(f.ledger); err != nil {
		return err
	}
	defer p.ledger.Close()
	if p.earlier, err = unit.OpenLists(a.rand, f.ledger); err != nil {
		return err
	}
	p.engines = newHeEngines()
	defer p.engines.Close()
	info, err := p.s.domain(ctx)
	if err != nil {
		return err
	}
	p.domain = info.Domain
	fmt.Fprintf(a.out, "unit %s of domain %s, keys %s\n", p.self.Member.ID, p.domain, p.self.Member.Fingerprint())
	return p.run(ctx)
}

// maxTold bounds the lines that are remembered.
const maxTold = 10_000

// say prints a line once.
func (p *heUnitProgram) say(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.told[line] {
		if len(p.told) >= maxTold {
			clear(p.told)
		}
		p.told[line] = true
		fmt.Fprintln(p.out, line)
	}
}

// looks bounds how long a domain may be out of reach before a program that waits for one question gives up.
const looks = 300

// run looks for epochs and takes part in each, several at a time.
func (p *heUnitProgram) run(ctx context.Context) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for silent := 0; ; {
		all, err := p.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, sandbox.Denied) && !errors.Is(err, sandbox.NotFound) && silent < looks: // a fault of the domain's, or of a clock, ends no epoch that goes on
			silent, all = silent+1, nil
		case err != nil:
			return err
		default:
			silent = 0
		}
		for _, s := range all {
			if p.f.question != "" && s.Question.State != "computing" {
				parts.Wait() // one that sent the last message may not have its answer yet
				fmt.Fprintf(p.out, "%s is %s\n", s.Question.ID, s.Question.State)
				return nil
			}
			if s.Step == "" || p.at[s.Question.ID] == s.Epoch || !slices.ContainsFunc(s.Units, func(u api.SumUnit) bool { return u.Identity == p.s.id.ID }) {
				continue
			}
			o, decided, err := p.decide(ctx, s)
			if err != nil {
				p.say("%s epoch %d: %v", s.Question.ID, s.Epoch, err)
				continue
			}
			if !decided {
				continue
			}
			p.at[s.Question.ID] = s.Epoch
			if o == nil { // refused for good
				if p.f.question != "" {
					return exitStatus(exitRefused)
				}
				continue
			}
			parts.Go(func() { p.take(ctx, *o) })
		}
		if sleep(ctx, p.f.every) != nil {
			return nil
		}
	}
}

// maxOffered bounds the plans that wait for an approval here.
const maxOffered = 64

// look lists the sums that go on, or the one that this program is for.
func (p *heUnitProgram) look(ctx context.Context) ([]api.Sum, error) {
	if p.f.question == "" {
		return result[[]api.Sum](p.s.api.ListSums(ctx))
	}
	s, err := result[api.Sum](p.s.api.GetSum(ctx, sandbox.QuestionID(p.f.question)))
	return []api.Sum{s}, err
}

// decide says whether the unit takes part in an epoch. Nothing is decided while its owner has not approved; a plan that the owner did not mean ends
// the epoch, and the domain is told so.
func (p *heUnitProgram) decide(ctx context.Context, s api.Sum) (*offeredSum, bool, error) {
	x, ok := p.offered[s.Question.ID]
	if !ok || x.Plan.Epoch != s.Epoch { // fetched once, however long the owner takes
		var err error
		if x.offeredSum, x.why, err = p.s.offer(ctx, p.domain, s.Question.ID, p.cards); err != nil {
			return nil, false, err
		}
		if len(p.offered) >= maxOffered {
			clear(p.offered)
		}
		p.offered[s.Question.ID] = x
	}
	o, why := x.offeredSum, x.why
	if o.Plan.Epoch != s.Epoch {
		return nil, false, nil
	}
	statements, err := approvals(p.f.approvals)
	if err != nil {
		return nil, false, err
	}
	d, left := sandbox.Decision{Reasons: why}, unit.WhyPlan
	if len(why) == 0 {
		if d = unit.Decide(o.Offer, o.question, p.self, statements, p.now()); d.Allow && o.Side(p.self.Member.ID) >= 0 {
			if c := named(p.lists, o.List); c != nil {
				if why := c.Fits(o.question.Joined); len(why) > 0 {
					left, d = unit.WhyList, sandbox.Decision{Reasons: why}
				}
			} else {
				left = unit.WhyList
				d = sandbox.Decision{Reasons: []sandbox.Reason{{Code: "he.list", Rule: "this program has the list that the plan names and its owner approved", Change: "start it with --list FILE, and have who asks begin another epoch"}}}
			}
		}
		if d.Allow {
			return &o, true, nil
		}
	}
	if d.Reasons[0].Code == "he.not-approved" {
		p.say("%s epoch %d waits for this unit's owner 待批准: opdomain he approve %s", s.Question.ID, s.Epoch, s.Question.ID)
		return nil, false, nil
	}
	for _, r := range d.Reasons {
		p.say("%s epoch %d refused 不参与: %s %s: %s\n  smallest change 最小修改: %s", s.Question.ID, s.Epoch, r.Code, r.Column, r.Rule, r.Change)
	}
	if slices.ContainsFunc(d.Reasons, func(r sandbox.Reason) bool { return r.Code != "he.terms" }) { // terms may be widened in time
		if err := p.carrier(s.Question.ID).Leave(ctx, s.Epoch, left); err != nil {
			p.say("%s epoch %d: %v", s.Question.ID, s.Epoch, err)
		}
		return nil, true, nil
	}
	return nil, false, nil
}

// take runs the unit's part of one epoch, in an engine of its own.
func (p *heUnitProgram) take(ctx context.Context, o offeredSum) {
	id, epoch := o.Question, o.Plan.Epoch
	engine, err := p.engines.start()
	if err != nil {
		p.say("%s epoch %d: left 退出: no engine: %v", id, epoch, errors.Join(err, p.carrier(id).Leave(ctx, epoch, unit.WhyProtocol)))
		return
	}
	defer engine.Close()
	var where strings.Builder
	p.engines.say(&where)
	p.say("%s", strings.TrimRight(where.String(), "\n"))
	p.say("%s epoch %d: takes part 参与", id, epoch)
	part := unit.Part{Plan: o.Plan, Unit: p.self.Member.ID, Sign: p.s.id.keys.SigningKey(), Open: p.s.id.keys.DecryptKey(), Engine: engine, Ledger: p.ledger, Rand: p.rand,
		Rows: func(ctx context.Context) (*he.Partial, error) { return p.rows(ctx, o) }, Sleep: sleep, Every: p.f.every,
		Say: func(kind he.Kind, digest [sm.Size]byte) {
			p.say("%s epoch %d: sent its %s, SM3 %x", id, epoch, kind, digest[:8])
		}}
	err = part.Run(ctx, p.carrier(id))
	var left *unit.Left
	switch {
	case errors.As(err, &left):
		p.say("%s epoch %d: left 退出 (%s): %v", id, epoch, left.Why, left.Err)
	case err != nil:
		p.say("%s epoch %d: %v", id, epoch, err)
	default:
		p.say("%s epoch %d: done 完成", id, epoch)
	}
}

// rows adds the unit's own rows up for the plan's layout. Who they are about is a random pseudonym of this epoch, which counts people and is forgotten; of joined
// rows it is a pseudonym under the secret of the list.
func (p *heUnitProgram) rows(ctx context.Context, o offeredSum) (*he.Partial, error) {
	if j := o.question.Joined; j != nil {
		side := o.Side(p.self.Member.ID)
		if side < 0 {
			return j.Bystander()
		}
		c := named(p.lists, o.List)
		if c == nil {
			return nil, &sandbox.Error{Op: "he unit", Kind: sandbox.NotFound, Object: "list", Detail: "the one that the plan names"}
		}
		dataset, columns := j.Columns(side)
		r, err := p.open(ctx, dataset, columns, c.Key(), (*agent.Agent).OpenNormal)
		if err != nil {
			return nil, err
		}
		return c.Partial(ctx, j, side, r, p.earlier, o.Plan.Units[o.Plan.Layout.Products.Holders[1-side]].ID, p.now())
	}
	var key [sm.Size]byte
	if _, err := io.ReadFull(p.rand, key[:]); err != nil {
		return nil, &sandbox.Error{Op: "he unit", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	dataset, columns := o.question.Sum.Columns()
	r, err := p.open(ctx, dataset, columns, key[:], (*agent.Agent).Open)
	if err != nil {
		return nil, err
	}
	return o.question.Sum.Partial(ctx, r)
}

// open reads the unit's rows of a dataset, about pseudonyms under a key.
func (p *heUnitProgram) open(ctx context.Context, dataset sandbox.DatasetID, columns []string, key []byte,
	how func(*agent.Agent, context.Context, agent.Holding, catalog.Dataset, []string, []byte) (batch.Reader, error)) (batch.Reader, error) {
	h, ok := p.holdings[dataset]
	if !ok {
		return nil, &sandbox.Error{Op: "he unit", Kind: sandbox.NotFound, Object: string(dataset), Detail: "a --source of the dataset", Hint: "name where its rows are"}
	}
	at := slices.IndexFunc(p.cards, func(d catalog.Dataset) bool { return d.ID == dataset })
	columns = slices.DeleteFunc(columns, func(c string) bool { return c == agent.SubjectColumn })
	return how(&agent.Agent{Out: p.out, Err: p.err, Rand: p.rand, Now: p.now}, ctx, h, p.cards[at], columns, key)
}

// heCarrier reaches the domain for one question.
type heCarrier struct {
	s  *session
	id sandbox.QuestionID
}

func (p *heUnitProgram) carrier(id sandbox.QuestionID) *heCarrier { return &heCarrier{p.s, id} }

func (c *heCarrier) Standing(ctx context.Context) (unit.Standing, error) {
	s, err := result[api.Sum](c.s.api.GetSum(ctx, c.id))
	out := unit.Standing{Epoch: s.Epoch, Kind: he.Kind(s.Kind)}
	for _, u := range s.Units {
		out.Sent = out.Sent || u.Identity == c.s.id.ID && u.Sent
	}
	return out, err
}

func (c *heCarrier) Send(ctx context.Context, epoch uint64, kind he.Kind, message []byte) error {
	_, err := result[api.Sum](c.s.api.PutSumMessageWithBody(ctx, c.id, epoch, int(kind), "application/vnd.opdomain.he-message", bytes.NewReader(message)))
	return err
}

func (c *heCarrier) Fetch(ctx context.Context, epoch uint64, kind he.Kind, from int) ([]byte, error) {
	return body(c.s.api.GetSumMessage(ctx, c.id, epoch, int(kind), from))
}

func (c *heCarrier) Leave(ctx context.Context, epoch uint64, why string) error {
	_, err := result[api.Sum](c.s.api.LeaveSum(ctx, c.id, api.SumLeave{Epoch: epoch, Reason: why}))
	return err
}
